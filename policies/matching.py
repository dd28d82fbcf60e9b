"""Where one text stands in another as itself, and not as a part of a longer token. Pure; on folded text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_JOINERS = frozenset("@._-+/\\:%=&#~?!*|")
_MAX_JOINERS = 16
# Work for one value in one text stays bounded, however often a hostile text repeats it.
_SCAN_BUDGET = 1 << 18
# A word ends where the script changes, as `_script_changes` tells it, and never begins within another.
_WORD = re.compile("[^\\W\u2e80-\uffdc]+|(?:(?=[\u2e80-\uffdc])\\w)+")
_WORDS_BEFORE = re.compile(r"([^\W\d_]+)[.,]? (?:the )?$")
_WORDS_AFTER = re.compile(r"[.,]? (?:of |de )?([^\W\d_]+)")
_MONTHS = frozenset(
    [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "januar",
        "februar",
        "märz",
        "mai",
        "juni",
        "juli",
        "oktober",
        "dezember",
        "janvier",
        "février",
        "mars",
        "avril",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ]
)


def words(text: str) -> list[str]:
    """The words of a text. Wherever `occurrences` finds a needle, all words of the needle are words there."""
    found: list[str] = _WORD.findall(text)
    return found


def placed_words(text: str) -> Iterator[tuple[int, str]]:
    """Each word with where it begins."""
    return ((found.start(), found[0]) for found in _WORD.finditer(text))


def occurrences(
    text: str, needle: str, windows: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, bool]]:
    """Where the value stands between word boundaries, and whether nothing beside it continues the token.

    Looked for in the `windows` (start, end) of the text, which are in order and apart.
    """
    budget = max(16, _SCAN_BUDGET // len(needle))
    for start, stop in windows:
        at = text.find(needle, start, stop)
        while at >= 0 and budget:
            budget -= 1
            end = at + len(needle)
            if _apart(text, at - 1, needle[0]) and _apart(text, end, needle[-1]):
                yield at, end, _ends(text, at, -1, needle) and _ends(text, end - 1, 1, needle)
            at = text.find(needle, at + 1, stop)


def _apart(text: str, beside: int, edge: str) -> bool:
    if not 0 <= beside < len(text):
        return True
    return not (_word(edge) and _word(text[beside]) and not _script_changes(edge, text[beside]))


def _ends(text: str, edge: int, step: int, needle: str) -> bool:
    """Whether the token ends at `edge` when read on in direction `step`."""
    at = edge + step
    if 0 <= at < len(text) and (_thousands(text, at) or (step < 0 and _led(text[at], needle))):
        return False
    for _ in range(_MAX_JOINERS):
        if not 0 <= at < len(text):
            return True
        if text[at] not in _JOINERS:
            return not _word(text[at]) or (at == edge + step and _script_changes(text[edge], text[at]))
        at += step
    return False


def _thousands(text: str, at: int) -> bool:
    return text[at] == "," and text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()


def _led(before: str, needle: str) -> bool:
    """Whether the sign before makes it another value: -5 is not 5, ~/x and ../x are not /x."""
    return (before in "-+" and _number(needle)) or (before in _JOINERS and needle[0] in "/\\.~")


def _number(needle: str) -> bool:
    return needle[0].isdigit() and needle.replace(",", "").replace(".", "").isdigit()


def _word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _script_changes(edge: str, beside: str) -> bool:
    # Chinese, Japanese and Korean write addresses without a blank before the next word.
    return edge.isascii() and "\u2e80" <= beside <= "\uffdc"


def dated(text: str, start: int, end: int) -> bool:
    """Whether the words beside a number make it a day: June 13, 13 June, 13 de junio, 13. Juni."""
    before = _WORDS_BEFORE.search(text, max(0, start - 40), start)
    after = _WORDS_AFTER.match(text, end)
    beside = [before[1] if before else "", after[1] if after else ""]
    return any(word in _MONTHS for word in beside)
