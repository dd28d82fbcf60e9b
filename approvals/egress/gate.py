"""Whether this start still holds, asked at each connection; and every decision, told to the log as it falls.

Two threads of a run, each with a database connection of its own: one answers whether the start holds (a
worker that froze and woke up is past its fence, and reaches nothing), the other appends entries, so that no
request waits for the log. Where either fails, the run reaches nothing more.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol

from django.db import connections, transaction
from django.db.models import Exists, OuterRef

from approvals.models import Action, Execution
from policies.models import Grant
from traces import dbtime, record
from traces.problems import Forbidden, Refused, Unavailable

# Decisions of one run that have an entry of their own; those after them are counted in one at the end.
TOLD = 100
SECONDS = 10.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """One thing that happened on the way out. `kind` is allowed, refused or ended; `what` never holds a
    query, a header or a body; `why` says why it was refused, or what ended it early.
    """

    kind: str
    what: str
    host: str = ""
    port: int = 0
    why: str = ""
    address: str = ""
    secrets: tuple[str, ...] = ()
    read: bool = False
    status: int = 0
    sent: int = 0
    received: int = 0


class Gate(Protocol):
    """What the way out asks, and whom it tells."""

    def check(self) -> None:
        """Raises Refused where this start does not hold any more."""

    def tell(self, told: Told) -> None:
        """Note what happened. Raises Refused where it cannot be noted."""


class RunGate:
    """The gate of one start. A context: at its end everything told stands in the log, or it raises."""

    def __init__(self, execution: Execution, grant: Grant) -> None:
        self._execution, self._grant = execution, grant
        self._asked: queue.SimpleQueue[Future[bool] | None] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._broken = ""
        self._count = 0
        self._more: Counter[tuple[str, str, str]] = Counter()
        self.allowed = 0
        self.refusals: Counter[str] = Counter()

    def __enter__(self) -> RunGate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._told.put(None)
        self._asked.put(None)
        for thread in self._threads:
            thread.join()
        if self._broken and error is None:
            raise Unavailable(self._broken)

    def check(self) -> None:
        answer: Future[bool] = Future()
        self._start()
        self._asked.put(answer)
        try:
            failed = bool(self._broken) or answer.exception(SECONDS) is not None
        except TimeoutError:
            failed = True
        if failed or self._broken:
            raise Unavailable(self._broken or "whether this start still holds could not be asked")
        if not answer.result():
            raise Forbidden("this start is over: its grant has ended, or it was stopped")

    def tell(self, told: Told) -> None:
        with self._lock:
            self.allowed += told.kind == "allowed"
            if told.kind == "refused":
                self.refusals[f"{told.what}: {told.why}"] += 1 if len(self.refusals) < TOLD else 0
            self._count += 1
            if self._count > TOLD:
                self._more[told.kind, told.host, told.why] += 1
                return
        self._start()
        self._told.put(told)

    def _start(self) -> None:
        with self._lock:
            if self._threads:
                return
            for name, work in (("egress-fence", self._answer), ("egress-log", self._append)):
                self._threads.append(threading.Thread(target=_alone, args=(work, self._break), name=name))
                self._threads[-1].start()

    def _break(self) -> None:
        self._broken = "the way out ended: agentsec could not ask or tell its own log"

    def _answer(self) -> None:
        done = False
        while not done:
            batch = [self._asked.get()]
            while not self._asked.empty():
                batch.append(self._asked.get())
            done = None in batch
            _settle([each for each in batch if each is not None], self._holds)

    def _holds(self) -> bool:
        alive = Grant.objects.filter(
            pk=self._grant.pk, action_id=OuterRef("action_id"), fence=self._execution.fence,
            state=Grant.State.ACTIVE, expires_at__gt=dbtime.now(),
        )  # fmt: skip
        return Execution.objects.filter(
            Exists(alive), pk=self._execution.pk, ended_at=None, stop_requested="",
            action__state=Action.State.RUNNING, action__fence=self._execution.fence,
        ).exists()  # fmt: skip

    def _append(self) -> None:
        done = False
        while not done:
            batch = [self._told.get()]
            while not self._told.empty():
                batch.append(self._told.get())
            done = None in batch
            self._store([told for told in batch if told is not None])
        if self._more:
            self._store_more()

    def _store(self, batch: list[Told]) -> None:
        with transaction.atomic():
            for told in batch:
                body = asdict(told) | {"fence": self._execution.fence, "secrets": list(told.secrets)}
                self._entry(f"egress.{told.kind}", body, _title(told), told.host)

    def _store_more(self) -> None:
        found = [
            {"kind": kind, "host": host, "why": why, "count": count}
            for (kind, host, why), count in self._more.most_common(TOLD)
        ]
        total = sum(self._more.values())
        with transaction.atomic():
            body = {"more": found, "count": total, "fence": self._execution.fence}
            self._entry("egress.more", body, f"{total:,} more on the way out", "")

    def _entry(self, kind: str, body: dict[str, object], title: str, host: str) -> None:
        action = self._execution.action
        record.append(
            kind=kind, actor="agentsec", session=action.session, action=str(action.pk), body=body,
            title=title, attributes={"host": host} if host else {},
        )  # fmt: skip


def _settle(waiting: list[Future[bool]], asked: Callable[[], bool]) -> None:
    """One question for all who wait: each of them asked before it was put."""
    try:
        holds = asked() if waiting else False
    except Exception as error:
        for each in waiting:
            each.set_exception(error)
        raise
    for each in waiting:
        each.set_result(holds)


def _alone(work: Callable[[], None], broken: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception("the way out of a run is closed")
        broken()
    finally:
        connections.close_all()


def _title(told: Told) -> str:
    if told.kind == "refused":
        return f"Refused: {told.what} ({told.why})"
    if told.kind == "allowed":
        return f"Allowed: {told.what}" + (f", with {', '.join(told.secrets)}" if told.secrets else "")
    status = f"{told.status}, " if told.status else ""
    cut = f"; cut off: {told.why}" if told.why else ""
    return f"Done: {told.what} ({status}{told.sent:,} bytes out, {told.received:,} in{cut})"


__all__ = ["Gate", "Refused", "RunGate", "Told"]
