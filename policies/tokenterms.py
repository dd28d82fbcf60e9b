"""What a tool says of the tokens that its calls get: the mapping `token` of its definition.

`audience` is the one service that the token is for. The rest fills its `authorization_details` (RFC 9396):
`type`, `actions`, `locations`, `datatypes`; `identifier` names the argument whose value says which thing is
affected, `arguments` those that stand in the token in the clear. Of all arguments their digest does.
`bound_to` names the argument that holds the thumbprint of a key of the agent's own: the token is then worth
nothing without proof of that key (RFC 7800, RFC 9449).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies.arguments import canonical
from policies.worldfields import Reader, Wrong, read_json
from policies.yamlfile import Node

TYPE = "agentsec_action"
MAX_TEXT, MAX_ITEMS = 500, 50
# A token travels in a header, and servers take headers of 8 KiB in all.
MAX_CLEAR = 2048
FIELDS = ("audience", "type", "actions", "locations", "datatypes", "identifier", "arguments", "bound_to")
TEXTS = ("audience", "type", "identifier", "bound_to")
RUNS = ("agent", "credential")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_PRINTABLE = re.compile(r"[^\x00-\x20\x7f\ud800-\udfff]+(?: [^\x00-\x20\x7f\ud800-\udfff]+)*")


class TermsRefused(ValueError):
    """The mapping cannot be used; `field` is the one at fault, or empty."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"token{'.' if field else ''}{field} {why}")
        self.field, self.why = field, why


@dataclass(frozen=True)
class Terms:
    audience: str
    type: str = TYPE
    actions: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    datatypes: tuple[str, ...] = ()
    identifier: str = ""
    arguments: tuple[str, ...] = ()
    bound_to: str = ""


def read(given: Any) -> Terms:
    """The terms as plain data says them. Raises TermsRefused."""
    if not isinstance(given, Mapping):
        raise TermsRefused("", f"must be a mapping of {', '.join(FIELDS)}")
    for key in given:
        if key not in FIELDS:
            raise TermsRefused(str(key)[:80], f"is not a field; there are {', '.join(FIELDS)}")
    if "audience" not in given:
        raise TermsRefused("audience", "is missing: the service that the token is for")
    readers = {**dict.fromkeys(FIELDS, _list), **dict.fromkeys(TEXTS, _text)}
    values: dict[str, Any] = {key: readers[key](key, value) for key, value in given.items()}
    return Terms(**values)


def faults(tool: Mapping[str, Any], parameters: set[str] | None) -> list[str]:
    """What does not fit together in the fields of a tool, `parameters` being the names of its arguments (None
    where it takes any)."""
    if tool.get("issuer") != "token":
        return ["says nothing without issuer: token"] if "token" in tool else []
    if "token" not in tool:
        return ["is missing: issuer: token needs at least {audience: …}"]
    if tool.get("runs", "agent") not in RUNS:
        return [f"is for runs: {' or '.join(RUNS)}, whose callers get the token"]
    terms = read(tool["token"])
    named = {*terms.arguments, terms.identifier, terms.bound_to} - {""}
    unknown = sorted(named - parameters) if parameters is not None else []
    return [f"names {name!r}, which is no parameter of the tool" for name in unknown]


def details(terms: Terms, *, args: Mapping[str, Any]) -> dict[str, Any]:
    """The object of `authorization_details` as far as the arguments say it; the call itself is added when the
    token is signed. Raises TermsRefused where an argument cannot stand in it.
    """
    told: dict[str, Any] = {"type": terms.type, "locations": list(terms.locations or (terms.audience,))}
    if terms.datatypes:
        told["datatypes"] = list(terms.datatypes)
    if terms.identifier:
        told["identifier"] = _identifier(args.get(terms.identifier))
    clear = {name: args[name] for name in terms.arguments if name in args}
    if len(canonical(clear)) > MAX_CLEAR:
        raise TermsRefused("arguments", f"are more than {MAX_CLEAR} bytes in this call")
    if clear:
        told["arguments"] = clear
    return told | {"arguments_sha256": hashlib.sha256(canonical(args)).hexdigest()}


def confirmation(terms: Terms, *, args: Mapping[str, Any]) -> dict[str, str]:
    """The claim `cnf`, empty where the token is bound to no key. Raises TermsRefused where the thumbprint is
    none: a token that was to be bound is never handed out unbound.
    """
    if not terms.bound_to:
        return {}
    value = args.get(terms.bound_to)
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        raise TermsRefused("bound_to", "must be the thumbprint of a key (RFC 7638, SHA-256, base64url)")
    return {"jkt": value}


def _identifier(value: Any) -> str:
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int)
        or value == ""
        or len(str(value)) > MAX_TEXT
    ):
        raise TermsRefused("identifier", f"must be a text of at most {MAX_TEXT} characters, or a number")
    return str(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not _PRINTABLE.fullmatch(value):
        raise TermsRefused(key, f"must be a printable text of at most {MAX_TEXT} characters")
    return value


def _list(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_ITEMS:
        raise TermsRefused(key, f"must be a list of 1 to {MAX_ITEMS} texts")
    return tuple(_text(key, item) for item in value)


def _read_node(node: Node) -> dict[str, Any]:
    given: dict[str, Any] = read_json(node, mapping=True)
    try:
        read(given)
    except TermsRefused as refused:
        at = node.value.get(refused.field, node)
        raise Wrong(refused.why, at, f".{refused.field}" if refused.field else "") from None
    return given


read_terms: Reader = _read_node
