"""Which network addresses a fetch may reach: public ones, and what the operator lists. Pure.

Sources: the IANA special-purpose address registries
https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry,
and the addresses at which clouds answer with credentials.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
PORTS = frozenset({80, 443})

_REFUSED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared, carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's own services"),
    ("169.254.0.0/16", "link-local, where clouds hand out credentials"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("2001::/23", "protocol assignments, Teredo"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4, which hides another address"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
)
REFUSED: tuple[tuple[Network, str], ...] = tuple((ip_network(text), why) for text, why in _REFUSED)
# Only this part of IPv6 is handed out to the public; mapped, NAT64, unique-local, link-local lie outside.
_GLOBAL = IPv6Network("2000::/3")
# Even a host that the operator lists by name reaches these only where its network is listed: whoever could
# change that name in DNS would get the machine's own credentials.
_NEVER_BY_NAME = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/3", "::/128",
                 "fe80::/10", "ff00::/8", "fd00:ec2::/32", "2002::/16", "64:ff9b::/32", "100.100.100.200/32")
)  # fmt: skip
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")
_ENTRY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\](?:/\d{1,3})?|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Reach:
    """Whether an address may be dialled. `why` is empty where it may, else what the address is."""

    why: str = ""

    @property
    def allowed(self) -> bool:
        return not self.why


@dataclass(frozen=True)
class Allowed:
    """One entry of the operator's list: a host name, or a network; `port` 0 stands for 80 and 443."""

    host: str
    network: Network | None
    port: int

    def names(self, host: str, port: int) -> bool:
        """Whether it lists this host by name, at this port."""
        return self.network is None and host == self.host and self._takes(port)

    def holds(self, address: Address, port: int) -> bool:
        """Whether it lists a network with this address, at this port."""
        inside = self.network is not None and address.version == self.network.version
        return inside and address in self.network and self._takes(port)  # type: ignore[operator]

    def _takes(self, port: int) -> bool:
        return port == self.port or (not self.port and port in PORTS)


def parse(text: str) -> Address | None:
    """An address as people write it, None for a name. Forms such as `0x7f.1` are names here."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """Whether this is a host name in lower-case ASCII (an international one in its xn-- form)."""
    return _HOST.fullmatch(text) is not None


def read_list(entries: Iterable[str]) -> tuple[Allowed, ...]:
    """The operator's list. Raises ValueError, naming the entry, for what is neither host nor network.

    `hooks.corp.example`, `hooks.corp.example:8443`, `10.1.0.0/16`, `10.1.2.3:9000`, `[fd00::1]:9000`.
    """
    return tuple(_entry(entry.strip()) for entry in entries if entry.strip())


def _entry(text: str) -> Allowed:
    found = _ENTRY.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(f"{text!r} is neither a host nor a network, with :PORT if it must be")
    host = found["host"].replace("[", "").replace("]", "").lower()
    try:
        return Allowed("", ip_network(host, strict=False), int(found["port"] or 0))
    except ValueError:
        pass
    if not is_host(host) or "/" in host or re.fullmatch(r"[0-9.]+", host):
        raise ValueError(f"{text!r} is neither a host nor a network")
    return Allowed(host, None, int(found["port"] or 0))


def classify(address: Address) -> Reach:
    """Whether an address is public. An IPv4 address in IPv6 clothes is refused whatever it is."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL:
        return Reach(_outside(address))
    return next((Reach(why) for network, why in REFUSED if _in(address, network)), Reach())


def reach(
    address: Address, *, host: str, port: int, allowed: Iterable[Allowed], ports: Collection[int] = PORTS
) -> Reach:
    """Whether this address of this host may be dialled at this port; public ones at any of `ports`."""
    listed = tuple(allowed)
    if any(entry.holds(address, port) for entry in listed):
        return Reach()
    by_name = any(entry.names(host, port) for entry in listed)
    if by_name and not any(_in(address, network) for network in _NEVER_BY_NAME):
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return Reach("an IPv4 address in disguise") if mapped else Reach()
    if port not in ports:
        return Reach("at a port that is not listed")
    return classify(address)


def plain_http(address: Address, *, host: str, port: int, allowed: Iterable[Allowed]) -> bool:
    """Whether the operator lists this place, so that it may be spoken to without TLS."""
    return any(entry.names(host, port) or entry.holds(address, port) for entry in allowed)


def _outside(address: IPv6Address) -> str:
    if address.ipv4_mapped is not None:
        return "an IPv4 address in disguise"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    return "private" if address in IPv6Network("fc00::/7") else "not public"


def _in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
