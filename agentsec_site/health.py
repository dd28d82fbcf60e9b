"""Is everything there? `/healthz` for machines says only yes or no; `/health` shows people each part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rq import Worker

from approvals import concerns, jobs, queries, sandbox
from approvals.models import Action, Execution
from approvals.notify import standing as notices
from policies import approvers
from policies.access import Verb, may
from traces.models import Checkpoint, Outbox
from traces.problems import HTTP_STATUS, Refused

LAG_WARN = timedelta(seconds=5)
QUEUE_WARN = 100


@dataclass(frozen=True)
class Part:
    """One part of the site: `look` is ok, wait or danger."""

    name: str
    look: str
    word: str
    detail: str


class _Migrations:
    """Remembers that the schema is complete: it never becomes incomplete under a running process."""

    complete = False

    @classmethod
    def are_done(cls) -> bool:
        if not cls.complete:
            executor = MigrationExecutor(connection)
            cls.complete = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        return cls.complete


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and its schema is complete, else 503; public, so it says nothing else."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        ready = _Migrations.are_done()
    except DatabaseError:
        ready = False
    return HttpResponse(
        "ok\n" if ready else "not ready\n", status=200 if ready else 503, content_type="text/plain"
    )


@never_cache
@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    access = may(request.user, Verb.HEALTH_READ)
    if not access.allowed:
        return render(request, "site/refused.html", {"why": access.why}, status=403)
    parts = [part() for part in PARTS]
    shown = {"parts": parts, "waiting": queries.inbox(request.user).count()}  # type: ignore[arg-type]
    return render(
        request, "site/_health.html" if request.headers.get("HX-Request") else "site/health.html", shown
    )


def refused(request: HttpRequest, error: Refused) -> HttpResponse:
    """A refusal as a page."""
    return render(request, "site/refused.html", {"why": error.detail}, status=HTTP_STATUS[error.code])


def _database() -> Part:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            version = str(cursor.fetchone()[0]).split()[0]
    except DatabaseError as error:
        return Part("Database", "danger", "Away", str(error).splitlines()[0])
    return Part("Database", "ok", "Answers", f"PostgreSQL {version}")


def _redis() -> Part:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError:
        return Part(
            "Redis",
            "danger",
            "Away",
            "Pages do not update by themselves and jobs start late; nothing is lost.",
        )
    return Part("Redis", "ok", "Answers", "Carries ids only: live updates and the workers' queue")


def _log() -> Part:
    """How far the signed log is behind what was written."""
    waiting = Outbox.objects.count()
    oldest = Outbox.objects.aggregate(at=Min("entry__at"))["at"]
    newest = Checkpoint.objects.newest()
    size = (
        f"{newest.size:,} entries under the checkpoint of {newest.at:%H:%M:%S} UTC"
        if newest
        else "no checkpoint yet"
    )
    if oldest and timezone.now() - oldest > LAG_WARN:
        lag = int((timezone.now() - oldest).total_seconds())
        detail = f"{waiting:,} entries wait, the oldest for {lag} s; what was approved waits too."
        return Part("Log", "danger", "Behind", f"{detail} {size}")
    return Part("Log", "ok", "Current", size)


def _workers() -> Part:
    try:
        seen, queued = Worker.count(connection=jobs.queue().connection), jobs.queue().count
    except redis.RedisError:
        return Part("Workers", "wait", "Unknown", "Redis is away, and with it the list of workers.")
    running = Execution.objects.filter(ended_at=None, action__runs__in=("python", "shell")).count()
    detail = f"{running} running, {queued} queued"
    if not seen:
        return Part("Workers", "danger", "None", f"Nothing starts until one is there. {detail}")
    return Part("Workers", "wait" if queued > QUEUE_WARN else "ok", f"{seen} seen", detail)


def _sandbox() -> Part:
    status = sandbox.status()
    if not status.available:
        return Part("Sandbox", "danger", "Refuses", status.reason)
    kept = settings.AGENTSEC_SANDBOX_POOL
    ahead = f"each worker keeps {kept} started ahead" if kept else "none is started ahead"
    more = f"packages of {status.packages}" if status.packages else "no packages besides its own"
    return Part("Sandbox", "ok", status.tier, f"{status.reason}; {status.interpreter}, {more}; {ahead}")


def _actions() -> Part:
    waiting, ready = (
        Action.objects.filter(state=state).count() for state in (Action.State.PENDING, Action.State.READY)
    )
    late = Action.objects.overdue(timezone.now() - timedelta(seconds=10)).exists()
    if late:
        return Part(
            "Clock",
            "danger",
            "Behind",
            "Actions whose time is over have not been expired: is the clock running?",
        )
    return Part("Clock", "ok", "On time", f"{waiting} waiting for people, {ready} about to start")


def _approvers() -> Part:
    """Rules whose question nobody could answer."""
    found = approvers.unanswerable()
    if not found:
        return Part("Approvers", "ok", "There", "Whoever a rule asks can answer")
    more = f" And {len(found) - 3} more." if len(found) > 3 else ""
    told = " ".join(f"{rule}: {why}" for rule, why in found[:3])
    return Part("Approvers", "wait", "Missing", told + more)


def _notices() -> Part:
    told = notices.read()
    if told.late:
        return Part("Notifications", "danger", "Behind", f"{told.late}: is the clock running? {told.detail}")
    if told.trouble:
        return Part("Notifications", "danger", "Failing", f"{told.trouble}. {told.detail}")
    return Part("Notifications", "ok", "On time", told.detail)


def _grants() -> Part:
    """Whether every grant whose time was over is gone."""
    stuck = concerns.stuck().count()
    if stuck:
        return Part(
            "Grants", "danger", "Left over", f"{stuck} cannot be ended; each is tried again until it can"
        )
    return Part("Grants", "ok", "On time", "Whatever was over is gone")


PARTS: tuple[Callable[[], Part], ...] = (
    _database, _redis, _log, _workers, _sandbox, _actions, _approvers, _notices,
    _grants,
)  # fmt: skip
