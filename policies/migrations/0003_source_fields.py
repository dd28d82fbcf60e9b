"""The leaves of structured output, so that arguments are followed field by field."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("policies", "0002_limits")]
    operations = [
        migrations.AddField(
            model_name="source", name="fields", field=models.JSONField(default=list)
        ),
    ]
