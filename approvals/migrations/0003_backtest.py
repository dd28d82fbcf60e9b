"""Backtests with their progress, and actions in the order of time, which they are read in."""

from __future__ import annotations

import uuid

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("approvals", "0002_fence")]

    operations = [
        migrations.CreateModel(
            name="Backtest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("release", models.CharField(help_text="Digest of the draft as it was frozen for this.", max_length=64)),
                ("content", models.TextField(help_text="Canonical JSON (RFC 8785) of that draft.")),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("last_at", models.DateTimeField(help_text="Where it stands: calls up to this one are judged.")),
                ("last_id", models.UUIDField(default=uuid.UUID(int=0))),
                ("total", models.PositiveIntegerField(help_text="Calls to judge, counted at the start.")),
                ("difference_json", models.TextField()),
                ("by", models.CharField(max_length=150)),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["created_at", "id"], name="action_by_time"),
        ),
    ]
