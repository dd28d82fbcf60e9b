"""How long somebody looked before a vote, and which votes were given together."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("approvals", "0007_trail")]
    operations = [
        migrations.CreateModel(
            name="Look",
            fields=[
                ("vote", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="look", serialize=False, to="approvals.vote")),
                ("seen_ms", models.PositiveIntegerField(help_text="Milliseconds for which it was in view; of many at once, an equal share.", null=True)),
                ("risky", models.BooleanField(default=False, help_text="High risk, or by a value that no user gave.")),
                ("bulk", models.UUIDField(help_text="What the votes that were given together share.", null=True)),
            ],
            options={"indexes": [models.Index(condition=Q(("bulk__isnull", False)), fields=["bulk"], name="look_of_bulk")]},
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(condition=Q(("approvals_json", "[]"), _negated=True), fields=["created_at"], name="action_asked"),
        ),
    ]
