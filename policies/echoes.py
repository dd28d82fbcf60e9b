"""What a tool says back of what it was told. Pure.

A trusted tool vouches for what it knows. A note that returns with the text it was given says nothing new of
that text: what an outsider dictated stays his, or writing it down would make it a trusted value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies import records
from policies.calls import Call
from policies.lookup import Index, Source
from policies.rendition import Rendition
from policies.text import fold

_OURS = ("user", "named", "trusted", "reviewer")
_TOKEN = re.compile(r"[^\s,;<>()\"'\[\]{}]{6,512}")
_SHORTEST = 4
_MOST = 1000

Spans = tuple[tuple[int, int], ...]


def echoed(shown: Rendition, call: Call | None) -> Spans:
    """Where in a tool's output stands what the call gave it and was not the user's nor a trusted tool's."""
    given = dict.fromkeys(_given(call)) if call is not None else {}
    if not given:
        return ()
    fields = records.fields(shown.fields())
    if not fields:
        return _in_text(shown.text, given)
    index = Index(Source("", "untrusted", text) for text in given)
    places = [(field.start, field.end) for field in fields]
    places += {(field.key_start, field.key_end) for field in fields}
    theirs = {text: _said_by(index, text) for text in {shown.text[start:end] for start, end in places}}
    return tuple((start, end) for start, end in places if theirs[shown.text[start:end]])


def _given(call: Call) -> Iterator[str]:
    for name, value in call.args.items():
        if call.origin.get(name, "agent") not in _OURS:
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from (str(key), *_texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _said_by(index: Index, value: str) -> bool:
    """Short numbers stand in most texts by chance."""
    signs = sum(sign.isalnum() for sign in value[:64])
    return (signs >= _SHORTEST or value.strip().isalpha()) and index.find(value).origin == "untrusted"


def _in_text(text: str, given: Mapping[str, None]) -> Spans:
    """Each place; all of the text where there are very many."""
    folded, found = fold(text), []
    for part in {piece for one in given for piece in (one, *_TOKEN.findall(one)[:_MOST])}:
        needle = fold(part).text.strip()
        if sum(sign.isalnum() for sign in needle) < _SHORTEST:
            continue
        at = folded.text.find(needle)
        while at >= 0:
            found.append(folded.span(at, at + len(needle)))
            if len(found) > _MOST:
                return ((0, len(text)),)
            at = folded.text.find(needle, at + len(needle))
    return tuple(found)
