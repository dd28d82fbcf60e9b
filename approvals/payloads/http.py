"""An HTTP request: its method, the address with the host standing out, the query as a table, body by type."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past
from policies import lookalikes
from policies.lookalikes import Trick

URLS = ("url", "uri", "endpoint")
BODIES = ("body", "data", "content", "payload", "json")
ORDER = ("method", "url", "uri", "endpoint", "query", "params", "headers", *BODIES)
_WORDS = frozenset(("http", "https", "request", "fetch", "curl", "webhook", "api"))
_TYPES = (("json", "json"), ("html", "html"), ("xml", "xml"))


@dataclass(frozen=True)
class Request:
    """An address in its parts, which joined give it back; `wire` is the host's other form, if any.

    `method` is empty where the call names none: what the tool then sends is not known here.
    """

    method: str
    before: str
    host: str
    after: str
    wire: str
    query: tuple[tuple[str, str], ...]
    tricks: tuple[Trick, ...]
    warnings: tuple[str, ...]


def _fits(call: Call) -> bool:
    if not call.text(URLS):
        return False
    return call.context.runs == "http" or "method" in call.args or bool(call.words & _WORDS)


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = call.text(URLS)
    programs = {body: language for body in BODIES if (language := _language(call, body))}
    figures = (Figure("http", _request(call, call.args[name])),) if name else ()
    return Drawing(figures, ORDER, programs)


def _request(call: Call, url: str) -> Request:
    before, host, after = _parts(url)
    method = call.args.get("method")
    shown = lookalikes.unicode_host(host.lower())
    wire = lookalikes.punycode(shown)
    return Request(
        method=(method if isinstance(method, str) else "").upper(), before=before, host=host, after=after,
        wire=wire if wire != host.lower() else shown if shown != host.lower() else "",
        query=_query(url), tricks=lookalikes.tricks(url, call.context.known), warnings=tuple(_warnings(url)),
    )  # fmt: skip


def _parts(url: str) -> tuple[str, str, str]:
    """What stands before the host, the host, and the rest."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    start = url.find("://") + 3 if "://" in url else 0
    end = min((at for sign in "/?#\\" if (at := url.find(sign, start)) >= 0), default=len(url))
    at = url.lower().find(host.lower(), max(start, url.rfind("@", start, end) + 1)) if host else -1
    if at < 0 or at >= end:
        return url, "", ""
    return url[:at], url[at : at + len(host)], url[at + len(host) :]


def _query(url: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=200))
    except ValueError:
        return ()


def _warnings(url: str) -> list[str]:
    found = []
    if not _parts(url)[1]:
        found.append("no host can be read from it")
    if url.lower().startswith("http://"):
        found.append("not encrypted")
    if "\\" in url or any(c in url for c in "\t\r\n"):
        found.append("holds characters that programs read differently")
    return found


def _language(call: Call, name: str) -> str:
    body = call.args.get(name)
    if not isinstance(body, str) or not body:
        return ""
    said = _content_type(call.args.get("headers"))
    if found := next((language for word, language in _TYPES if word in said), ""):
        return found
    return "json" if body.lstrip()[:1] in ("{", "[") and _is_json(body) else ""


def _content_type(headers: Any) -> str:
    pairs = headers.items() if isinstance(headers, Mapping) else ()
    return next((str(value).lower() for key, value in pairs if str(key).lower() == "content-type"), "")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


KIND = Kind("http", _fits, _draw)
