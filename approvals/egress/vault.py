"""The secrets of one run: what the job holds instead of each, and where each may be put in.

A placeholder is a name that means nothing anywhere else. It is looked for in every part of a request that is
read; one that stands where its secret may not go is a refusal, whatever else the request is.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets as randomness
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, quote_plus

from approvals.egress.redaction import LONGEST, SHORTEST, Needles, Redactor
from policies.destinations import Carried
from policies.fetch import Place
from traces.problems import Forbidden, Unavailable

_BASIC = re.compile(r"(?i)(basic) +([A-Za-z0-9+/=]+)")
_FIT_FOR_HEADERS = re.compile(r"[\t\x20-\x7e]+")
_VARIABLE = re.compile(r"[^A-Z0-9]+")

Read = Callable[[str], str]


@dataclass(frozen=True)
class Asked:
    """One request as it is judged: everything that would leave."""

    method: str
    where: Place
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    @property
    def shown(self) -> str:
        """The request in one line, without what its query says."""
        path, asks, _ = self.where.path.partition("?")
        return f"{self.method} {self.where.scheme}://{self.where.host_header}{path}{asks and '?…'}"

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Vault:
    """What the placeholders of one run stand for. Its values are in this process's memory, nowhere else."""

    def __init__(self, placeholders: Mapping[str, str], values: Mapping[str, str]) -> None:
        self.placeholders = dict(placeholders)
        self._values = dict(values)
        self.needles = Needles(self._values.values())

    def __repr__(self) -> str:
        return f"Vault({sorted(self.placeholders)})"

    @classmethod
    def random(cls, names: Iterable[str], read: Read) -> Vault:
        """For a job: each run has placeholders of its own. Raises Unavailable for a value that cannot be
        guarded, and what `read` raises.
        """
        named = sorted(set(names))
        return cls({name: f"secret{randomness.token_hex(16)}" for name in named}, _values(named, read))

    @classmethod
    def named(cls, names: Iterable[str], read: Read) -> Vault:
        """For a request that people read before it is sent: `{secret:NAME}`."""
        named = sorted(set(names))
        return cls({name: f"{{secret:{name}}}" for name in named}, _values(named, read))

    @property
    def environment(self) -> dict[str, str]:
        """What a job finds in its environment. Raises ValueError for names that would be one variable."""
        found = {f"AGENTSEC_SECRET_{_VARIABLE.sub('_', k.upper())}": v for k, v in self.placeholders.items()}
        if len(found) != len(self.placeholders):
            raise ValueError("two of the tool's secrets would be one variable of its environment")
        return found

    def redactor(self) -> Redactor:
        """For one answer."""
        return Redactor(self.needles)

    def carries(self, text: str) -> bool:
        return any(placeholder in text for placeholder in self.placeholders.values())

    def filled(self, asked: Asked, carried: Iterable[Carried]) -> tuple[Asked, tuple[str, ...]]:
        """The request with the secrets in it, and their names. Raises Forbidden where a placeholder stands
        where its secret may not go.
        """
        filling = _Filling(self.placeholders, self._values, frozenset(carried), asked)
        path, mark, query = asked.where.path.partition("?")
        filling.refuse_in(f"{asked.method} {asked.where.host} {path}", "path")
        headers = tuple(
            (filling.refuse_in(name, "header's name"), filling.header(value)) for name, value in asked.headers
        )
        query = filling.text(query, "query", lambda value: quote(value, safe=""))
        body = filling.body(asked.body)
        filled = replace(
            asked, where=replace(asked.where, path=path + mark + query), headers=headers, body=body
        )
        return filled, tuple(sorted(filling.used))


class _Filling:
    """Puts secrets into one request and remembers which."""

    def __init__(
        self,
        placeholders: Mapping[str, str],
        values: Mapping[str, str],
        carried: frozenset[Carried],
        asked: Asked,
    ) -> None:
        self.used: set[str] = set()
        self._placeholders, self._values, self._carried, self._asked = placeholders, values, carried, asked

    def refuse_in(self, text: str, spot: str) -> str:
        return self.text(text, spot, _plain)

    def text(self, text: str, spot: str, encoded: Callable[[str], str]) -> str:
        for name, placeholder in self._placeholders.items():
            if placeholder in text:
                text = text.replace(placeholder, encoded(self._allowed(name, spot)))
        return text

    def header(self, value: str) -> str:
        basic = _BASIC.fullmatch(value)
        pair = _decoded(basic[2]) if basic is not None else ""
        filled = self.text(pair, "header", _plain)
        if basic is not None and filled != pair:
            return f"{basic[1]} {base64.b64encode(filled.encode()).decode()}"
        return self.text(value, "header", _fit_for_header)

    def body(self, body: bytes) -> bytes:
        kind = self._asked.header("content-type").lower()
        encoded: Callable[[str], str] = _plain
        if "json" in kind:
            encoded = _in_json
        elif "x-www-form-urlencoded" in kind:
            encoded = quote_plus
        for name, placeholder in self._placeholders.items():
            if placeholder.encode() in body:
                body = body.replace(placeholder.encode(), encoded(self._allowed(name, "body")).encode())
        return body

    def _allowed(self, name: str, spot: str) -> str:
        if Carried(name, spot) not in self._carried:
            raise Forbidden(f"the secret {name} may not go into the {spot} of this request")
        self.used.add(name)
        return self._values[name]


def _values(names: Iterable[str], read: Read) -> dict[str, str]:
    values = {name: read(name) for name in names}
    for name, value in values.items():
        if not SHORTEST <= len(value) <= LONGEST:
            raise Unavailable(
                f"the secret {name} cannot be guarded: a value that goes into requests has {SHORTEST} to "
                f"{LONGEST:,} characters"
            )
    return values


def _decoded(text: str) -> str:
    """Base64 that holds text; "" for any other."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _fit_for_header(value: str) -> str:
    if not _FIT_FOR_HEADERS.fullmatch(value):
        raise Unavailable("the secret cannot stand in a header: store it without line breaks, in ASCII")
    return value


def _plain(value: str) -> str:
    return value


def _in_json(value: str) -> str:
    return json.dumps(value)[1:-1]
