"""What the job of an execution did, as pages show it; the log holds the same, sealed."""

from __future__ import annotations

from django.db import models


class JobWatch(models.Model):
    """One execution's list of opens, executions and connections, masked: it grows while the job runs."""

    execution = models.OneToOneField(
        "approvals.Execution", on_delete=models.CASCADE, primary_key=True, related_name="watch"
    )
    found = models.JSONField(default=dict, help_text="As approvals.watched.described gives it.")

    def __str__(self) -> str:
        return f"what execution {self.execution_id} did"
