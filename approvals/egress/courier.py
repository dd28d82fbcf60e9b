"""One request out and its answer back: judged, fenced, filled with secrets, dialled once, redacted.

The proxy and `runs: http` send through here and nowhere else.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from approvals.egress import meaning
from approvals.egress.gate import Gate, Told
from approvals.egress.redaction import Redactor
from approvals.egress.vault import Asked, Vault
from approvals.egress.wire import HOP, Broken, Exchange
from policies import fetch
from policies.destinations import METHODS, Destinations
from policies.fetch import Deadline, Place, Resolve, Terms
from traces.problems import Forbidden, Refused, Unavailable

DIAL_SECONDS = 10.0
# The server sees ours: what it would pack, cut in pieces or write in another alphabet could hide a value.
_OURS = frozenset({"host", "content-length", "accept-encoding", "accept-charset", "range", "if-range"})
_PACKED = {"gzip": 47, "x-gzip": 47, "deflate": 47}


class Budget:
    """Bytes that a run may still move, in both directions together; all its connections draw on it."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Raises Forbidden where it is used up."""
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise Forbidden("this run has moved as many bytes as its limit network_bytes allows")


class Wires:
    """The connections of one run; its end ends them, whoever waits on one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[socket.socket] = set()
        self._over = False

    def hold(self, wire: socket.socket) -> None:
        """Know a connection. Raises Forbidden, with it closed, where the run is over."""
        with self._lock:
            if not self._over:
                self._held = {each for each in self._held if each.fileno() >= 0} | {wire}
                return
        wire.close()
        raise Forbidden("this run is over")

    def cut(self) -> None:
        with self._lock:
            self._over, held = True, list(self._held)
        for wire in held:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)


@dataclass
class Reply:
    """An answer as it may be passed on: status, headers, and the body's pieces, which must be read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    address: str
    received: int = 0
    _exchange: Exchange | None = field(default=None, repr=False)
    _redactor: Redactor | None = field(default=None, repr=False)
    _unpack: zlib._Decompress | None = field(default=None, repr=False)
    _budget: Budget | None = field(default=None, repr=False)
    _paid: int = 0

    def parts(self) -> Iterator[bytes]:
        """The body, redacted. Raises Broken where it is cut off, OSError, Refused."""
        if self._exchange is None or self._redactor is None or self._budget is None:
            return
        while piece := self._exchange.part():
            for unpacked in self._unpacked(piece):
                self.received += len(unpacked)
                self._pay_for_unpacking(self._exchange.received)
                if safe := self._redactor.feed(unpacked):
                    yield safe
        if self._unpack is not None and not self._unpack.eof:
            raise Broken("its answer was cut off")
        yield self._redactor.end()

    def _pay_for_unpacking(self, arrived: int) -> None:
        """What came was paid for as it came; what it becomes beyond that is paid for here."""
        beyond = self.received - arrived - self._paid
        if beyond > 0 and self._budget is not None:
            self._paid += beyond
            self._budget.spend(beyond)

    def _unpacked(self, piece: bytes) -> Iterator[bytes]:
        if self._unpack is None:
            yield piece
            return
        try:
            while piece and not self._unpack.eof:
                yield self._unpack.decompress(piece, fetch.CHUNK * 4)
                piece = self._unpack.unconsumed_tail
            if self._unpack.eof and (self._unpack.unused_data or piece):
                raise Broken("its answer is packed in more than one piece")
        except zlib.error:
            raise Broken("its answer is not packed as it says") from None


@dataclass(frozen=True)
class Courier:
    """What one run may send. `seconds` is the end of everything it does; `resolve` is DNS."""

    allowed: Destinations
    vault: Vault
    gate: Gate
    budget: Budget
    tls: ssl.SSLContext
    seconds: float
    resolve: Resolve | None = None
    wires: Wires = field(default_factory=Wires)

    def deadline(self) -> Deadline:
        return Deadline(self.seconds)

    @contextmanager
    def sent(self, asked: Asked, deadline: Deadline) -> Iterator[Reply]:
        """Send a request, whose body is paid for; its reply, for as long as the block lasts.

        Raises Refused: forbidden for what may not leave, unavailable where no answer came. The log has both
        by then.
        """
        told = Told("refused", asked.shown, asked.where.host, asked.where.port, read=True)
        wire, reply, filled, told = self._begun(asked, deadline, told)
        try:
            with wire:
                self._ask(wire, filled, reply)
                yield reply
        except Refused as refused:
            told = replace(told, why=refused.detail)
            raise
        except (OSError, Broken) as error:
            raise Unavailable(f"the server did not answer as it should: {_said(error)}") from None
        finally:
            sent = len(filled.body)
            self.gate.tell(
                replace(told, kind="ended", status=reply.status, sent=sent, received=reply.received)
            )

    def dialled(self, where: Place, deadline: Deadline) -> socket.socket:
        """A connection for TLS that is not read. Raises Refused; the log has it either way."""
        told = Told("refused", f"CONNECT {where.host_header}", where.host, where.port)
        try:
            self._require(self.allowed.of_host(where).why)
            self.gate.check()
            terms = Terms(frozenset({where.port}), plain=True, bare=True, resolve=self.resolve)
            wire, address = self._dial(where, terms)
        except Refused as refused:
            self.gate.tell(replace(told, why=refused.detail))
            raise
        self.gate.tell(replace(told, kind="allowed", address=address))
        return wire

    def _begun(
        self, asked: Asked, deadline: Deadline, told: Told
    ) -> tuple[socket.socket, Reply, Asked, Told]:
        try:
            filled, names = self._judged(asked)
            told = replace(told, secrets=names)
            exchange = self._written(filled, deadline, paid=len(asked.body))
            self.gate.check()
            wire, address = self._dial(asked.where, self._terms(asked.where, secret=bool(names)))
        except Refused as refused:
            self.gate.tell(replace(told, why=refused.detail))
            raise
        told = replace(told, kind="allowed", address=address)
        self.gate.tell(told)
        return wire, Reply(0, (), address, _exchange=exchange), filled, told

    def _written(self, asked: Asked, deadline: Deadline, *, paid: int) -> Exchange:
        """The request as it will leave, paid for as far as it is not yet. Raises Forbidden, Unavailable."""
        exchange = Exchange(deadline, self.budget.spend)
        try:
            size = exchange.write(asked.method, asked.where.path, self._headers(asked), asked.body)
        except Broken as error:
            raise Unavailable(str(error)) from None
        self.budget.spend(max(0, size - paid))
        return exchange

    def _judged(self, asked: Asked) -> tuple[Asked, tuple[str, ...]]:
        reach = self.allowed.of_request(asked.method, asked.where)
        self._require(reach.why)
        self._require("" if asked.method in METHODS else f"{asked.method[:20]} is no method that is sent on")
        self._require(meaning.unfit(asked.headers, self.allowed, asked.where))
        return self.vault.filled(asked, reach.carried)

    def _terms(self, where: Place, *, secret: bool) -> Terms:
        # Without TLS a secret goes only where the operator says that the network may see it.
        return Terms(frozenset({where.port}), plain=not secret, tls=self.tls, resolve=self.resolve)

    def _dial(self, where: Place, terms: Terms) -> tuple[socket.socket, str]:
        wire, address = fetch.dial(where, Deadline(min(DIAL_SECONDS, self.seconds)), terms=terms)
        self.wires.hold(wire)
        return wire, address

    def _require(self, why: str) -> None:
        if why:
            raise Forbidden(why)

    def _ask(self, wire: socket.socket, asked: Asked, reply: Reply) -> None:
        exchange, needles = reply._exchange, self.vault.needles
        assert exchange is not None, "a request was written before a server was dialled"
        exchange.send(wire)
        exchange.begin()
        reply.status = exchange.status
        reply._redactor, reply._budget = self.vault.redactor(), self.budget
        empty = needles.none or asked.method == "HEAD" or exchange.status in (204, 304)
        packed = "" if empty else _packing(exchange)
        reply._unpack = zlib.decompressobj(_PACKED[packed]) if packed else None
        gone = HOP | ({"content-encoding", "content-length"} if reply._unpack is not None else set())
        reply.headers = tuple(
            (needles.of_text(name), needles.of_text(value))
            for name, value in exchange.headers
            if name not in gone
        )

    def _headers(self, asked: Asked) -> list[tuple[str, str]]:
        ours = [("Host", asked.where.host_header), ("Connection", "close")]
        if self.vault.placeholders:
            ours.append(("Accept-Encoding", "identity"))
        if asked.body or asked.method in ("POST", "PUT", "PATCH"):
            ours.append(("Content-Length", str(len(asked.body))))
        dropped = (_OURS if self.vault.placeholders else frozenset({"host", "content-length"})) | HOP
        return ours + [each for each in asked.headers if each[0].lower() not in dropped]


def _packing(exchange: Exchange) -> str:
    """How the answer is packed, empty for not at all. Raises Broken for a way that is not read here."""
    said = ", ".join(value for name, value in exchange.headers if name == "content-encoding").strip().lower()
    if said in ("", "identity"):
        return ""
    if said not in _PACKED:
        raise Broken("its answer is packed in a way that is not read here")
    return said


def _said(error: OSError | Broken) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) if isinstance(error, Broken) else "the connection broke"
