"""Foreign text made safe to show and to store. The only importer of bleach.

Templates escape by themselves; this is for the few places that show markup, and for what the database's
text columns cannot hold. bleach has ended security support, so nh3 runs behind it and has the last word.
"""

from __future__ import annotations

import html as html_words
import re
from typing import Any

import bleach  # type: ignore[import-untyped]
import nh3

TAGS = {
    "a", "b", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol",
    "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
LINKS = {"http", "https", "mailto"}
_BLOCK = re.compile(r"<(?:p|br|div|tr|li|h[1-6]|table|ul|ol|pre|blockquote)\b", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(html: str) -> str:
    """Untrusted HTML → HTML of harmless tags; links are http, https or mailto, nothing loads or runs."""
    first = bleach.clean(
        storable(html), tags=TAGS, attributes={"a": ["href", "title"]}, protocols=LINKS, strip=True
    )
    return nh3.clean(first, tags=TAGS, attributes={"a": {"href", "title"}}, url_schemes=LINKS)


def shrunk(html: str) -> str:
    """The same tags and links by nh3 alone: fast, and small enough then for `clean` to have its word too.

    Never show this: it is for measuring, and for `clean`.
    """
    return nh3.clean(
        storable(html), tags=TAGS, attributes={"a": {"href", "title"}}, url_schemes=LINKS, link_rel=None
    )


def inventory(html: str) -> str:
    """Well-formed HTML, pictures and styles included. Never show this: it is for counting."""
    return nh3.clean(
        storable(html), tags=TAGS | {"img", "div", "span"}, attributes={"*": {"style"}, "img": {"src"}},
        url_schemes=LINKS | {"cid", "data"}, link_rel=None,
    )  # fmt: skip


def words(html: str) -> str:
    """Large HTML → its words with line breaks where blocks begin, as text: templates still escape it."""
    broken = _BLOCK.sub(r"\n\g<0>", storable(html))
    return html_words.unescape(nh3.clean(broken, tags=set()))


def plain(text: str) -> str:
    """Untrusted HTML → its words, as text and not as markup: templates still escape it."""
    return html_words.unescape(nh3.clean(bleach.clean(storable(text), tags=set(), strip=True), tags=set()))


def storable(text: str) -> str:
    """Text → text that PostgreSQL takes: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable_json(value: Any) -> Any:
    """A JSON value → one that a jsonb column takes, keys included."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value
