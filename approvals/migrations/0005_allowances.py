"""An action remembers what answered its asking in advance."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0004_shadow_release'),
        ('policies', '0006_allowances'),
    ]

    operations = [
        migrations.AddField(
            model_name='action',
            name='allowance',
            field=models.ForeignKey(blank=True, db_index=False, help_text='What answered its asking in advance, as long as it starts by that.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='policies.allowance'),
        ),
    ]
