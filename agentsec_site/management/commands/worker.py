"""`manage.py worker`: runs approved actions, one at a time, in this process."""

from __future__ import annotations

from typing import Any

from agentsec_site.management.base import AgentsecCommand
from approvals import jobs


class Command(AgentsecCommand):
    help = "Run approved actions from the queue until stopped."

    def run(self, **options: Any) -> None:
        jobs.run_worker()
