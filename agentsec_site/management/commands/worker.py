"""`manage.py worker`: runs approved actions, one at a time, in this process."""

from __future__ import annotations

from typing import Any

import django_rq

from agentsec_site.management.base import AgentsecCommand

QUEUE = "actions"


class Command(AgentsecCommand):
    help = "Run approved actions from the queue until stopped."

    def run(self, **options: Any) -> None:
        # No fork a job: the job runs in its own sandbox, and forking a grown worker costs many milliseconds.
        # The queue brings the JSON serializer and the Job class that runs only registered entry points.
        worker = django_rq.get_worker(QUEUE, worker_class="rq.SimpleWorker")
        worker.log_job_description = False
        worker.work(logging_level="WARNING")
