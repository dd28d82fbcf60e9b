"""The door between Redis and the workers: ids in, nothing else.

rq imports whatever dotted name it finds in Redis, for the job and for its callbacks, and posts to whatever
webhook stands there. `RegisteredJob` runs the functions named here and nothing else, so that someone who can
write to Redis can at most make a worker look at an action that PostgreSQL says is ready.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID

import django_rq
from django.conf import settings
from django.db import close_old_connections, transaction
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from approvals import execution, sandbox
from approvals.models import Action

QUEUE = "actions"
logger = logging.getLogger(__name__)


def execute(action_id: str) -> str:
    """Run one action, if it is ready; the entry point of the workers."""
    close_old_connections()
    try:
        return execution.run(action_id=UUID(action_id), worker=f"{socket.gethostname()}:{os.getpid()}")
    finally:
        close_old_connections()


REGISTRY: dict[str, Callable[..., Any]] = {"approvals.jobs.execute": execute}


class RegisteredJob(Job):
    """A job that can only be one of the registered functions, without callbacks and webhooks.

    It reads JSON whatever its caller says: rq's default is pickle, which runs what it loads.
    """

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    @property
    def func(self) -> Callable[..., Any]:
        if self.func_name not in REGISTRY:
            raise ValueError(f"{self.func_name!r} is not a job of agentsec")
        return REGISTRY[self.func_name]

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        return None


class Worker(SimpleWorker):
    """No fork a job: the sandbox is the isolation, and a fork of a large worker costs more than the job."""

    job_class = RegisteredJob

    def subscribe(self) -> None:
        """rq's workers take orders (shut down, stop a job) from Redis; ours obey their supervisor alone."""


def queue() -> Queue:
    return django_rq.get_queue(QUEUE, job_class=RegisteredJob, serializer=JSONSerializer)


def enqueue(action: Action) -> None:
    """Hand a ready action to the workers once the transaction stands; a lost Redis costs a moment, not the
    action.
    """
    if action.state != Action.State.READY or action.runs not in execution.WORKER_KINDS:
        return
    transaction.on_commit(lambda: _enqueue(str(action.pk)))


def _enqueue(action_id: str) -> None:
    try:
        waiting = queue()
        if action_id not in waiting.job_ids:
            waiting.enqueue(execute, action_id, job_id=action_id, result_ttl=0, failure_ttl=60)
    except RedisError as error:
        # PostgreSQL still says `ready`, so the sweeper tries again.
        logger.warning("action %s waits for Redis: %s", action_id, error)


def run_worker() -> None:
    """Work until told to stop by SIGTERM or SIGINT, with sandboxes started ahead of their jobs."""
    connection = Redis.from_url(settings.REDIS_URL)
    waiting = Queue(QUEUE, connection=connection, job_class=RegisteredJob, serializer=JSONSerializer)
    worker = Worker([waiting], connection=connection, job_class=RegisteredJob, serializer=JSONSerializer)
    with sandbox.warm(settings.AGENTSEC_SANDBOX_POOL):
        worker.work(logging_level="WARNING")
