"""The one door by which the site itself asks other servers: webhooks, and whatever else it must fetch.

A host is resolved once, each address is judged (`addresses`), and exactly a judged one is dialled, so that a
name which changes between looking and dialling gains nothing. TLS verifies the name. Redirects are answers
like any other and never followed. Everything together has one deadline, an answer has a largest size.
"""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

import h11
from django.conf import settings

from policies import addresses
from policies.addresses import Address, Allowed
from traces.problems import Forbidden, Invalid, Refused, TooLarge, Unavailable

SECONDS = 10.0
MOST = 64 * 1024
MOST_HEADERS = 16 * 1024
LONGEST_URL = 2048
TRIED = 3  # addresses of one host
CHUNK = 16 * 1024
_URL = re.compile(r"[\x21-\x7e]+")
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@/%?]*)?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding"})

Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True)
class Place:
    """Where a URL leads: parsed, with nothing asked of DNS yet."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return shown if self.port == usual else f"{shown}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers with lower-case names, the body, and the address that gave it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    address: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name.lower()), "")


@dataclass(frozen=True)
class Terms:
    """What somebody may have who decided where to go before asking: more ports of public servers (`ports`),
    speech without TLS (`plain`), TLS of their own making (`bare`: nothing is wrapped here) or with other
    authorities (`tls`), another resolver.
    """

    ports: frozenset[int] = addresses.PORTS
    plain: bool = False
    bare: bool = False
    tls: ssl.SSLContext | None = None
    resolve: Resolve | None = None


class Deadline:
    """One end for everything that a fetch does."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises Unavailable where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unavailable("it took too long")
        return left


def place(url: str, *, longest: int = LONGEST_URL) -> Place:
    """Read a URL. Raises Invalid for anything but http or https to a plain host name or address."""
    if len(url) > longest or not _URL.fullmatch(url) or "\\" in url:
        raise Invalid(f"this is no address of a server: at most {longest:,} visible ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("this is no address of a server") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise Invalid("an address begins with https:// and names a host")
    if "@" in parts.netloc:
        raise Invalid("an address must not hold a user name or password")
    if parts.fragment or not _PATH.fullmatch(parts.path) or port == 0:
        raise Invalid("this is no address of a server")
    if not addresses.is_host(host) and (addresses.parse(host) is None or "%" in host):
        raise Invalid("this is no name of a host (an international one is written in its xn-- form)")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme], path)


def check(url: str) -> Place:
    """A URL that somebody wants to store, refused now as far as it can be without asking DNS.

    Raises Invalid, or Forbidden for an address that no fetch would dial.
    """
    found = place(url)
    allowed = allow_list()
    literal = addresses.parse(found.host)
    if literal is not None:
        _judge(found, literal, allowed, Terms())
    elif not any(entry.names(found.host, found.port) for entry in allowed):
        if found.port not in addresses.PORTS and not any(entry.port == found.port for entry in allowed):
            raise Forbidden(f"port {found.port} is not listed in AGENTSEC_FETCH_ALLOW")
        if found.scheme == "http" and not any(entry.network for entry in allowed):
            raise Forbidden("it must begin with https://")
    return found


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    seconds: float = SECONDS,
    most: int = MOST,
    resolve: Resolve | None = None,
) -> Answer:
    """Ask another server, once; a redirect is returned, not followed.

    `seconds` is the end of everything, name resolution included; `most` the largest body in bytes.
    Raises Invalid (URL, header), Forbidden (where it leads), Unavailable (no answer in time, TLS, a broken
    answer), TooLarge. No message quotes what the other side sent.
    """
    if method not in _METHODS:
        raise Invalid(f"{method!r} is no method of HTTP")
    where, deadline = place(url), Deadline(seconds)
    request = _request(method, where, headers or {}, body)
    connected, address = dial(where, deadline, terms=Terms(resolve=resolve))
    with connected:
        return _talk(connected, request, body, deadline, most, address)


def dial(where: Place, deadline: Deadline, *, terms: Terms) -> tuple[socket.socket, str]:
    """A connection to a place, and the address that answered: resolved once, judged, exactly that dialled.

    Raises Forbidden (where it leads), Unavailable (no address, no answer in time, TLS).
    """
    problem: Refused | None = None
    for address in _judged(where, _resolved(where, terms.resolve or lookup, deadline), terms):
        try:
            return _connect(where, address, deadline, terms), str(address)
        except Unavailable as error:
            problem = error
    raise problem or Unavailable("the host has no address")


def lookup(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def allow_list() -> tuple[Allowed, ...]:
    """What the operator lists in AGENTSEC_FETCH_ALLOW."""
    return _read_list(tuple(settings.AGENTSEC_FETCH_ALLOW))


@lru_cache(maxsize=8)
def _read_list(entries: tuple[str, ...]) -> tuple[Allowed, ...]:
    return addresses.read_list(entries)


def _request(method: str, where: Place, headers: Mapping[str, str], body: bytes) -> h11.Request:
    given = [(name, value) for name, value in headers.items() if name.lower() not in _OURS]
    own = [("Host", where.host_header), ("Connection", "close"), ("Accept-Encoding", "identity")]
    if body or method in ("POST", "PUT", "PATCH"):
        own.append(("Content-Length", str(len(body))))
    try:
        return h11.Request(method=method, target=where.path, headers=own + given)
    except (h11.LocalProtocolError, UnicodeEncodeError):
        raise Invalid("a header or the address cannot be sent") from None


def _resolved(where: Place, resolve: Resolve, deadline: Deadline) -> list[Address]:
    literal = addresses.parse(where.host)
    if literal is not None:
        return [literal]
    answer: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def look() -> None:
        try:
            answer.put(resolve(where.host, where.port))
        except (OSError, UnicodeError):
            answer.put(())

    # The system's resolver takes no deadline; one that hangs is left behind.
    threading.Thread(target=look, name="fetch-resolve", daemon=True).start()
    try:
        found = answer.get(timeout=deadline.left())
    except queue.Empty:
        raise Unavailable("the name of the host was not resolved in time") from None
    parsed = [addresses.parse(text.partition("%")[0]) for text in found]
    if not parsed:
        raise Unavailable("the host is not known")
    return [address for address in parsed if address is not None]


def _judged(where: Place, found: Sequence[Address], terms: Terms) -> list[Address]:
    """The addresses that may be dialled. Raises Forbidden where none may."""
    allowed, good = allow_list(), []
    refused: Forbidden | None = None
    for address in found:
        try:
            _judge(where, address, allowed, terms)
            good.append(address)
        except Forbidden as error:
            refused = error
    if not good:
        raise refused or Unavailable("the host has no address")
    return good[:TRIED]


def _judge(where: Place, address: Address, allowed: Sequence[Allowed], terms: Terms) -> None:
    answer = addresses.reach(address, host=where.host, port=where.port, allowed=allowed, ports=terms.ports)
    if not answer.allowed:
        hint = "the operator may list it in AGENTSEC_FETCH_ALLOW"
        raise Forbidden(f"{where.host} may not be reached: its address is {answer.why}; {hint}")
    if (
        where.scheme == "http"
        and not terms.plain
        and not addresses.plain_http(address, host=where.host, port=where.port, allowed=allowed)
    ):
        raise Forbidden("it must begin with https://")


def _connect(where: Place, address: Address, deadline: Deadline, terms: Terms) -> socket.socket:
    try:
        raw = socket.create_connection((str(address), where.port), timeout=deadline.left())
    except OSError as error:
        raise Unavailable(f"no connection: {_system(error)}") from None
    if where.scheme == "http" or terms.bare:
        return raw
    try:
        raw.settimeout(deadline.left())
        return (terms.tls or _tls()).wrap_socket(raw, server_hostname=where.host)
    except ssl.SSLCertVerificationError:
        raw.close()
        raise Unavailable("its certificate is not one for this host that this machine trusts") from None
    except OSError as error:
        raw.close()
        raise Unavailable(f"no TLS: {_system(error)}") from None
    except Refused:
        raw.close()
        raise


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _talk(
    wire: socket.socket, request: h11.Request, body: bytes, deadline: Deadline, most: int, address: str
) -> Answer:
    state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADERS)
    try:
        _send(wire, state.send(request) or b"", deadline)
        if body:
            _send(wire, state.send(h11.Data(data=body)) or b"", deadline)
        _send(wire, state.send(h11.EndOfMessage()) or b"", deadline)
        return _read(wire, state, deadline, most, address)
    except OSError as error:
        raise Unavailable(f"the connection broke: {_system(error)}") from None
    except h11.RemoteProtocolError:
        raise Unavailable("its answer is not HTTP, or its headers are too long") from None


def _send(wire: socket.socket, data: bytes, deadline: Deadline) -> None:
    left = memoryview(data)
    while left:
        wire.settimeout(deadline.left())
        left = left[wire.send(left) :]


def _read(wire: socket.socket, state: h11.Connection, deadline: Deadline, most: int, address: str) -> Answer:
    response: h11.Response | None = None
    parts, size, early = [], 0, 0
    while True:
        event = state.next_event()
        if event is h11.NEED_DATA:
            wire.settimeout(deadline.left())
            state.receive_data(wire.recv(CHUNK))
        elif isinstance(event, h11.InformationalResponse):
            early += 1
            if early > 10:
                raise Unavailable("its answer never begins")
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > most:
                raise TooLarge(f"its answer is larger than {most:,} bytes")
            parts.append(bytes(event.data))
        elif response is not None:
            return _answer(response, b"".join(parts), address)
        else:
            raise Unavailable("it closed the connection without an answer")


def _answer(response: h11.Response, body: bytes, address: str) -> Answer:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
    return Answer(int(response.status_code), headers, body, address)


def _system(error: OSError) -> str:
    """What the system says of it, in its own words and never in the other side's."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLError):
        return "the two sides do not agree"
    return (error.strerror or type(error).__name__).lower()
