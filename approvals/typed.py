"""What a person types to approve something destructive: the name of its target, in a form that can be typed.

The vote is bound to the action by its digest; typing is there so that the person reads whom or what it
destroys. So the words follow what is shown: a character that nobody sees or types is spelled out, a long name
is typed by its ends. Letters and their case count, and one that only looks like another is another.
"""

from __future__ import annotations

import hmac
import re
import unicodedata

from approvals.models import Action
from traces.presenters import pieces
from traces.problems import Refused

LONGEST, ENDS = 80, 30
_SPACES = re.compile(r" {2,}")
_BREAKS = re.compile(r"[\t\r\n]")


def words(action: Action) -> str:
    """What is to be typed: the target with everything unseen as <U+200B>, of a long one both ends."""
    whole = _typeable(action.target)
    if len(whole) <= LONGEST:
        return whole
    return f"{whole[:ENDS].rstrip()} ... {whole[-ENDS:].lstrip()}"


def refuse(action: Action, typed: str) -> None:
    """Raise Refused("invalid") where a destructive action is not confirmed; `confirm` says what to type.

    The target itself, as it is, always confirms too: that is what a script has.
    """
    if action.effect != "destructive":
        return
    wanted, given = words(action), _canonical(typed)
    if given and any(
        _same(given, _canonical(form)) for form in (wanted, _typeable(action.target), action.target)
    ):
        return
    raise Refused(
        "invalid", f"this is destructive: confirm it by typing “{wanted}”{_hint(_canonical(wanted), given)}",
        confirm=wanted,
    )  # fmt: skip


def _typeable(text: str) -> str:
    """Text of which every character can be seen and typed or copied, on one line."""
    shown = "".join(f"<{piece.text[1:-1]}>" if piece.hidden else piece.text for piece in pieces(text.strip()))
    spelled = _BREAKS.sub(lambda found: f"<U+{ord(found[0]):04X}>", shown)
    return _SPACES.sub(" ", spelled).strip()


def _canonical(text: str) -> str:
    """Equal for what Unicode says is the same text: é is é, however it is composed; blanks do not count."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text).strip())


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _hint(wanted: str, given: str) -> str:
    """Why what looks right is not: capital letters, or another letter of the same look."""
    if given and given.casefold() == wanted.casefold():
        return " (capital and small letters count)"
    if len(given) != len(wanted):
        return ""
    places = [at for at, (one, other) in enumerate(zip(wanted, given, strict=True)) if one != other]
    if len(places) > 3 or all(wanted[at].isascii() and given[at].isascii() for at in places):
        return ""
    at = places[0]
    names = [unicodedata.name(letter, "another character") for letter in (wanted[at], given[at])]
    return f" (character {at + 1} is {names[0]}, not {names[1]})"
