"""What lets something happen here, each with its last use: the list of an access review."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max

from approvals import lastuse
from approvals.growth_models import LastUse
from approvals.models import Vote
from policies import releases
from policies.models import AgentKey, Grant, PersonalToken, Role, Rule, Secret, Tool, User
from policies.rules import sentence

# In the order of the page; each with what removing it does.
KINDS = {
    "rule": ("Rules", "disable in the draft"),
    "tool": ("Tools", "pause"),
    "key": ("Agents’ keys", "revoke"),
    "token": ("Personal tokens", "revoke"),
    "role": ("Roles of people", "take it away"),
    "group": ("Groups of people", "take the person out"),
    "secret": ("Secrets", "forget its value"),
    "grant": ("Living grants", "end"),
}


@dataclass(frozen=True)
class Holding:
    """One thing to keep or remove. `since` is from when on its use is known; `proposed` for removal."""

    kind: str
    key: str
    name: str
    detail: str
    last_used: datetime | None
    since: datetime
    unused: bool
    proposed: bool
    note: str = ""


@dataclass(frozen=True)
class _Clock:
    now: datetime
    days: int

    def holding(
        self, kind: str, key: object, name: str, detail: str, used: datetime | None, since: datetime,
        *, guard: str = "",
    ) -> Holding:  # fmt: skip
        """`guard` says why it is not proposed for removal however long it was not needed."""
        unused = max(used or since, since) < self.now - timedelta(days=self.days)
        return Holding(
            kind, str(key), name, detail, used, since, unused, unused and not guard, guard if unused else ""
        )

    def ended(self, rule: Rule, used: datetime | None) -> Holding:
        """A rule that has ended by itself: it does nothing any more, whatever its effect."""
        told, over = sentence(releases.spec(rule)), rule.until or self.now
        return Holding("rule", rule.name, rule.name, told, used, over, True, True, "it has ended by itself")


def every(*, now: datetime, days: int) -> list[Holding]:
    """All of it, by kind, then unused first, then by name. A constant number of queries."""
    clock, uses = _Clock(now, days), lastuse.known()
    voted = _voted()
    found = [
        *_rules(clock, uses), *_tools(clock, uses), *_keys(clock), *_tokens(clock), *_roles(clock, voted),
        *_groups(clock, voted), *_secrets(clock), *_grants(clock),
    ]  # fmt: skip
    order = list(KINDS)
    return sorted(found, key=lambda item: (order.index(item.kind), not item.unused, item.name, item.key))


def _rules(clock: _Clock, uses: dict[tuple[str, str], LastUse]) -> Iterator[Holding]:
    for rule in Rule.objects.filter(enabled=True):
        use = uses.get(("rule", rule.name))
        if rule.until is not None and rule.until <= clock.now:
            yield clock.ended(rule, use.at if use else None)
            continue
        guard = "" if rule.effect == "allow" else "a safeguard is none the less one for not being needed"
        yield clock.holding(
            "rule", rule.name, rule.name, sentence(releases.spec(rule)), use.at if use else None,
            use.since if use else clock.now, guard=guard,
        )  # fmt: skip


def _tools(clock: _Clock, uses: dict[tuple[str, str], LastUse]) -> Iterator[Holding]:
    for tool in Tool.objects.filter(paused=False):
        use = uses.get(("tool", tool.name))
        detail = f"{tool.effect}, sends {tool.sends}"
        since = use.since if use else clock.now
        yield clock.holding("tool", tool.name, tool.name, detail, use.at if use else None, since)


def _keys(clock: _Clock) -> Iterator[Holding]:
    for key in AgentKey.objects.usable(clock.now).select_related("agent"):
        name, detail = f"{key.prefix}… of {key.agent.name}", ", ".join(key.scopes)
        yield clock.holding("key", key.pk, name, detail, key.last_used_at, key.created_at)


def _tokens(clock: _Clock) -> Iterator[Holding]:
    for token in PersonalToken.objects.usable(clock.now).select_related("user"):
        name, detail = f"{token.prefix}… of {token.user.username}", f"ends {token.expires_at:%Y-%m-%d}"
        yield clock.holding("token", token.pk, name, detail, token.last_used_at, token.created_at)


def _roles(clock: _Clock, voted: dict[tuple[int, str], datetime]) -> Iterator[Holding]:
    """A role was last used at the last vote for an approver, else at the last sign-in."""
    votes: dict[int, datetime] = {}
    for (voter, _), at in voted.items():
        votes[voter] = max(at, votes.get(voter, at))
    for user in User.objects.filter(is_active=True):
        for role in sorted(user.roles):
            deciding = role == Role.APPROVER
            used = votes.get(user.pk) if deciding else user.last_login
            detail = f"{Role(role).label}, by {'last vote' if deciding else 'last sign-in'}"
            yield clock.holding("role", f"{user.pk}:{role}", user.username, detail, used, user.date_joined)


def _groups(clock: _Clock, voted: dict[tuple[int, str], datetime]) -> Iterator[Holding]:
    """A group was last used at the last vote for it; by who does not decide, at the last sign-in."""
    for user in User.objects.filter(is_active=True).prefetch_related("groups"):
        deciding = user.has_role(Role.APPROVER)
        for group in user.groups.all():
            used = voted.get((user.pk, group.name)) if deciding else user.last_login
            detail = f"in {group.name}, by {'last vote' if deciding else 'last sign-in'}"
            key = f"{user.pk}:{group.name}"
            yield clock.holding("group", key, user.username, detail, used, user.date_joined)


def _secrets(clock: _Clock) -> Iterator[Holding]:
    for secret in Secret.objects.order_by("name"):
        detail = f"read {secret.uses} times"
        yield clock.holding(
            "secret", secret.name, secret.name, detail, secret.last_used_at, secret.created_at
        )


def _grants(clock: _Clock) -> Iterator[Holding]:
    for grant in Grant.objects.alive().select_related("agent"):
        name, detail = (
            f"{grant.agent.name}, {grant.tool}",
            f"{grant.issuer}, ends {grant.expires_at:%H:%M} UTC",
        )
        yield clock.holding("grant", grant.pk, name, detail, grant.used_at, grant.minted_at)


def _voted() -> dict[tuple[int, str], datetime]:
    rows = Vote.objects.values_list("user_id", "group").annotate(last=Max("at")).order_by()
    return {(user, group): last for user, group, last in rows}
