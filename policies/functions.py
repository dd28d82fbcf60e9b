"""The functions a condition may call, beside those of CEL itself.

Each refuses (ValueError) what it cannot read in exactly one way: the condition then errs, and errors fail
closed, so that no cunning spelling of an address can pick the friendlier reading.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from policies.text import reading

_ADDRESS = re.compile(r'(?:[^<>@,;"]*<)?[^\s<>@,;:"]+@([^\s<>@,;:"/\\]+?)\.?(>)?')
_LINK = re.compile(r"(?<![/:\w])//[\w-]+\.\w|[a-z]://|www[.]", re.IGNORECASE)
_SEPARATORS = re.compile(r"[,;\r\n]+")


def domain(address: str) -> str:
    """The domain of one mail address (`a@b.example` or `Name <a@b.example>`), lower-case, IDNA-encoded.

    ValueError for anything that is not exactly one address.
    """
    found = _ADDRESS.fullmatch(address.strip())
    if not found or ("<" in address) != bool(found[2]):
        raise ValueError("not exactly one mail address")
    return _ascii(found[1])


def host(url: str) -> str:
    """The host of an absolute URL, lower-case, IDNA-encoded, without port and user.

    ValueError for a relative URL, and for the characters that clients disagree on (a backslash, a blank).
    """
    if re.search(r"[\s\\\x00-\x20\x7f]", url):
        raise ValueError("a URL holds no blank, backslash or control character")
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        raise ValueError("not an absolute URL")
    return parts.hostname if ":" in parts.hostname else _ascii(parts.hostname.rstrip("."))


def in_cidr(address: str, network: str) -> bool:
    """Whether an IPv4 or IPv6 address lies in a network; IPv4 mapped into IPv6 counts as IPv4.

    ValueError for what is no plain address: a name, `127.1`, `0x7f000001`.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip in ipaddress.ip_network(network, strict=False)


def recipients(args: Mapping[str, Any]) -> int:
    """How many addresses stand in `to`, `cc` and `bcc` together, each a text, a list or absent.

    A text that holds several counts each of them: one long text must not slip under a limit.
    """
    return sum(_count(args.get(name)) for name in ("to", "cc", "bcc"))


def linked(value: Any) -> bool:
    """Whether a link stands in a text, or in a text or key anywhere in a list or object: one with a scheme
    (`https://…`), without (`//…`), or that begins with `www.`; in compatibility forms (full-width) too.
    """
    if isinstance(value, str):
        return _LINK.search(value if value.isascii() else reading(value).text) is not None
    if isinstance(value, Mapping):
        return any(linked(key) or linked(item) for key, item in value.items())
    return isinstance(value, list) and any(map(linked, value))


def _count(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        if not _SEPARATORS.search(value):
            return value.count("@") or (1 if value.strip() else 0)
        return max(sum(1 for part in _SEPARATORS.split(value) if part.strip()), value.count("@"))
    if isinstance(value, list):
        return sum(_count(item) if isinstance(item, str) else 1 for item in value)
    raise ValueError("recipients are a text or a list")


def _ascii(name: str) -> str:
    if not name:
        raise ValueError("an empty name")
    return (name if name.isascii() else name.encode("idna").decode("ascii")).lower()
