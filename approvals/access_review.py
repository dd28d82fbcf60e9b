"""Access review: everything that lets something happen, with its last use; a person keeps or removes each.

What nobody used for a while is proposed for removal. Whoever signs the review off does so soon after signing
in, and the one entry of it holds the whole list with every decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.utils import timezone

from approvals import holdings
from approvals.growth_models import AccessReview, Chore
from approvals.holdings import Holding
from policies import agents, changes, grants, limits, people, releases, secrets
from policies.access import Verb, actor, may, require
from policies.arguments import digest
from policies.foureyes import NeedsSecond
from policies.models import AgentKey, Grant, PersonalToken, Release, Rule, Tool, User
from traces import bundle, record
from traces.problems import Refused

DOMAIN = b"agentsec/access-review/v1\n"
SIGNED = "access.reviewed"
MAX_REASON, MAX_NOTE = 300, 500
# How long after signing in a person counts as present.
STEP_UP_LIFE = timedelta(minutes=10)
KEEP, REMOVE = "keep", "remove"
GRANT = "grant"
CHORE = "access-review"


@dataclass(frozen=True)
class Decided:
    """What the reviewer says of one holding, and why."""

    choice: str
    reason: str = ""


@dataclass(frozen=True)
class Due:
    """When the next review is due. `last` is None where none was signed yet."""

    at: datetime
    last: AccessReview | None

    @property
    def now(self) -> bool:
        return self.at <= timezone.now()


def due() -> Due:
    """A review is due so many days after the last one; the first so many after the first release."""
    last = AccessReview.objects.first()
    if last is not None:
        return Due(last.next_due, last)
    began = Release.objects.order_by("id").values_list("published_at", flat=True).first() or timezone.now()
    return Due(began + timedelta(days=settings.AGENTSEC_REVIEW_DAYS), None)


def listed() -> list[Holding]:
    """Everything to be reviewed, kind by kind, what was not used for long first."""
    return holdings.every(now=timezone.now(), days=settings.AGENTSEC_REVIEW_DAYS)


def fingerprint(items: Sequence[Holding]) -> str:
    """Over what is listed, not over when it was used: a page that misses something is not signed.

    Grants live minutes and are left out: one that came or went meanwhile is no reason to begin anew. The last
    review is part of it, so that pressing the button twice signs once.
    """
    listed = [[item.kind, item.key, item.name] for item in items if item.kind != GRANT]
    last = AccessReview.objects.values_list("pk", flat=True).first()
    return digest(DOMAIN, {"items": sorted(listed), "last": last})


def sign(
    *, user: User, decisions: Mapping[tuple[str, str], Decided], seen: str, note: str = ""
) -> AccessReview:
    """Sign the review off and do what it says. One at a time (the chore's row is locked).

    `decisions` are by kind and key, one for everything listed; `seen` is the fingerprint of the list that the
    person saw. A reason is needed where the decision differs from what was proposed. All or nothing, but for
    grants, whose ending may have to be tried again. Appends what each removal appends and `access.reviewed`,
    which holds the whole list. Raises Refused: forbidden (role, or signed in too long ago), conflict (the
    list changed), invalid (a decision or a reason is missing), and what the removals raise.
    """
    require(user, Verb.ACCESS_SIGN)
    if user.last_login is None or user.last_login < timezone.now() - STEP_UP_LIFE:
        raise Refused(
            "forbidden", "Signing a review needs step-up: sign out, sign in again, and sign it then."
        )
    with transaction.atomic():
        _one_at_a_time()
        items = [item for item in listed() if item.kind != GRANT or (item.kind, item.key) in decisions]
        if fingerprint(items) != seen:
            raise Refused("conflict", "What is listed has changed since you saw it: look again, then sign.")
        _refuse_undecided(items, decisions)
        gone = [item for item in items if decisions[item.kind, item.key].choice == REMOVE]
        done = _remove_all([item for item in gone if item.kind != GRANT], user)
        review = _write(items, decisions, done, user=user, note=note[:MAX_NOTE])
    # Ending a grant reaches outside, so it comes after the review stands in the log.
    for item in (item for item in gone if item.kind == GRANT):
        _end_grant(item, user)
    return review


def export(*, review: AccessReview, user: User) -> bytes:
    """The evidence of one review, as a bundle that verifies offline. Not inside a transaction: it waits for
    the log's checkpoint.

    Appends `bundle.exported`. Raises Refused: forbidden, not_found, unavailable.
    """
    require(user, Verb.ACCOUNTS_READ)
    return bundle.export([str(review.entry)], actor=actor(user))


def _one_at_a_time() -> None:
    Chore.objects.get_or_create(name=CHORE)
    Chore.objects.select_for_update().get(name=CHORE)


def _refuse_undecided(items: Sequence[Holding], decisions: Mapping[tuple[str, str], Decided]) -> None:
    for item in items:
        decided = decisions.get((item.kind, item.key))
        if decided is None or decided.choice not in (KEEP, REMOVE):
            raise Refused("invalid", f"{item.kind} {item.name}: keep or remove?")
        if (decided.choice == REMOVE) != item.proposed and not decided.reason.strip():
            why = "it was not used for long" if item.proposed else "it is in use, or a safeguard"
            raise Refused(
                "invalid", f"{item.kind} {item.name}: {decided.choice} needs a reason, since {why}."
            )


def _remove_all(gone: Sequence[Holding], user: User) -> dict[tuple[str, str], str]:
    """Take them away; what was done, in words, by kind and key.

    All roles (and all groups) that one person loses are one change: with four-eyes a second one would find
    the person no longer as they were.
    """
    together: dict[tuple[str, str], list[Holding]] = {}
    for item in gone:
        whose = item.key.partition(":")[0] if item.kind in _FROM_PEOPLE else item.key
        together.setdefault((item.kind, whose), []).append(item)
    done = {key: _remove(items, user) for key, items in together.items()}
    return {(item.kind, item.key): done[key] for key, items in together.items() for item in items}


def _remove(items: Sequence[Holding], user: User) -> str:
    item = items[0]
    try:
        if item.kind not in _FROM_PEOPLE:
            return _REMOVALS[item.kind](item.key, user)
        whose, _, _ = item.key.partition(":")
        return _FROM_PEOPLE[item.kind](whose, {each.key.partition(":")[2] for each in items}, user)
    except NeedsSecond as needed:
        changes.keep(needed, by=actor(user))
        return "waits for somebody else to confirm it"
    except Refused as refused:
        raise Refused(refused.code, f"{item.kind} {item.name}: {refused.detail}") from None
    except ObjectDoesNotExist:
        raise Refused(
            "conflict", f"{item.kind} {item.name} is gone already: look again, then sign."
        ) from None


def _disable_rule(key: str, user: User) -> str:
    # The table decides who edits the draft; whoever may not says what should be done, and who may reads it.
    if not may(user, Verb.POLICY_EDIT).allowed:
        return "left to the policy editors"
    releases.edit(row=Rule.objects.get(name=key), values={"enabled": False}, by=actor(user))
    return "disabled in the draft"


def _pause_tool(key: str, user: User) -> str:
    limits.pause_tool(tool=Tool.objects.get(name=key), paused=True, by=actor(user))
    return "paused"


def _revoke_key(key: str, user: User) -> str:
    row = AgentKey.objects.select_related("agent").get(pk=key)
    agents.revoke(agent=row.agent, prefix=row.prefix, by=actor(user))
    return "revoked"


def _revoke_token(key: str, user: User) -> str:
    people.revoke_token(token=PersonalToken.objects.select_related("user").get(pk=key), by=actor(user))
    return "revoked"


def _take_roles(whose: str, names: set[str], user: User) -> str:
    row = User.objects.select_for_update().get(pk=whose)
    people.set_roles(user=row, roles=[each for each in row.roles if each not in names], by=actor(user))
    return "taken"


def _leave_groups(whose: str, names: set[str], user: User) -> str:
    row = User.objects.get(pk=whose)
    people.set_groups(user=row, groups=row.group_names - names, by=actor(user))
    return "left the group"


def _drop_secret(key: str, user: User) -> str:
    secrets.remove(name=key, by=actor(user))
    return "removed"


_REMOVALS: Mapping[str, Callable[[str, User], str]] = {
    "rule": _disable_rule,
    "tool": _pause_tool,
    "key": _revoke_key,
    "token": _revoke_token,
    "secret": _drop_secret,
}
_FROM_PEOPLE: Mapping[str, Callable[[str, set[str], User], str]] = {
    "role": _take_roles,
    "group": _leave_groups,
}


def _end_grant(item: Holding, user: User) -> None:
    grant = Grant.objects.filter(pk=item.key).first()
    if grant is not None:
        grants.revoke(grant=grant, why="removed by an access review", actor=actor(user))


def _write(
    items: Sequence[Holding],
    decisions: Mapping[tuple[str, str], Decided],
    done: Mapping[tuple[str, str], str],
    *,
    user: User,
    note: str,
) -> AccessReview:
    now = timezone.now()
    lines = [
        _line(item, decisions[item.kind, item.key], done.get((item.kind, item.key), "")) for item in items
    ]
    removed = sum(line["choice"] == REMOVE for line in lines)
    review = AccessReview(
        signed_at=now, signed_by=user.username, kept=len(lines) - removed, removed=removed, note=note,
        next_due=now + timedelta(days=settings.AGENTSEC_REVIEW_DAYS),
    )  # fmt: skip
    body = {
        "by": user.username, "note": note, "kept": review.kept, "removed": removed, "items": lines,
        "unused_after_days": settings.AGENTSEC_REVIEW_DAYS, "next_due": review.next_due.isoformat(),
    }  # fmt: skip
    title = f"Access review signed: {review.kept} kept, {removed} removed"
    review.entry = record.append(kind=SIGNED, actor=actor(user), body=body, title=title, text=note).uuid
    review.save()
    return review


def _line(item: Holding, decided: Decided, done: str) -> dict[str, Any]:
    last = {"last_used": item.last_used and item.last_used.isoformat(), "since": item.since.isoformat()}
    told = {"choice": decided.choice, "reason": decided.reason.strip()[:MAX_REASON], "done": done}
    return {**asdict(item), **last, **told}
