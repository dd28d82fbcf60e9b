"""The door between Redis and the workers: ids in, nothing else.

rq imports whatever dotted name it finds in Redis, for the job and for its callbacks, and posts to whatever
webhook stands there. `RegisteredJob` runs the functions named here and nothing else, so that someone who can
write to Redis can at most make a worker look at an action that PostgreSQL says is ready.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any
from uuid import UUID

import django_rq
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, transaction
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer

from approvals import execution, lease, sandbox
from approvals.models import Action
from approvals.sql import planning

QUEUE = "actions"
# What rq keeps, and as what: the queue, who works on it, and what came of each job.
KEYS: Mapping[str, bytes] = {
    "rq:queues": b"set",
    "rq:workers": b"set",
    f"rq:workers:{QUEUE}": b"set",
    f"rq:queue:{QUEUE}": b"list",
    f"rq:queue:{QUEUE}:intermediate": b"list",
    **{
        f"rq:{name}:{QUEUE}": b"zset"
        for name in ("wip", "finished", "failed", "deferred", "scheduled", "canceled")
    },
}
# And of each job and each worker.
OF_A_JOB: Mapping[str, bytes] = {
    "rq:job:{}": b"hash",
    "rq:job:{}:dependents": b"set",
    "rq:executions:{}": b"zset",
    "rq:results:{}": b"stream",
}
SHAPES = tuple(
    (re.compile(template.format("[^:]+").encode()), kind)
    for template, kind in (*OF_A_JOB.items(), ("rq:execution:{0}:{0}", b"hash"), ("rq:worker:{}", b"hash"))
)
LONGEST_PAUSE, LONGEST_CONNECTION_PAUSE = 5.0, 2.0
logger = logging.getLogger(__name__)


def execute(action_id: str) -> str:
    """Run one action, if it is ready; the entry point of the workers."""
    close_old_connections()
    lease.mend()
    try:
        return execution.run(action_id=UUID(action_id), worker=f"{socket.gethostname()}:{os.getpid()}")
    except (OperationalError, InterfaceError) as error:
        # What PostgreSQL says of it then counts: ready is handed out again, running has lost its heartbeat.
        logger.warning("action %s waits for the database: %s", action_id, str(error).splitlines()[0])
        return "the database went away"
    finally:
        close_old_connections()


def plan(action_id: str) -> str:
    """Make the plan of one statement that waits for people."""
    close_old_connections()
    try:
        return planning.make(action_id=UUID(action_id))
    finally:
        close_old_connections()


REGISTRY: dict[str, Callable[..., Any]] = {"approvals.jobs.execute": execute, "approvals.jobs.plan": plan}


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


@dataclass
class Told:
    """Whether a signal told this process to end; it outlives the worker that heard it.

    No `threading.Event`: whoever sets one in a signal's handler may wait for itself.
    """

    to_stop: bool = False


class Worker(SimpleWorker):
    """No fork a job: the sandbox is the isolation, and a fork of a large worker costs more than the job."""

    job_class = RegisteredJob
    # rq would wait for up to a minute for a Redis that is back within a second.
    max_connection_wait_time = LONGEST_CONNECTION_PAUSE
    told: Told | None = None

    def subscribe(self) -> None:
        """rq's workers take orders (shut down, stop a job) from Redis; ours obey their supervisor alone."""

    def check_for_suspension(self, burst: bool) -> None:
        """Nor does anybody suspend them by a key in Redis."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.told is not None:
            self.told.to_stop = True
        super().request_stop(signum, frame)


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
    _hand(execute, action_id, job_id=action_id)


def enqueue_plan(action: Action) -> None:
    """Have the plan of a statement made. What Redis loses is asked for again by the clock."""
    _hand(plan, str(action.pk), job_id=f"plan-{action.pk}")


def _hand(act: Callable[[str], str], action_id: str, *, job_id: str) -> None:
    try:
        waiting = queue()
        try:
            _put(waiting, act, action_id, job_id)
        except ResponseError:
            heal(waiting.connection, job_id)
            _put(waiting, act, action_id, job_id)
    except RedisError as error:
        # PostgreSQL still says what waits, so the clock tries again.
        logger.warning("action %s waits for Redis: %s", action_id, error)


def _put(waiting: Queue, act: Callable[[str], str], action_id: str, job_id: str) -> None:
    # Asked of Redis, not looked for in all of the queue, where anything may stand that is no text even.
    if waiting.connection.lpos(waiting.key, job_id) is None:
        waiting.enqueue(act, action_id, job_id=job_id, result_ttl=0, failure_ttl=60)


def heal(connection: Redis, job_id: str = "") -> int:
    """Remove what is not what rq keeps under its keys and those of one job, or of all; how much that was.

    Redis holds nothing that PostgreSQL does not know, but a key of a wrong type would stop every worker.
    """
    kinds: dict[bytes, bytes] = {key.encode(): kind for key, kind in KEYS.items()}
    if job_id:
        kinds |= {template.format(job_id).encode(): kind for template, kind in OF_A_JOB.items()}
    else:
        kinds |= dict(_found(connection))
    wrong = [key for key, kind in kinds.items() if connection.type(key) not in (b"none", kind)]
    return int(connection.delete(*wrong)) if wrong else 0


def _found(connection: Redis) -> Iterator[tuple[bytes, bytes]]:
    """The keys that there are of jobs and workers, and what rq keeps under each."""
    for key in connection.scan_iter(match="rq:*", count=1000):
        for shape, kind in SHAPES:
            if shape.fullmatch(key):
                yield key, kind


def work(*, burst: bool = False) -> None:
    """Take jobs until told to stop by SIGTERM or SIGINT, or with `burst` until there are none.

    rq's worker quits over what it cannot read, and over a Redis that hung up. The next one begins at once in
    this process, whose sandboxes stand ready; and with a pause that grows where that does not help.
    """
    pause, told = 0.0, Told()
    with contextlib.suppress(StopRequested):
        while not told.to_stop:
            began = time.monotonic()
            try:
                if _work(told, burst=burst):
                    return
            except StopRequested:
                raise
            except RedisError as error:
                logger.warning("the worker waits for Redis: %s", str(error)[:200])
            except Exception:
                logger.exception("the worker stumbled over what stands in Redis")
            pause = 0.1 if time.monotonic() > began + LONGEST_PAUSE else min(2 * pause + 0.1, LONGEST_PAUSE)
            time.sleep(0 if told.to_stop else pause)


def _work(told: Told, *, burst: bool) -> bool:
    """The life of one worker of rq: whether nothing is left to do."""
    # On a connection of its own: on the worker's rq waits for longer than one lasts that was open before.
    with Redis.from_url(settings.REDIS_URL) as first:
        heal(first)
    with Redis.from_url(settings.REDIS_URL) as connection:
        waiting = Queue(QUEUE, connection=connection, job_class=RegisteredJob, serializer=JSONSerializer)
        worker = Worker([waiting], connection=connection, job_class=RegisteredJob, serializer=JSONSerializer)
        worker.told = told
        worker.work(burst=burst, logging_level="WARNING")
        return bool(burst and not waiting.count)


def run_worker() -> None:
    """Work until told to stop by SIGTERM or SIGINT, with sandboxes started ahead of their jobs."""
    lease.guard_this_process()
    # Tried before it is needed: what a killed worker left of its sandboxes is removed, and a machine that
    # cannot confine anything says so at once.
    if not (tried := sandbox.status()).available:
        logger.warning("no script and no command can run here: %s", tried.reason)
    with sandbox.warm(settings.AGENTSEC_SANDBOX_POOL):
        work()
