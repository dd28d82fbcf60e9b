"""Other ways to write the same value: amounts, addresses of pages and of people, dates. Pure.

A value counts as said where one of its forms stands. So a form must have one reading only, in every language
and to every program, or stand beside what leaves but one: 1,500.00 and 1.500,00 are the same amount wherever
they stand; 1.500 is so only beside a euro sign, and else perhaps one and a half. What is not plain ASCII has
no other form, nor has a host in punycode: look-alikes must not meet in a form that both share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from policies import dates

# What names the same money beyond doubt: a bare $ may be any dollar, but is no US$.
_MONEY = (
    frozenset(("€", "eur", "euro", "euros")), frozenset(("£", "gbp")), frozenset(("us$", "usd")),
    frozenset(("$", "dollar", "dollars")), frozenset(("¥",)), frozenset(("₹", "inr")), frozenset(("chf",)),
    frozenset(("cad",)), frozenset(("aud",)), frozenset(("sek",)), frozenset(("nok",)), frozenset(("dkk",)),
    frozenset(("pln",)), frozenset(("czk",)), frozenset(("jpy",)),
)  # fmt: skip
_ANY_MONEY = frozenset().union(*_MONEY)
_EURO = _MONEY[0]
_NAMES = "|".join(sorted(map(re.escape, _ANY_MONEY), key=len, reverse=True))
_BEFORE = re.compile(rf"(?<![\w€$£¥₹])({_NAMES}) ?\Z")
_AFTER = re.compile(rf" ?({_NAMES})(?![\w€$£¥₹])")
_AMOUNT = re.compile(
    rf"(?:(?P<before>{_NAMES}) ?)?(?:(?P<plain>0|[1-9][0-9]{{0,11}})(?:\.(?P<cents>[0-9]{{1,2}}))?"
    r"|(?P<english>[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.(?P<pence>[0-9]{2}))?"
    r"|(?P<european>[1-9][0-9]{0,2}(?:\.[0-9]{3})+)(?:,(?P<centimes>[0-9]{2}))?)"
    rf"(?: ?(?P<after>{_NAMES}))?"
)
_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}"
_URL = re.compile(
    rf"(?:(?P<scheme>https?)://)?(?P<host>{_HOST})(?::(?P<port>\d{{1,5}}))?(?P<path>/[!-\[\]-~]*)?"
)
_MAIL = re.compile(rf"(?:mailto:)?(?P<open><)?(?P<mail>[a-z0-9][a-z0-9._+-]{{0,63}}@{_HOST})(?(open)>)")
_PORTS = {"https": "443", "http": "80"}
# A bare name counts as a host if it can be no file: readme.md is also a domain, that anybody may own.
_HOSTS_ONLY = frozenset(
    ("com", "org", "net", "edu", "gov", "int", "info", "io", "dev", "example", "eu", "us", "ca", "uk", "ie",
     "de", "at", "ch", "fr", "be", "nl", "es", "pt", "it", "dk", "se", "no", "fi", "au", "nz", "jp")
)  # fmt: skip
_YEAR = re.compile(r"(?<!\w)(?:19|20)\d\d(?!\w)|['\u2019]\d\d(?!\w)")
_BACKWARDS = re.compile(r"\b(?:last|previous|past|ago|since|until|was|were|had|did|year|years)\b")
_A_YEAR = 365


@dataclass(frozen=True)
class Form:
    """One way to write a value, folded. `beside` are the currencies of which one must stand beside it, if
    any; `day` is the day that it means where no year stands beside it and it comes next.
    """

    text: str
    beside: frozenset[str] = frozenset()
    day: date | None = None

    def stands(self, text: str, start: int, end: int, said: date | None) -> bool:
        """Whether text[start:end], which reads like it, also means it; `said` is the day it was written."""
        if self.day is not None:
            return _is_next(self.day, text, said)
        before, after = _BEFORE.search(text, max(0, start - 9), start), _AFTER.match(text, end)
        found = {match[1] for match in (before, after) if match}
        return not self.beside or (bool(found) and found <= self.beside)


def forms(value: str) -> Iterator[Form]:
    """The other forms of a value; none for most. `value` is folded, as are the forms."""
    if not value or len(value) > 512:
        return
    amount = _AMOUNT.fullmatch(value)
    if amount:
        yield from _amounts(amount)
    if not value.isascii():
        return
    yield from _days(value)
    mail = _MAIL.fullmatch(value)
    if mail:
        yield from (Form(mail["mail"]), Form(f"mailto:{mail['mail']}"))
    page = _URL.fullmatch(value)
    if page:
        yield from _pages(page)


def _amounts(found: re.Match[str]) -> Iterator[Form]:
    whole = found["plain"] or (found["english"] or found["european"]).replace(",", "").replace(".", "")
    cents = (found["cents"] or found["pence"] or found["centimes"] or "").ljust(2, "0")
    named = {name for name in (found["before"], found["after"]) if name}
    money = next((group for group in _MONEY if named and named <= group), frozenset())
    # One sign proves nothing, and two currencies are no amount.
    if (named and not money) or (len(whole) < 2 and cents == "00") or not _is_clear(found, money):
        return
    for text in _plain_amounts(whole, cents):
        yield Form(text, money)
        if cents == "00" and text == whole:
            yield from (Form(glued, frozenset()) for glued in _glued(whole, money or _ANY_MONEY))
    for text, only in _amounts_of_money(whole, cents):
        beside = only & money if money else only
        if beside:
            yield Form(text, beside)


def _is_clear(found: re.Match[str], money: frozenset[str]) -> bool:
    """Whether its dots and commas have one reading: 1,500 and 1.500 alone could be one and a half."""
    if found["english"]:
        return bool(found["pence"] or money)
    return not found["european"] or bool(found["centimes"]) or money == _EURO


def _plain_amounts(whole: str, cents: str) -> Iterator[str]:
    """What is this amount wherever it stands."""
    grouped = f"{int(whole):,}"
    if cents == "00":
        yield from dict.fromkeys((whole, grouped))
    elif cents[1] == "0":
        yield from dict.fromkeys((f"{whole}.{cents[0]}", f"{grouped}.{cents[0]}"))
    yield from dict.fromkeys((f"{whole}.{cents}", f"{grouped}.{cents}"))
    if "," in grouped:
        yield f"{grouped.replace(',', '.')},{cents}"


def _amounts_of_money(whole: str, cents: str) -> Iterator[tuple[str, frozenset[str]]]:
    """What is this amount beside one of these currencies, and else perhaps another, or a list."""
    grouped = f"{int(whole):,}"
    yield f"{whole},{cents}", _ANY_MONEY
    if cents == "00":
        if "," in grouped:
            yield grouped.replace(",", "."), _EURO
            yield grouped.replace(",", "'"), _ANY_MONEY
        thousands = Decimal(whole) / 1000
        if thousands >= 1 and int(whole) % 100 == 0:
            yield f"{thousands.normalize():f}k", _ANY_MONEY


def _glued(whole: str, money: frozenset[str]) -> Iterator[str]:
    """1500EUR reads as one word, so it must be looked for as one."""
    for name in sorted(money):
        if name.isalpha():
            yield f"{whole}{name}"
            yield f"{name}{whole}"


def _pages(found: re.Match[str]) -> Iterator[Form]:
    scheme, host, port, path = found["scheme"], found["host"], found["port"], found["path"] or ""
    for one in [scheme] if scheme else _PORTS:
        ports = ["", f":{_PORTS[one]}"] if port in (None, _PORTS[one]) else [f":{port}"]
        yield from (Form(f"{one}://{host}{at}{end}") for at in ports for end in _ends(path))
    named = host.startswith("www.") or path.strip("/") or host.rpartition(".")[2] in _HOSTS_ONLY
    if named and (port is None or port != _PORTS.get(scheme or "")):
        yield from (Form(f"{host}{f':{port}' if port else ''}{end}") for end in _ends(path))


def _ends(path: str) -> tuple[str, ...]:
    """A path, and the same but for a slash at its end; a query or fragment has no end to vary."""
    return (path,) if "?" in path or "#" in path else (path.rstrip("/"), path.rstrip("/") + "/")


def _days(value: str) -> Iterator[Form]:
    moment = dates.moment(value)
    if moment and not moment.time:
        day = date.fromisoformat(value)
        yield from (Form(text.lower()) for text in moment.days)
        yield from (Form(text, day=day) for text in dates.without_year(day))


def _is_next(day: date, text: str, said: date | None) -> bool:
    """Whether who wrote "May 5" on the day `said` can only have meant this one: it is the next, and the text
    speaks of no other year and of nothing past.
    """
    if said is None or not 0 <= (day - said).days < _A_YEAR or _BACKWARDS.search(text):
        return False
    return all(year == str(day.year) for year in _YEAR.findall(text))
