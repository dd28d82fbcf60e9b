"""A whole release in shadow, and each call that it would change."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0003_backtest"),
    ]

    operations = [
        migrations.CreateModel(
            name="ShadowRelease",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(max_length=64)),
                (
                    "content",
                    models.TextField(help_text="Canonical JSON (RFC 8785); the digest is over exactly this."),
                ),
                ("note", models.CharField(blank=True, max_length=500)),
                ("by", models.CharField(max_length=150)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("stopped", "Stopped"),
                            ("promoted", "Promoted"),
                            ("dropped", "Dropped"),
                        ],
                        default="running",
                        max_length=8,
                    ),
                ),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "last_at",
                    models.DateTimeField(help_text="Where it stands: calls up to this one are counted."),
                ),
                ("last_id", models.UUIDField(default=uuid.UUID("00000000-0000-0000-0000-000000000000"))),
                ("judged", models.PositiveBigIntegerField(default=0)),
                ("same", models.PositiveBigIntegerField(default=0)),
                (
                    "failed",
                    models.PositiveBigIntegerField(default=0, help_text="Calls that it could not judge."),
                ),
                ("failure", models.CharField(blank=True, help_text="Why, of the last one.", max_length=500)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running")), fields=("state",), name="shadow_one_runs"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ShadowVerdict",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("before", models.CharField(max_length=12)),
                ("after", models.CharField(max_length=12)),
                ("then", models.JSONField(default=list)),
                ("now", models.JSONField(default=list)),
                (
                    "action",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="approvals.action"),
                ),
                (
                    "shadow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="verdicts",
                        to="approvals.shadowrelease",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("shadow", "action"), name="shadow_verdict_once")
                ],
            },
        ),
    ]
