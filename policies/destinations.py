"""Where a tool's work may reach: one line a destination, read once, asked at each connection. Pure.

    [METHOD[,METHOD]…] [http://|https://]HOST[:PORT][/PATH[*]] [with SECRET [in header|query|body], …]

    api.example.com                                    TLS at port 443, unread
    *.example.com:8443                                 any name below example.com
    http://example.com/feed.xml                        without TLS, exactly this path
    GET,POST https://api.example.com/v1/*              these methods, below this path
    POST https://api.example.com/pay with pay-key      the secret is put into its headers
    https://api.example.com/* with pay-key in query    … or where the line says

A line with a method, a path or a secret is held to by reading the requests; a line without lets TLS through
unread. Where several lines name the same host and port, one that has to read makes all of them read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from policies import addresses
from policies.fetch import Place
from policies.text import INVISIBLE

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SPOTS = ("header", "query", "body")
MOST = 100
LONGEST = 500
PORTS = {"https": 443, "http": 80}
_LINE = re.compile(
    r"(?:(?P<methods>[A-Za-z]+(?:,[A-Za-z]+)*) +)?"
    r"(?:(?P<scheme>[A-Za-z]+)://)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/\S*)?"
    r"(?: +with +(?P<secrets>.+))?"
)
_SECRET = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,100})(?: +in +(?P<spot>[a-z]+))?")
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()+,;=:@/%]*\*?")
# What servers read differently from one another: a path that holds it is below no prefix.
_TRICKS = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|7[fF]|25|2[fF]|3[bB]|5[cC])|//|[\\;]")


@dataclass(frozen=True)
class Carried:
    """A secret that is put into requests to one destination, and where in them."""

    name: str
    spot: str


@dataclass(frozen=True)
class Destination:
    """One line, read. `scheme` is empty where the line names host and port alone; `below` means any name
    below `host`; no `methods` means each of them; no `path` means any.
    """

    text: str
    host: str
    port: int
    scheme: str = ""
    below: bool = False
    methods: frozenset[str] = frozenset()
    path: str = ""
    secrets: tuple[Carried, ...] = ()

    @property
    def read(self) -> bool:
        """Whether holding to it needs the requests to be read."""
        return bool(self.methods or self.path or self.secrets)

    def named(self, host: str) -> bool:
        return host.endswith(f".{self.host}") if self.below else host == self.host

    def covers(self, where: Place) -> bool:
        """Whether it leads to this host, port and scheme, whatever the path."""
        return where.port == self.port and self.named(where.host) and self.scheme in ("", where.scheme)

    def takes(self, method: str, where: Place) -> bool:
        """Whether it holds this request."""
        return (
            self.covers(where)
            and (not self.methods or method in self.methods)
            and under(self.path, where.path.partition("?")[0])
        )


@dataclass(frozen=True)
class Reach:
    """What the lines say of one request: those that hold it, or why none does."""

    held_by: tuple[Destination, ...]
    why: str = ""

    @property
    def allowed(self) -> bool:
        return bool(self.held_by)

    @property
    def carried(self) -> frozenset[Carried]:
        """The secrets that may go with it, each with its place."""
        return frozenset(carried for each in self.held_by for carried in each.secrets)


@dataclass(frozen=True)
class Destinations:
    """All lines of a tool."""

    lines: tuple[Destination, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Destinations:
        """Raises ValueError, which names the line."""
        return cls(tuple(parse(text) for text in texts))

    def of_host(self, where: Place) -> Reach:
        """Whether a connection may go there at all."""
        held = tuple(each for each in self.lines if each.covers(where))
        return Reach(held, "" if held else _nowhere(where))

    def of_request(self, method: str, where: Place) -> Reach:
        """Whether this request may go there."""
        held = tuple(each for each in self.lines if each.takes(method, where))
        if held:
            return Reach(held)
        if not self.of_host(where).allowed:
            return Reach((), _nowhere(where))
        return Reach((), f"{method} of this path is not listed for {where.host_header}")

    def reads(self, where: Place) -> bool:
        """Whether requests to this place are read: a line for it needs that, or its host gets a secret at any
        port, so that what was sent to one port is not read back unseen at another.
        """
        return any(
            each.named(where.host) and (bool(each.secrets) or (each.read and each.covers(where)))
            for each in self.lines
        )

    @property
    def read(self) -> tuple[Destination, ...]:
        return tuple(each for each in self.lines if each.read)

    @property
    def secrets(self) -> frozenset[str]:
        """The names of all secrets that some line carries."""
        return frozenset(carried.name for each in self.lines for carried in each.secrets)


def parse(text: str) -> Destination:
    """Read one line. Raises ValueError, which says what is wrong with it."""
    found = _LINE.fullmatch(text) if len(text) <= LONGEST and text.isascii() else None
    if found is None:
        raise ValueError(f"{text[:80]!r} is no destination, such as GET https://api.example.com/v1/*")
    host, below = _host(found["host"].lower(), text)
    plain = not (found["methods"] or found["path"] or found["secrets"])
    scheme = (found["scheme"] or ("" if plain else "https")).lower()
    if scheme and scheme not in PORTS:
        raise ValueError(f"{text[:80]!r} is neither http:// nor https://")
    port = int(found["port"] or PORTS[scheme or "https"])
    if not 0 < port < 65536:
        raise ValueError(f"{text[:80]!r} names no port")
    return Destination(
        text=text, host=host, port=port, scheme=scheme, below=below, methods=_methods(found["methods"]),
        path=_path(found["path"] or "", text), secrets=_secrets(found["secrets"] or ""),
    )  # fmt: skip


def faults(config: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(field, why) of what a tool's `egress`, `secrets` and `sends` say that does not fit together."""
    if config.get("runs") not in ("python", "shell", "http"):
        return
    if config.get("egress") and config.get("sends") == "none":
        # Rules go by what a tool says that it sends; even a GET carries its address out.
        yield "sends", "is none, and egress lets it send: internal or external"
    named = set(config.get("secrets") or ())
    carried = Destinations.of(config.get("egress") or ()).secrets
    for name in sorted(named - carried):
        yield "secrets", f"{name!r} goes nowhere: a line of egress ends in “with {name}”"
    for name in sorted(carried - named):
        yield "egress", f"{name!r} is not among the tool's secrets"


def _host(host: str, text: str) -> tuple[str, bool]:
    below = host.startswith("*.")
    host = host.removeprefix("*.").strip("[]")
    if addresses.parse(host) is not None and not below:
        return str(addresses.parse(host)), False
    if not addresses.is_host(host) or re.fullmatch(r"[0-9.]+", host) or (below and "." not in host):
        raise ValueError(f"{text[:80]!r} names no host, such as example.com or *.example.com")
    return host, below


def _methods(text: str | None) -> frozenset[str]:
    methods = frozenset(text.split(",")) if text else frozenset()
    for method in sorted(methods - set(METHODS)):
        raise ValueError(f"{method!r} is not one of {', '.join(METHODS)}")
    return methods


def _path(path: str, text: str) -> str:
    if path and (not _PATH.fullmatch(path) or "*" in path[:-1] or strange(path)):
        raise ValueError(f"{text[:80]!r} has a path that cannot be held to: plain, with * only at its end")
    return "" if path == "/*" else path


def _secrets(text: str) -> tuple[Carried, ...]:
    found = []
    for part in text.split(",") if text else ():
        match = _SECRET.fullmatch(part.strip())
        if match is None or (match["spot"] or "header") not in SPOTS:
            raise ValueError(f"{part.strip()[:80]!r} is no secret, such as: NAME in {', '.join(SPOTS)}")
        found.append(Carried(match["name"], match["spot"] or "header"))
    return tuple(found)


def strange(path: str) -> bool:
    """Whether servers may disagree on what a path means: dot segments, also encoded, overlong or written in
    look-alikes; encoded slashes; parameters behind `;`; what is no UTF-8 once decoded.
    """
    if _TRICKS.search(path):
        return True
    try:
        read = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return True
    read = unicodedata.normalize("NFKC", INVISIBLE.sub("", read))
    if read.count("/") != path.count("/") or "\\" in read or ";" in read:
        return True
    return any(part and not part.strip(" .\xa0") for part in read.split("/"))


def under(pattern: str, path: str) -> bool:
    """Whether a line's path holds this one; what servers read differently is below none."""
    if not pattern:
        return True
    if strange(path):
        return False
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _nowhere(where: Place) -> str:
    return f"{where.host_header} is not listed"


def hosts(lines: Sequence[Destination]) -> list[str]:
    """The hosts that lines name, each once."""
    return sorted({each.host for each in lines})
