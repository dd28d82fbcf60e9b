"""Rule sets that ship: each a world file in `starters/`, added to what stands and never in its place.

A set asks the group `approvers`, which a new instance has; another group is asked where one is named, or
where the rules that stand ask it already. Beside its own rules each set brings the starter set's last word,
"ask about everything else", where that does not stand, so that none depends on another.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from django.db import transaction

from policies import world, worldfile
from policies.people import FIRST_GROUP
from policies.world import STARTER, STARTERS, Report, WorldRefused
from policies.worldfields import Wrong, read_group
from policies.worldfile import Fault, Item, World
from policies.yamlfile import Node
from traces.problems import Refused

KINDS = ("limits", "tools", "rules", "cases")


@dataclass(frozen=True)
class Told:
    """A set in one line; of its items `there` stand here as the set has them, `other` stand otherwise."""

    name: str
    what: str
    items: int
    there: int
    other: int


def names() -> list[str]:
    """Every set that ships, the starter set first."""
    found = sorted(path.stem for path in STARTERS.glob("*.yaml"))
    return sorted(found, key=lambda name: name != STARTER)


def told() -> list[Told]:
    """Each set with one line, and how much of it stands here."""
    return [_told(name) for name in names()]


def read(name: str, *, approvers: str = "") -> World:
    """A set's items, asking `approvers`. Raises Refused("not_found"), or "invalid" for no group's name."""
    if name not in names():
        raise Refused("not_found", f"There is no set {name!r}; there are {', '.join(names())}.")
    items = {kind: [_placed(kind, item) for item in found] for kind, found in _file(name).items.items()}
    if approvers:
        _refuse_no_group(approvers)
        items["rules"] = [_asking(rule, approvers) for rule in items["rules"]]
    return World(items=items)


def last_word(*, approvers: str = "") -> list[Item]:
    """What the starter set says where no other rule applies."""
    found = _file(STARTER).of("rules")
    last = [_placed("rules", rule) for rule in found if rule.values.get("fallback")]
    return [_asking(rule, approvers) if approvers else rule for rule in last]


def apply(name: str, *, by: str, approvers: str = "", replace: bool = False, keep: bool = False) -> Report:
    """Add a set to what stands, and publish; what is not the set's stays, and what stands already is left.

    `approvers` is the group that its rules ask; without it rules that stand go on asking theirs, and others
    ask "approvers". Something else under a name of the set is refused, unless `replace` puts the set's in its
    place or `keep` leaves it. Applies and appends as `world.apply`. Raises Refused: not_found, WorldRefused.
    """
    with transaction.atomic():
        world.lock()
        wanted = read(name, approvers=approvers)
        if not approvers:
            wanted.items["rules"] = [_as_it_asks(rule) for rule in wanted.of("rules")]
        clashes = list(_clashes(wanted))
        if clashes and not (replace or keep):
            raise WorldRefused([_clash(name, item, differing) for _, item, differing in clashes])
        if keep:
            left = {(kind, item.name) for kind, item, _ in clashes}
            for kind in KINDS:
                wanted.items[kind] = [item for item in wanted.of(kind) if (kind, item.name) not in left]
        if name != STARTER:
            wanted.items["rules"] = [*wanted.of("rules"), *_missing(last_word(approvers=approvers))]
        return world.apply_world(wanted, by=by)


def _placed(kind: str, item: Item) -> Item:
    """The item as a mistake names it: nobody has written the lines of a set."""
    return dataclasses.replace(item, path=f"{kind[:-1]} {item.name}", line=0, lines={})


def _refuse_no_group(approvers: str) -> None:
    try:
        read_group(Node(approvers, 0, text=approvers))
    except Wrong as wrong:
        raise Refused("invalid", f"The approvers: {wrong.why}.") from None


def _told(name: str) -> Told:
    wanted = read(name)
    found = [world.standing(kind, _as_it_asks(item)) for kind, item in _items(wanted)]
    there = sum(row is not None and not differing for row, differing in found)
    other = sum(row is not None and bool(differing) for row, differing in found)
    return Told(name, _what(name), len(found), there, other)


def _what(name: str) -> str:
    """The first sentence of the comment that the file begins with."""
    comment = re.match(r"(?:#[^\n]*\n)+", _text(name))
    text = " ".join(line.lstrip("# ") for line in comment.group().splitlines()) if comment else ""
    return text.partition(". ")[0].rstrip(".")


def _items(wanted: World) -> Iterator[tuple[str, Item]]:
    return ((kind, item) for kind in KINDS for item in wanted.of(kind))


def _asking(rule: Item, approvers: str) -> Item:
    if not rule.values.get("approvers"):
        return rule
    return dataclasses.replace(rule, values={**rule.values, "approvers": approvers})


def _as_it_asks(item: Item) -> Item:
    """The item with the group of the rule that stands: whom a rule asks is the instance's matter."""
    if item.values.get("approvers") != FIRST_GROUP:  # no rule of a kind that asks, or one told whom
        return item
    row, differing = world.standing("rules", item)
    return _asking(item, row.approvers) if "approvers" in differing and row.approvers else item


def _missing(rules: list[Item]) -> list[Item]:
    """Those that do not stand yet, however else they stand."""
    return [rule for rule in rules if world.standing("rules", rule)[0] is None]


def _clashes(wanted: World) -> Iterator[tuple[str, Item, list[str]]]:
    for kind, item in _items(wanted):
        _, differing = world.standing(kind, item)
        if differing:
            yield kind, item, differing


def _clash(name: str, item: Item, differing: list[str]) -> Fault:
    why = (
        f"stands here with other {', '.join(differing)} than in the set {name}: "
        "--keep leaves it, --replace puts the set's in its place"
    )
    return item.fault("", why)


def _text(name: str) -> str:
    return (STARTERS / f"{name}.yaml").read_text(encoding="utf-8")


@cache
def _file(name: str) -> World:
    found = worldfile.read(_text(name))
    if found.faults:
        raise WorldRefused(found.faults)
    return found
