"""The proxy of one run: serves the listener that the sandbox's init opened inside its network.

A request in absolute form is read and sent on. CONNECT is TLS: carried unread to a host that is listed
without conditions, else answered with a certificate of the run's own authority and read like any other.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from dataclasses import dataclass, replace

from approvals.egress import tunnel
from approvals.egress.authority import Authority
from approvals.egress.courier import Courier
from approvals.egress.gate import Told
from approvals.egress.vault import Asked
from approvals.egress.wire import Head, Left, Malformed, Requests
from policies import fetch
from policies.fetch import Place
from traces.problems import Forbidden, Refused

CONNECTIONS = 64
END_SECONDS = 1.0
MOST_SENT = 16 << 20
LONGEST_TARGET = 8192
STATUS = {"forbidden": 403, "invalid": 400, "unavailable": 502, "too_large": 413}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Inside:
    """The connection whose TLS ends here: every request in it is for this place."""

    where: Place


class Proxy:
    """Serves until it is closed; its connections are the run's own and end with it."""

    def __init__(self, listener: socket.socket, courier: Courier, authority: Authority | None) -> None:
        self._listener, self._courier, self._authority = listener, courier, authority
        self._changed = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._over = threading.Event()
        self._hire()

    def close(self) -> None:
        """End every connection, and wait a moment for those who held them: one that is still being dialled
        then finds that the run is over. May be called again.
        """
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._courier.wires.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._threads, END_SECONDS)
        self._listener.close()

    def _hire(self) -> None:
        """See that somebody waits for the next connection. A job that opens more connections than there may
        be threads waits in the kernel's queue.
        """
        with self._changed:
            if self._over.is_set() or self._idle or len(self._threads) >= CONNECTIONS:
                return
            thread = threading.Thread(target=self._serve, name="egress", daemon=True)
            self._threads.add(thread)
            self._idle += 1
            thread.start()

    def _serve(self) -> None:
        try:
            while not self._over.is_set():
                wire = self._accepted()
                if wire is not None:
                    self._turn(-1)
                    self._hire()
                    self._handle(wire)
                    self._turn(1)
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _accepted(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except OSError:
            # The end of the run, or a machine without free descriptors, which must not be asked in a circle.
            self._over.wait(0.05)
            return None

    def _turn(self, step: int) -> None:
        with self._changed:
            self._idle += step

    def _handle(self, wire: socket.socket) -> None:
        try:
            with wire:
                self._courier.wires.hold(wire)
                _Conversation(wire, self._courier, self._authority).run()
        except (Left, OSError, Refused) as error:
            # Whoever was there is gone, or has been told, and the log has it.
            logger.debug("a connection on the way out ended: %s", type(error).__name__)
        except Exception:
            logger.exception("a connection on the way out ended")


class _Conversation:
    """One connection of the job."""

    def __init__(self, wire: socket.socket, courier: Courier, authority: Authority | None) -> None:
        self._wire, self._courier, self._authority = wire, courier, authority
        self._deadline = courier.deadline()
        self._inside: _Inside | None = None
        self._speaking = False  # an answer has begun: another would be taken for a part of it

    def run(self) -> None:
        requests = Requests(self._wire)
        wire = self._talk(requests, None)
        if wire is not None:
            with wire:
                self._courier.wires.hold(wire)
                self._talk(Requests(wire), self._inside)

    def _talk(self, requests: Requests, inside: _Inside | None) -> ssl.SSLSocket | None:
        """Answer requests until the connection ends; a connection that goes on inside TLS, if one does."""
        try:
            while (head := requests.head(self._deadline)) is not None:
                if head.method == "CONNECT" and inside is None:
                    return self._connect(requests, head)
                if not self._answer(requests, head, inside):
                    return None
        except Malformed as error:
            self._tell("a request", str(error), inside.where if inside else None)
            self._refuse(requests, error.status, str(error))
        except Refused as refused:
            self._refuse(requests, STATUS.get(refused.code, 502), refused.detail)
        return None

    def _refuse(self, requests: Requests, status: int, why: str) -> None:
        if self._speaking:
            raise Left
        requests.plain(status, why, self._deadline)

    def _answer(self, requests: Requests, head: Head, inside: _Inside | None) -> bool:
        """Send one request on and its answer back; whether another may follow."""
        where = self._target(head, inside)
        asked = Asked(head.method, where, head.headers)
        try:
            body = requests.body(self._deadline, MOST_SENT, self._courier.budget.spend)
        except Refused as refused:
            self._tell(asked.shown, refused.detail, where)
            raise
        asked = replace(asked, body=body)
        with self._courier.sent(asked, self._deadline) as reply:
            requests.begin(reply.status, reply.headers)
            self._speaking = True
            for part in reply.parts():
                requests.part(part, self._deadline)
            requests.end(self._deadline)
        self._speaking = False
        return requests.again and not head.closes

    def _target(self, head: Head, inside: _Inside | None) -> Place:
        """Where a request leads, said once: by its target, and by a Host that says the same."""
        if inside is None:
            if not head.target.lower().startswith("http://"):
                raise Malformed("ask for http:// in absolute form, or CONNECT for TLS")
            where = self._place(head.target)
        else:
            if not head.target.startswith("/"):
                raise Malformed("inside TLS a target begins with /")
            authority = f"{inside.where.scheme}://{inside.where.host_header}"
            where = self._place(authority + head.target)
        for host in head.all("host"):
            if self._place(f"{where.scheme}://{host}/") != replace(where, path="/"):
                raise Malformed("its Host is not the host of its target")
        return where

    def _place(self, url: str) -> Place:
        try:
            return fetch.place(url, longest=LONGEST_TARGET)
        except Refused as refused:
            raise Malformed(refused.detail) from None

    def _connect(self, requests: Requests, head: Head) -> ssl.SSLSocket | None:
        if head.target.count(":") < 1 or "/" in head.target or requests.early:
            raise Malformed("CONNECT takes HOST:PORT, and nothing before its answer")
        where = self._place(f"https://{head.target}/")
        if any(self._place(f"https://{host}/").host != where.host for host in head.all("host")):
            raise Malformed("its Host is not the host of its target")
        if self._courier.allowed.reads(where) and self._courier.allowed.of_host(where).allowed:
            return self._intercepted(requests, where)
        self._tunnel(requests, where)
        return None

    def _intercepted(self, requests: Requests, where: Place) -> ssl.SSLSocket:
        assert self._authority is not None, "a run that reads TLS has an authority"
        requests.plain(200, "", self._deadline)
        self._inside = _Inside(where)
        self._wire.settimeout(self._deadline.left())
        try:
            return self._authority.context(where.host).wrap_socket(self._wire, server_side=True)
        except OSError:
            self._tell(
                f"CONNECT {where.host_header}", "its TLS is for another host, or trusts nobody here", where
            )
            raise

    def _tunnel(self, requests: Requests, where: Place) -> None:
        with self._courier.dialled(where, self._deadline) as server:
            requests.plain(200, "", self._deadline)
            self._speaking = True
            told = Told("ended", f"CONNECT {where.host_header}", where.host, where.port)
            try:
                first = tunnel.greeting(self._wire, where.host, self._deadline)
            except Forbidden as refused:
                self._tell(told.what, refused.detail, where)
                raise Left from None
            self._courier.budget.spend(len(first))
            server.settimeout(self._deadline.left())
            server.sendall(first)
            carried = tunnel.Carriage(sent=len(first))
            try:
                tunnel.carry(self._wire, server, carried, self._courier.budget, self._deadline)
            finally:
                self._courier.gate.tell(replace(told, sent=carried.sent, received=carried.received))

    def _tell(self, what: str, why: str, where: Place | None = None) -> None:
        self._courier.gate.tell(
            Told("refused", what, where.host if where else "", where.port if where else 0, why)
        )
