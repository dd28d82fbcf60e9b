"""Changes that wait for a second person, and who made a link."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0008_trail'),
    ]

    operations = [
        migrations.AddField(
            model_name='link',
            name='by',
            field=models.CharField(blank=True, help_text='Who made it, as the log names them.', max_length=150),
        ),
        migrations.CreateModel(
            name='ProposedChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=20)),
                ('target', models.CharField(max_length=160)),
                ('title', models.CharField(max_length=500)),
                ('before', models.JSONField(null=True)),
                ('after', models.JSONField(null=True)),
                ('sealed', models.BinaryField(default=b'')),
                ('by', models.CharField(max_length=150)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('confirmed', 'Confirmed'), ('refused', 'Refused'), ('withdrawn', 'Withdrawn'), ('outdated', 'Outdated')], default='waiting', max_length=9)),
                ('decided_by', models.CharField(blank=True, max_length=150)),
                ('decided_at', models.DateTimeField(blank=True, null=True)),
                ('why', models.CharField(blank=True, max_length=500)),
            ],
            options={
                'ordering': ['-id'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('state', 'confirmed'), _negated=True), models.Q(('by', models.F('decided_by')), _negated=True), _connector='OR'), name='change_decided_by_another')],
            },
        ),
    ]
