"""Who last ran into which limit."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0006_allowances'),
    ]

    operations = [
        migrations.CreateModel(
            name='Hit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ceiling', models.CharField(max_length=12)),
                ('tool', models.CharField(blank=True, max_length=100)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('times', models.PositiveIntegerField(default=0)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='hits', to='policies.agent')),
                ('limit', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='hits', to='policies.limit')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('agent', 'limit', 'ceiling'), name='hit_once', nulls_distinct=False)],
            },
        ),
    ]
