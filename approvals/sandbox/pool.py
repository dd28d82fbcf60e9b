"""Sandboxes that stand before their job comes: each is used for one job and no other.

Nothing of a job is known when a sandbox is started, and nothing of another job was ever in it, so a job finds
out no more about this pool than that it began quickly.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from approvals.sandbox.box import Box
from approvals.sandbox.job import SandboxUnavailable
from approvals.sandbox.meter import Meter

MAX_AGE_SECONDS = 600.0
# After one is taken its job has the processors for itself for a moment.
_CALM_SECONDS = 0.03
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 5.0
logger = logging.getLogger(__name__)


@dataclass
class Standing:
    """A sandbox whose job's process waits, already under its meter. ``made_of`` is what it was made from;
    ``ended`` is told when nothing is left of it.
    """

    box: Box
    meter: Meter
    made_of: object
    ended: Callable[[], None]
    born: float = field(default_factory=time.monotonic)

    def fit(self, made_of: object) -> bool:
        young = time.monotonic() - self.born < MAX_AGE_SECONDS
        return young and self.made_of == made_of and self.box.alive()

    def close(self) -> None:
        with contextlib.ExitStack() as closing:
            closing.callback(self.ended)
            closing.callback(self.meter.close)
            closing.callback(self.box.close)


class Pool:
    """Keeps ``size`` sandboxes standing, by a thread of its own.

    The kernel kills a sandbox with the thread that started it, so that thread ends only after every sandbox
    it started is closed; ``close`` is called last. ``make`` starts one there, ``spring`` does in whichever
    thread needs one, or gives None; ``made_of`` says what one would be made of now. All three may raise
    SandboxUnavailable.
    """

    def __init__(
        self,
        *,
        size: int,
        make: Callable[[], Standing],
        spring: Callable[[], Standing | None],
        made_of: Callable[[], object],
        close: Callable[[], None],
    ) -> None:
        self._size = size
        self._make = make
        self._spring = spring
        self._made_of = made_of
        self._close = close
        self._changed = threading.Condition()
        self._standing: deque[Standing] = deque()
        self._lent = 0
        self._open = True
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._keep, name="sandbox-pool", daemon=True)
        self._thread.start()

    def pids(self) -> list[int]:
        """The waiting job's process of each that stands, as the host knows it."""
        with self._changed:
            return [each.box.pid for each in self._standing]

    def take(self, made_of: object) -> Standing | None:
        """A sandbox made of ``made_of``, for one job: one that stands, one that is quickly made, or None.

        Pair with ``give_back``.
        """
        return self._take(made_of) or self._take_sprung(made_of)

    def _take_sprung(self, made_of: object) -> Standing | None:
        with self._changed:
            if not self._open:
                return None
            self._lent += 1
        try:
            made = self._spring()
        except (SandboxUnavailable, OSError) as error:
            logger.warning("no sandbox is quickly made: %s", error)
            made = None
        except BaseException:
            self._return()
            raise
        if made is not None and made.made_of == made_of:
            return made
        if made is not None:
            made.close()
        self._return()
        return None

    def _take(self, made_of: object) -> Standing | None:
        with self._changed:
            while self._open and self._standing:
                found = self._standing.popleft()
                # The thread is not told, or it would be in the way: it looks by itself, or hears of the end.
                self._not_before = time.monotonic() + _CALM_SECONDS
                if found.fit(made_of):
                    self._lent += 1
                    return found
                found.close()
            return None

    def give_back(self, used: Standing) -> None:
        """End a sandbox that was taken; nothing takes it again."""
        try:
            used.close()
        finally:
            self._return()

    def _return(self) -> None:
        with self._changed:
            self._lent -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """End all of it. Waits for the jobs that run in its sandboxes."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def wait_until_full(self, *, seconds: float) -> bool:
        """Whether as many stand as should within ``seconds``; for measurements and tests."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._standing) >= self._size, seconds)

    def _keep(self) -> None:
        with contextlib.ExitStack() as ending:
            ending.callback(self._close)
            ending.callback(self._end)
            while self._wait_for_need():
                try:
                    made = self._make()
                except (SandboxUnavailable, OSError) as error:
                    logger.warning("no sandbox is kept warm: %s", error)
                    self._not_before = time.monotonic() + _RETRY_SECONDS
                    continue
                with self._changed:
                    self._standing.append(made)
                    self._changed.notify_all()

    def _wait_for_need(self) -> bool:
        """Return True when one more should stand, False when the pool closes."""
        with self._changed:
            while self._open:
                self._discard()
                missing = len(self._standing) < self._size
                pause = self._not_before - time.monotonic()
                if missing and pause <= 0:
                    return True
                self._changed.wait(pause if missing else _LOOK_SECONDS)
            return False

    def _discard(self) -> None:
        try:
            wanted = self._made_of()
        except SandboxUnavailable:
            wanted = None
        for each in [each for each in self._standing if wanted is None or not each.fit(wanted)]:
            self._standing.remove(each)
            each.close()

    def _end(self) -> None:
        with self._changed:
            self._open = False
            while self._standing:
                self._standing.pop().close()
            self._changed.wait_for(lambda: self._lent == 0)
