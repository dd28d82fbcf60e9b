"""The HTML of a mail as a reviewer may look at it: harmless tags only, no pictures, links with their hosts.

`traces.clean` says what is harmless (bleach, then nh3). What it gives is read once more here and written
anew: every tag that leaves this file is one of a fixed few without attributes, all else is escaped text, so
that no mistake in reading can become markup. Links lead nowhere: their address stands beside them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

from policies import lookalikes
from policies.lookalikes import Known, Trick
from traces import clean, presenters

# bleach reads about 150 kB a second, html.parser 1 MB: beyond this there are words but no preview.
MOST_PREVIEWED, MOST_PARSED, MOST_WORDED = 20_000, 100_000, 200_000
_MARKUP = re.compile(
    r"<(?:!doctype|html|head|body|p|br|div|span|a|b|i|u|em|strong|table|tr|td|ul|ol|li|img|h[1-6]|font|center"
    r"|style|script|svg|iframe|form|meta|base|link|input|button|section|article|pre|blockquote|hr)\b[^<>]{0,2000}>",
    re.IGNORECASE,
)
_HARMFUL = re.compile(
    r"<(!--|(?:script|style|svg|math|iframe|object|embed|form|input|button|meta|base|link)\b)", re.IGNORECASE
)
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0", re.IGNORECASE
)
# Headings of a mail must not stand among those of the page.
_AS = {f"h{level}": "b" for level in range(1, 7)}
_KEPT = (clean.TAGS - {"a"}) - _AS.keys()
_EMPTY = frozenset(("br", "hr"))
_BREAKS = frozenset(("blockquote", "br", "hr", "li", "ol", "p", "pre", "table", "tr", "ul", *_AS))
_LINES = frozenset(("br", "li", "tr"))  # these begin a line and end none
_NAMED = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[^\W\d_]{2,})(?:[/:?#].*)?", re.IGNORECASE | re.DOTALL)
_BLANKS = re.compile(r"[ \t]+")
_BLANK_LINES = re.compile(r"\n\s*\n\s*")


@dataclass(frozen=True)
class Link:
    """One link of a mail: its words, its whole address, its host, and what is wrong with it, if anything."""

    text: str
    address: str
    host: str
    wrong: str


@dataclass(frozen=True)
class Picture:
    """What a picture would have been fetched from."""

    address: str
    host: str


@dataclass(frozen=True)
class Mail:
    """`markup` is safe to show as it is; empty where the mail is too large, which `note` says."""

    name: str
    markup: str
    text: str
    links: tuple[Link, ...]
    pictures: tuple[Picture, ...]
    dropped: tuple[str, ...]
    note: str = ""
    tricks: tuple[Trick, ...] = ()


def is_html(text: str) -> bool:
    """Whether a text has tags of HTML in it."""
    return "<" in text and _MARKUP.search(text[:MOST_PARSED]) is not None


def mail(name: str, source: str, known: Known) -> Mail:
    """The preview of one argument that holds HTML."""
    lean = clean.shrunk(source) if len(source) <= MOST_PARSED else None
    if lean is None or len(lean) > MOST_PREVIEWED:
        return _large(name, source, known)
    original, writer = _Original(), _Writer(known)
    original.feed(clean.inventory(source))
    original.close()
    writer.feed(clean.clean(lean))
    writer.close()
    text = writer.words()
    return Mail(
        name, writer.markup(), text, tuple(writer.links), tuple(original.pictures),
        (*original.dropped(), *_harmful(source)), tricks=lookalikes.tricks(text, known),
    )  # fmt: skip


def _large(name: str, source: str, known: Known) -> Mail:
    text = _BLANK_LINES.sub("\n\n", clean.words(source[:MOST_WORDED])).strip()
    which = "its words" if len(source) <= MOST_WORDED else f"the words of its first {MOST_WORDED:,}"
    note = (
        f"Too large for a preview ({len(source):,} characters of HTML): here are {which}, without links and "
        "pictures; the whole stands below."
    )
    return Mail(name, "", text, (), (), (), note, lookalikes.tricks(text, known))


def _harmful(source: str) -> Iterator[str]:
    """What is in the source and never shown, counted."""
    found = Counter(tag.lower() for tag in _HARMFUL.findall(source))
    yield from (f"{many} × {'a comment' if tag == '!--' else f'<{tag}>'}" for tag, many in found.items())


class _Original(HTMLParser):
    """What the mail holds that is not shown as it is: pictures, and words that a style hides."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pictures: list[Picture] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            address = given.get("src") or ""
            self.pictures.append(Picture(address, host_of(address)))
        elif _HIDING.search(given.get("style") or ""):
            self.hidden += 1

    def dropped(self) -> Iterator[str]:
        if self.hidden:
            yield f"{self.hidden} × words that their style hides (they stand here)"


class _Writer(HTMLParser):
    """Writes harmless HTML anew, and its words as text."""

    def __init__(self, known: Known) -> None:
        super().__init__(convert_charrefs=True)
        self.known = known
        self.out: list[str] = []
        self.said: list[str] = []
        self.open: list[str] = []
        self.links: list[Link] = []
        self.address: str | None = None
        self.words_of_link: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._end_link()
            self.address, self.words_of_link = dict(attrs).get("href") or "", []
            return
        if tag in _BREAKS:
            self.said.append("\n")
        tag = _AS.get(tag, tag)
        if tag in _KEPT:
            self.out.append(f"<{tag}>")
            if tag not in _EMPTY:
                self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
            return
        if tag in _BREAKS - _LINES:
            self.said.append("\n")
        if tag in ("td", "th"):
            self.said.append("\t")
        tag = _AS.get(tag, tag)
        if tag not in self.open:
            return
        while self.open:
            closed = self.open.pop()
            self.out.append(f"</{closed}>")
            if closed == tag:
                break

    def handle_data(self, data: str) -> None:
        self.out.append(_shown(data))
        self.said.append(data)
        if self.address is not None:
            self.words_of_link.append(data)

    def _end_link(self) -> None:
        if self.address is None:
            return
        link = _link("".join(self.words_of_link).strip(), self.address, self.known)
        self.address = None
        self.links.append(link)
        look = "link-host is-wrong" if link.wrong else "link-host"
        said = f" ({link.wrong})" if link.wrong else ""
        self.out.append(f'<span class="{look}">→ {_shown(link.host or link.address)}{_shown(said)}</span>')
        self.said.append(f" <{link.address}>")

    def markup(self) -> str:
        return "".join(self.out) + "".join(f"</{tag}>" for tag in reversed(self.open))

    def words(self) -> str:
        lines = (_BLANKS.sub(" ", line).strip() for line in "".join(self.said).split("\n"))
        return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()

    def close(self) -> None:
        super().close()
        self._end_link()


def _link(text: str, address: str, known: Known) -> Link:
    host = host_of(address)
    return Link(text, address, host, _wrong(text, address, host, known))


def _wrong(text: str, address: str, host: str, known: Known) -> str:
    """What is wrong with a link: words that name another host, or an address that plays a trick."""
    named = _NAMED.fullmatch(text.strip())
    said = named[1].lower() if named else ""
    if not named and "@" in text and address.lower().startswith("mailto:"):
        said = text.strip().rpartition("@")[2].lower()
    if said and host and said.removeprefix("www.") != host.removeprefix("www."):
        return f"its words say {said}"
    found = lookalikes.tricks(address, known)
    return found[0].said if found else ""


def host_of(address: str) -> str:
    """The host that an address leads to, in lower case; of a mail address its domain; "" if there is none."""
    if address.lower().startswith("mailto:"):
        return address[7:].partition("?")[0].rpartition("@")[2].lower()
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _shown(text: str) -> str:
    """Escaped, with what is invisible spelled out."""
    return "".join(
        f'<span class="ctl">{escape(piece.text)}</span>' if piece.hidden else escape(piece.text)
        for piece in presenters.pieces(text)
    )
