"""Which call returned a text, so that what the user chose among its records is known as his choice."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("policies", "0004_source_stamp")]
    operations = [
        migrations.AddField(
            model_name="source", name="call", field=models.JSONField(default=None, null=True)
        ),
    ]
