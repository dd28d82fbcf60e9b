"""What happened in a session before, and cases that speak of it."""

from __future__ import annotations

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


def names() -> models.Field:
    return django.contrib.postgres.fields.ArrayField(
        base_field=models.CharField(max_length=100), default=list, size=None
    )


class Migration(migrations.Migration):
    dependencies = [("policies", "0007_limit_hits"), ("traces", "0003_session_tools")]
    operations = [
        migrations.CreateModel(
            name="Trail",
            fields=[
                (
                    "session",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, primary_key=True,
                        related_name="trail", serialize=False, to="traces.session",
                    ),
                ),
                ("calls", models.PositiveIntegerField(default=0)),
                ("read", names()),
                ("did", names()),
                ("last", models.CharField(blank=True, max_length=100)),
            ],
        ),
        migrations.CreateModel(
            name="Recall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tool", models.CharField(max_length=100)),
                ("at", models.DateTimeField()),
                (
                    "agent",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="recalls",
                        to="policies.agent",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("agent", "tool"), name="recall_tool_once")
                ]
            },
        ),
        migrations.AddField(
            model_name="case", name="session", field=models.JSONField(blank=True, default=dict)
        ),
        migrations.AddField(
            model_name="case",
            name="or_stricter",
            field=models.BooleanField(
                default=False,
                help_text="A stricter effect than the expected one passes too.",
            ),
        ),
    ]  # fmt: skip
