"""Who can answer for the groups that rules ask, and where nobody can: told before a question waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policies.absence_models import Absence, in_force
from policies.models import Role, Rule, User
from policies.releases import asked, spec
from policies.rules import RuleSpec
from traces import dbtime


@dataclass(frozen=True)
class Reach:
    """The people of some groups who may approve, by name, and who of them or for them is there now."""

    able: frozenset[str]
    there: frozenset[str]

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.able | other.able, self.there | other.there)


NOBODY = Reach(frozenset(), frozenset())


def able(group: str) -> frozenset[str]:
    """The names of the active people with the role approver in this group."""
    return read([group])[group].able


def read(groups: Iterable[str]) -> dict[str, Reach]:
    """For each of these groups who can answer; three queries however many there are."""
    wanted = set(groups)
    found: dict[str, Reach] = dict.fromkeys(wanted, NOBODY)
    people = User.objects.filter(is_active=True, roles__contains=[Role.APPROVER], groups__name__in=wanted)
    members = people.distinct().prefetch_related("groups")
    instead = _instead()
    for user in members:
        there = instead.get(user.pk, frozenset({user.username}))
        for group in user.groups.all():
            if group.name in wanted:
                found[group.name] |= Reach(frozenset({user.username}), there)
    return found


def shortfall(group: str, quorum: int, reach: Reach, *, separate: bool = False) -> str:
    """Why `quorum` approvals of this group cannot come, as one sentence; empty where they can."""
    count = len(reach.able)
    if not count:
        return f"Nobody of {group} can answer: no active person with the role approver is in it."
    if count < quorum:
        return f"{quorum} of {group} are needed, and {_people(count)} in it."
    if not reach.there:
        return f"Everybody of {group} who may answer is away, and nobody stands in."
    if len(reach.there) < quorum:
        return f"{quorum} of {group} are needed, and {_people(len(reach.there))} there: others are away."
    if separate and count == 1:
        return f"Only one person of {group} may answer, and never alone what they own or started themselves."
    return ""


def warnings(rule: RuleSpec, reaches: Mapping[str, Reach] | None = None) -> list[str]:
    """What keeps the people whom a rule asks from answering, one sentence each. `reaches` where many rules
    are asked about at once.
    """
    if rule.effect != "ask":
        return []
    known = reaches if reaches is not None else read(asked(rule))
    found = []
    if rule.approvers and not rule.approvers.startswith("@"):
        reach = known.get(rule.approvers, NOBODY)
        found.append(shortfall(rule.approvers, rule.quorum, reach, separate=rule.separate_duties))
    for step in rule.escalate:
        if not known.get(step.to, NOBODY).able:
            found.append(f"It escalates to {step.to}, where nobody can answer.")
    return [why for why in found if why]


def unanswerable() -> list[tuple[str, str]]:
    """(rule, why) of every rule of the draft that holds and asks people who cannot answer."""
    rules = [spec(rule) for rule in Rule.objects.filter(enabled=True, mode=Rule.Mode.LIVE, effect="ask")]
    return of_rules(rules)


def of_rules(rules: Iterable[RuleSpec]) -> list[tuple[str, str]]:
    """The same for these rules."""
    held = [rule for rule in rules if rule.enabled and rule.mode == "live" and rule.effect == "ask"]
    reaches = read({group for rule in held for group in asked(rule)})
    return [(rule.name, why) for rule in held for why in warnings(rule, reaches)]


def _instead() -> dict[int, frozenset[str]]:
    """For each person who is away, who is there in their place: the stand-in, if one may and is not away."""
    rows = list(Absence.objects.filter(in_force(dbtime.now())).select_related("stand_in"))
    away = {row.user_id for row in rows}
    found = {}
    for row in rows:
        person = row.stand_in
        there = person is not None and person.has_role(Role.APPROVER) and person.pk not in away
        found[row.user_id] = frozenset({person.username}) if person is not None and there else frozenset()
    return found


def _people(count: int) -> str:
    return "1 person is" if count == 1 else f"{count} people are"
