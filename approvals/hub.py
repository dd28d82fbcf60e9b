"""The first page of policies: every room that somebody may enter, by what it is for, and what waits there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse
from django.utils import timezone

from approvals import access_review
from approvals.growth_models import Promotion, Suggestion
from policies import releases
from policies.access import MODELS, Verb, may
from policies.allowance_models import Allowance
from policies.foureyes_models import ProposedChange
from policies.models import Release, Switch, User


@dataclass(frozen=True)
class Door:
    """A link to a room; `waits` says what is to be done there, `add` leads to the form of a new row."""

    label: str
    href: str
    about: str
    waits: str = ""
    add: str = ""


@dataclass(frozen=True)
class Room:
    """A room by its model (`app.name`) or by the name of its address and the verb it takes."""

    label: str
    about: str
    where: str
    verb: Verb | None = None
    waits: Callable[[], str] = str


def _count(number: int, words: str) -> str:
    return f"{number} {words}" if number else ""


def _unpublished() -> str:
    found = len(releases.changes(releases.draft_content()))
    return _count(found, "change to publish" if found == 1 else "changes to publish")


def _standing() -> str:
    newest = Release.objects.order_by("-id").values_list("id", flat=True).first() or 0
    return _count(Allowance.objects.standing(timezone.now(), release_id=newest).count(), "standing")


def _review() -> str:
    due = access_review.due()
    return f"due since {due.at:%-d %b %Y}" if due.now else ""


def _offered() -> str:
    return _count(Suggestion.objects.filter(state=Suggestion.State.OFFERED).count(), "offered")


def _proposed() -> str:
    return _count(Promotion.objects.filter(state=Promotion.State.OPEN).count(), "proposed")


def _stopped() -> str:
    return _count(Switch.objects.count(), "thrown")


def _second() -> str:
    waiting = ProposedChange.objects.filter(state=ProposedChange.State.WAITING)
    return _count(waiting.count(), "waiting")


READ, EDIT = Verb.POLICY_READ, Verb.POLICY_EDIT
SECTIONS: tuple[tuple[str, str, tuple[Room, ...]], ...] = (
    ("Decide", "What agents may do, and who is asked. Edits are a draft until it is published.", (
        Room("Rules", "allow, ask or block, and when", "policies.rule"),
        Room("Tools", "what they do, return and affect", "policies.tool"),
        Room("Cases", "example calls that every release must pass", "policies.case"),
        Room("Publish", "what the draft changes, word by word", "admin:policies_publish", EDIT, _unpublished),
        Room("Releases", "what was published, compare, roll back", "policy-releases", READ),
    )),
    ("Try", "Before it decides anything.", (
        Room("Simulator", "one call or a whole session", "policy-simulate", READ),
        Room("Backtest", "the draft against past calls", "policy-backtest", READ),
        Room("In shadow", "rules and releases that only count", "policy-shadow", READ),
    )),
    ("Grow", "Offered from what happened; a person decides.", (
        Room("Suggested rules", "fewer questions where people always agreed", "suggestions", READ, _offered),
        Room("Trust in agents", "more room or less, with the evidence", "promotions", READ, _proposed),
        Room("Allowances", "what reviewers allowed for a while", "policies.allowance", None, _standing),
    )),
    ("Hold", "What stops an agent that no rule stops.", (
        Room("Limits", "what is used now", "policy-limits", READ),
        Room("Shared limits", "of a tool, a team or an agent", "policies.limit"),
        Room("Kill switches", "what is stopped, since when, by whom", "policies.switch", None, _stopped),
        Room("Grants", "privileges that live for minutes", "policies.grant"),
    )),
    ("Agents", "Who acts.", (
        Room("Agents", "team, owner, mode, limits", "policies.agent"),
        Room("Agent keys", "scopes, last use, revoke", "policies.agentkey"),
        Room("Secrets", "by name; nobody reads them back", "policies.secret"),
    )),
    ("People", "Who decides.", (
        Room("Users", "roles, groups, invitations", "policies.user"),
        Room("Groups", "teams, and who is asked", "auth.group"),
        Room("Notifications", "channels of groups", "notifications", Verb.ACCOUNTS_READ),
        Room("Personal tokens", "of people, for the API", "policies.personaltoken"),
        Room("Access review", "last use of everything", "access-review", Verb.ACCOUNTS_READ, _review),
        Room("Changes", "that need a second person", "changes", READ, _second),
    )),
)  # fmt: skip


def sections(user: User, *, adds: Callable[[str], bool]) -> list[tuple[str, str, list[Door]]]:
    """The sections with the doors that this person may open; `adds` says where they may add a row."""
    found = [
        (title, about, [_door(room, adds) for room in rooms if _may(user, room)])
        for title, about, rooms in SECTIONS
    ]
    return [section for section in found if section[2]]


def _may(user: User, room: Room) -> bool:
    return may(user, room.verb or MODELS[room.where][0]).allowed


def _door(room: Room, adds: Callable[[str], bool]) -> Door:
    if room.verb is not None:
        return Door(room.label, reverse(room.where), room.about, room.waits())
    base = f"admin:{room.where.replace('.', '_')}"
    add = reverse(f"{base}_add") if adds(room.where) else ""
    return Door(room.label, reverse(f"{base}_changelist"), room.about, room.waits(), add)
