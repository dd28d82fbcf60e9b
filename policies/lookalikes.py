"""Tricks that a text plays on eyes: unseen and turning characters, mixed scripts, look-alike domains. Pure.

Look-alikes by the method of Unicode Technical Standard 39 (https://www.unicode.org/reports/tr39/): two names
look alike where their skeletons are equal. The table of confusable characters and the scripts come from the
package confusable_homoglyphs. A plain ASCII name, or one of a single script, is no trick by itself; it is one
where it looks like a domain that the reader knows and is another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache

from confusable_homoglyphs import categories  # type: ignore[import-untyped]
from confusable_homoglyphs.confusables import confusables_data  # type: ignore[import-untyped]

from policies.text import INVISIBLE_CLASS

# Of one text at most so many are told, and only so much of it is read: an agent may send megabytes.
MOST_TRICKS = 50
MOST_READ = 100_000
# UAX 9: embeddings, overrides, isolates and their ends; the marks LRM, RLM and ALM turn less but turn.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]+")
_UNSEEN = re.compile(f"[{INVISIBLE_CLASS}]+")
_JOINING = frozenset("\u200c\u200d\ufe0e\ufe0f")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_WORD = re.compile(r"[^\W\d_]+")
# A host as it stands in texts, addresses and URLs; what stands before "@" in a URL is told apart.
_HOST = re.compile(r"(?<![\w.-])(?:\w(?:[\w-]{0,61}\w)?\.){1,8}[^\W\d_](?:[\w-]{0,61}\w)?(?![\w-])")
_USERINFO = re.compile(r"https?://([^\s/?#@]++)@([^\s/?#:]+)", re.IGNORECASE)
_DOTTED = re.compile(r"[^.]\.")
# Scripts that one word of a language mixes (UTS 39, highly restrictive).
_TOGETHER = tuple(
    frozenset(each.split())
    for each in ("LATIN HAN HIRAGANA KATAKANA", "LATIN HAN BOPOMOFO", "LATIN HAN HANGUL")
)
# Beyond the standard's table: pairs of ASCII letters, and Cyrillic ones drawn like small Latin capitals.
_ASCII_PAIRS = (("vv", "w"), ("cl", "d"))
_ALSO = {"\u043c": "rn", "\u0442": "t", "\u043a": "k", "\u043d": "h", "\u0432": "b"}
_ANY = {"COMMON", "INHERITED"}  # scripts of characters that go with all
_SHOWN = 80


@dataclass(frozen=True)
class Trick:
    """What text[start:end] does; `said` is one clause for a person, `label` the same for a mark's hover."""

    start: int
    end: int
    said: str
    severity: str = "high"

    @property
    def label(self) -> str:
        return self.said


@dataclass(frozen=True)
class Known:
    """Domains that a reader takes others for. `named`: the organisation's, and those that the user named;
    `met`: those that the agent dealt with before, which vouch for less. Lower case, without a dot at the end.
    """

    named: frozenset[str] = frozenset()
    met: frozenset[str] = frozenset()
    skeletons: dict[str, str] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        # The named come last: where both look alike, it is the named domain that is told.
        for domain in (*sorted(self.met), *sorted(self.named)):
            self.skeletons[".".join(map(skeleton, domain.split(".")))] = domain


def hosts(text: str) -> Iterator[str]:
    """The hosts that a text names, in lower case; in Unicode where they stand in punycode."""
    for found in _HOST.finditer(text[:MOST_READ]):
        yield unicode_host(found[0].lower())


def tricks(text: str, known: Known = Known()) -> tuple[Trick, ...]:
    """What plays a trick in the text, in its order; offsets are code points of the text as it stands."""
    read, found = text[:MOST_READ], list[Trick]()
    if not read.isascii():
        found += _turning(read)
        found += _unseen(read)
        found += _mixed(read)
    if "." in read:
        found += _imitating(read, known)
    if "@" in read:
        found += _before_at(read)
    if len(text) > MOST_READ:
        found.append(
            Trick(MOST_READ, len(text), f"beyond character {MOST_READ:,} nothing looked for tricks", "")
        )
    return tuple(sorted(found, key=lambda trick: (trick.start, trick.end))[:MOST_TRICKS])


def _turning(text: str) -> Iterator[Trick]:
    for run in _TURNING.finditer(text):
        many = len(run[0])
        what = f"{many} characters turn" if many > 1 else f"U+{ord(run[0]):04X} turns"
        yield Trick(*run.span(), f"{what} the direction of writing: elsewhere it may read in another order")


def _unseen(text: str) -> Iterator[Trick]:
    for run in _UNSEEN.finditer(text):
        if _TURNING.fullmatch(run[0]) or set(run[0]) <= _JOINING:
            continue
        tagged = "".join(chr(ord(c) - 0xE0000) for part in _TAGS.findall(run[0]) for c in part)
        spelled = f", which spell “{tagged[:_SHOWN]}”" if tagged else ""
        many = len(run[0])
        yield Trick(*run.span(), f"{many} invisible character{'s' if many > 1 else ''}{spelled}")


def _mixed(text: str) -> Iterator[Trick]:
    for word in _WORD.finditer(text):
        if not word[0].isascii() and (said := mixed(word[0][:_SHOWN])):
            yield Trick(*word.span(), said)


@lru_cache(maxsize=4096)
def mixed(word: str) -> str:
    """What is wrong with a word in which letters of one script pass for those of another, or ""."""
    if word.isascii():
        return ""
    scripts = {
        script: [c for c in word if _script(c) == script] for script in {_script(c) for c in word} - _ANY
    }
    if len(scripts) < 2 or any(scripts.keys() <= together for together in _TOGETHER):
        return ""
    foreign = {
        letter: script for script, letters in scripts.items() if script != "LATIN"
        for letter in letters if "LATIN" in scripts and _passes_for_latin(letter)
    }  # fmt: skip
    if not foreign:
        return ""
    letter, script = next(iter(foreign.items()))
    said = f"mixes Latin with {script.capitalize()} letters that look like it"
    return f"“{word[:_SHOWN]}” {said}: “{letter}” is U+{ord(letter):04X}"


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    if unicodedata.category(character) in ("Mn", "Me", "Lm"):
        return "INHERITED"
    return str(categories.alias(character))


def _passes_for_latin(letter: str) -> bool:
    return any("a" <= c <= "z" for c in skeleton(letter))


def _imitating(text: str, known: Known) -> Iterator[Trick]:
    for found in _HOST.finditer(text):
        if said := imitates(found[0].lower(), known):
            yield Trick(*found.span(), said)


def imitates(host: str, known: Known) -> str:
    """What a host does to be taken for a known one, or "". Lower case."""
    shown = unicode_host(host)
    if _under(shown, known.named) or not known.skeletons:
        return ""
    like = _like(shown, known)
    if like in known.named or (like and not _under(shown, known.met)):
        return f"{_both(host)} looks like {like} but is not"
    if not _under(shown, known.met) and (front := _in_front(shown, known.named)):
        return f"{_both(host)} has {front} in front but belongs to {'.'.join(shown.split('.')[-2:])}"
    return ""


def _under(host: str, domains: frozenset[str]) -> bool:
    return any(ending in domains for ending in _endings(host))


def _like(host: str, known: Known) -> str:
    """The known domain that the host, or the domain it is under, looks like."""
    shown = ".".join(map(skeleton, host.split(".")))
    return next((known.skeletons[ending] for ending in _endings(shown) if ending in known.skeletons), "")


def _in_front(host: str, domains: frozenset[str]) -> str:
    labels = host.split(".")
    starts = (".".join(labels[at:stop]) for stop in range(2, len(labels)) for at in range(stop - 1))
    return next((start for start in starts if start in domains), "")


def _endings(host: str) -> Iterator[str]:
    labels = host.split(".")
    yield from (".".join(labels[at:]) for at in range(len(labels) - 1))


def _before_at(text: str) -> Iterator[Trick]:
    for found in _USERINFO.finditer(text):
        if not _DOTTED.search(found[1]):
            continue
        name, host = found[1][:_SHOWN], found[2][:_SHOWN]
        yield Trick(
            found.start(1), found.end(2), f"goes to {host}: “{name}” before the @ is only a user’s name"
        )


def unicode_host(host: str) -> str:
    """A host with its labels out of punycode; one that is no punycode stays as it is."""
    if "xn--" not in host:
        return host
    return ".".join(map(_out_of_punycode, host.split(".")))


def punycode(host: str) -> str:
    """A host as it goes over the wire, each label that is not ASCII as xn--…."""
    return ".".join(
        label
        if label.isascii()
        else "xn--" + unicodedata.normalize("NFKC", label).lower().encode("punycode").decode()
        for label in host.split(".")
    )


def _out_of_punycode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


def _both(host: str) -> str:
    """A host as it reads and, where that differs, as it goes over the wire."""
    shown, wire = unicode_host(host), punycode(unicode_host(host))
    return f"{shown[:_SHOWN]} ({wire[:_SHOWN]})" if shown != wire else shown[:_SHOWN]


@lru_cache(maxsize=16384)
def skeleton(text: str) -> str:
    """What a text looks like: equal for texts that the eye takes for each other (UTS 39, section 4)."""
    table = _prototypes()
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).lower())
    shown = "".join(table.get(c, c) for c in folded)
    for pair, letter in _ASCII_PAIRS:
        shown = shown.replace(pair, letter)
    return unicodedata.normalize("NFD", shown)


@cache
def _prototypes() -> dict[str, str]:
    """Each confusable character → the one text that stands for all that look like it.

    The package lists pairs in both directions, so the classes are joined anew; ASCII stands for its class,
    a pair of letters (rn) before the single one that looks like it (m). So l, 1 and I, whose small letter is
    i, all stand as i: a host is written in any case.
    """
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for one, others in confusables_data.items():
        for other in others:
            parent[root(_bare(one))] = root(_bare(other["c"]))
    classes: dict[str, list[str]] = {}
    for text in parent:
        classes.setdefault(root(text), []).append(text)
    best = {name: min(members, key=_standing).lower() for name, members in classes.items()}
    return {text: best[root(text)] for text in parent if len(text) == 1} | _ALSO


def _standing(text: str) -> tuple[bool, int, str]:
    return (not (text.isascii() and text.isalpha()), -len(text) if text.isascii() else len(text), text)


def _bare(text: str) -> str:
    return text.replace("\u200e", "")


def known(named: Iterable[str] = (), met: Iterable[str] = ()) -> Known:
    """Domains, however they are written, as what other hosts are compared with."""
    return Known(frozenset(map(_domain, named)) - {""}, frozenset(map(_domain, met)) - {""})


def _domain(text: str) -> str:
    return unicode_host(text.strip().strip(".").lower())
