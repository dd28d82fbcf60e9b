"""An action as people see it: the row in the inbox, the card beside it, and what this person may do to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings

from approvals import drawing, forawhile, holding, payloads, reasons, revisions, word
from approvals.holding import Holds
from approvals.models import Action, Vote
from approvals.origins import Authority, authorities
from approvals.reasons import Program
from approvals.voting import Tally, tally
from approvals.word_models import USER
from policies.access import Verb, may
from policies.models import Role, User
from policies.verdict import sparing
from traces import dbtime

EXCERPT = 60  # characters shown on each side of a finding

STATE_LOOK = {
    "blocked": "danger", "pending": "wait", "ready": "info", "running": "run", "succeeded": "ok",
    "failed": "danger", "interrupted": "danger", "rejected": "danger", "expired": "muted",
    "cancelled": "muted",
}  # fmt: skip


@dataclass(frozen=True)
class Risk:
    """How closely to look, in a word, and why."""

    word: str
    look: str
    why: str


@dataclass(frozen=True)
class Row:
    """One line of the inbox."""

    action: Action
    risk: Risk
    rules: tuple[str, ...]
    requester: str
    votes: int
    needed: int
    held: str

    @property
    def rule(self) -> str:
        """One rule by name, and how many more there are."""
        more = f" and {len(self.rules) - 1} more" if len(self.rules) > 1 else ""
        return self.rules[0] + more if self.rules else ""

    @property
    def look(self) -> str:
        return STATE_LOOK[self.action.state]


@dataclass(frozen=True)
class Rule:
    """Why it is asked: one rule that matched, read aloud."""

    name: str
    effect: str
    why: str
    text: str
    error: str


@dataclass(frozen=True)
class Found:
    """One finding of the firewall, with the text around it and the place of the span in that excerpt."""

    detector: str
    severity: str
    why: str
    where: str
    excerpt: str
    span: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Asked:
    """One group that is asked, and how far its votes are."""

    group: str
    quorum: int
    votes: int
    rule: str
    step_up: bool

    @property
    def met(self) -> bool:
        return self.votes >= self.quorum


@dataclass(frozen=True)
class Panel:
    """What this person may do now. `why_not` says why there are no buttons; empty when there are."""

    action: Action
    asked: tuple[Asked, ...]
    votes: tuple[Vote, ...]
    why_not: str
    my_vote: Vote | None
    undo_until: Any
    missing: str
    may_decide: bool
    held: str
    offer: forawhile.Offer | None
    spared: str

    @property
    def look(self) -> str:
        return STATE_LOOK[self.action.state]

    @property
    def destructive(self) -> bool:
        return self.action.effect == "destructive"

    @property
    def open(self) -> bool:
        return not self.why_not


@dataclass(frozen=True)
class Card:
    """Everything about one action that a decision should rest on, in reading order."""

    row: Row
    payload: drawing.Drawn
    authority: tuple[Authority, ...]
    program: Program
    rules: tuple[Rule, ...]
    findings: tuple[Found, ...]
    revisions: tuple[revisions.Change, ...]
    panel: Panel

    @property
    def action(self) -> Action:
        return self.row.action

    @property
    def outside(self) -> str:
        return reasons.outside(self.action)


def row(action: Action, holds: Holds) -> Row:
    """The row of an action; asks the database nothing where session, agent, team and votes were read."""
    verdict = action.verdict
    rules = tuple(match["name"] for match in verdict["matched"] if match["effect"] == verdict["effect"])
    standing = [vote for vote in action.votes.all() if not vote.void and vote.digest == action.digest]
    return Row(
        action=action, risk=risk(action), rules=rules, requester=action.session.user,
        votes=sum(vote.verdict == Vote.Verdict.APPROVE for vote in standing) + word.given(action),
        needed=sum(int(item["quorum"]) for item in action.approvals), held=holds.of(action),
    )  # fmt: skip


def risk(action: Action) -> Risk:
    """High, medium or low, from what is known and not from what the agent says."""
    severities = {finding.get("severity") for finding in action.findings}
    origins = {origin.get("origin") for origin in action.origins.values()}
    high = [
        words for holds, words in (
            (action.effect == "destructive", "destructive"),
            ("high" in severities, "the firewall found something serious"),
            ("injection" in action.session.labels, "the session has read an injection"),
        ) if holds
    ]  # fmt: skip
    if high:
        return Risk("High", "danger", ", ".join(high))
    if action.effect == "write" or severities or "untrusted" in origins:
        return Risk(
            "Medium", "wait", "it changes something" if action.effect == "write" else "look at its origins"
        )
    return Risk("Low", "ok", "it only reads")


def card(action: Action, *, user: User) -> Card:
    """The card as this person sees it."""
    holds = holding.holds()
    authority = authorities(action)
    names = frozenset(item.name for item in authority)
    return Card(
        row=row(action, holds), payload=drawing.drawn(action, user=user, authority=names),
        authority=authority, program=reasons.program(action),
        rules=_rules(action, reasons.rule_texts(action)),
        findings=_found(action.args, action.findings),
        revisions=revisions.changes(action.revisions.all()), panel=panel(action, user=user, holds=holds),
    )  # fmt: skip


def panel(action: Action, *, user: User, holds: Holds | None = None) -> Panel:
    """Votes so far and the buttons, or the reason why there are none."""
    counted = tally(action)
    votes = tuple(action.votes.select_related("user"))
    mine = next((vote for vote in votes if vote.user_id == user.pk and not vote.void), None)
    why_not, spared = _why_not(action, user, mine, counted), sparing(action.verdict)
    return Panel(
        action=action, asked=_asked(action, counted), votes=votes, my_vote=mine, missing=counted.missing,
        undo_until=_undo_until(action, mine), why_not=why_not,
        held=(holds or holding.holds()).of(action), offer=_offer(action, user) if not why_not else None,
        spared=str(spared["why"]) if spared else "",
        may_decide=may(user, Verb.ACTION_DECIDE, team=action.team, groups=action.groups).allowed,
    )  # fmt: skip


def _offer(action: Action, user: User) -> forawhile.Offer | None:
    """To allow it for a while takes a member: who only stands in, or was asked later, is not offered it."""
    asked = {item["group"] for item in action.approvals}
    return forawhile.offer(action) if asked & user.group_names else None


def _asked(action: Action, counted: Tally) -> tuple[Asked, ...]:
    have = counted.counts
    return tuple(
        Asked(item["group"], int(item["quorum"]), have[item["group"]], item["rule"], bool(item["step_up"]))
        for item in action.approvals
    )


def _undo_until(action: Action, mine: Vote | None) -> Any:
    if mine is None or mine.verdict != Vote.Verdict.APPROVE or action.state not in ("pending", "ready"):
        return None
    until = mine.at + timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS)
    return until if until > dbtime.now() else None


def _why_not(action: Action, user: User, mine: Vote | None, counted: Tally) -> str:
    if action.state != Action.State.PENDING:
        return "decided"
    if action.deadline <= dbtime.now():
        return "The time to decide is over."
    if not may(user, Verb.ACTION_DECIDE, team=action.team, groups=action.groups).allowed:
        return _bystander(action, user)
    if double := word.double(action, user):
        return f"You read along: {double}."
    return f"You have approved. Still needed: {counted.missing}." if mine else ""


def _bystander(action: Action, user: User) -> str:
    """Why somebody who may not decide it reads along; that only the user is asked, the card says itself."""
    if not set(action.groups) - {USER}:
        return "You read along."
    if not user.has_role(Role.APPROVER):
        return "You read along: deciding takes the role of an approver."
    return f"You read along: you are not in {' or '.join(sorted(set(action.groups) - {USER}))}."


def _rules(action: Action, texts: Mapping[str, str]) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            name=match["name"], effect=match["effect"], error=match.get("error", ""),
            why=match["why"].removeprefix(f"{match['name']}: "), text=texts.get(match["name"], ""),
        )
        for match in sorted(action.verdict["matched"], key=_heaviest_first)
    )  # fmt: skip


def _heaviest_first(match: Mapping[str, Any]) -> int:
    return ("block", "ask", "allow").index(match["effect"])


def _found(args: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> tuple[Found, ...]:
    # Read once: an agent can send a pile of texts, with something to find in each.
    texts = {path.lstrip("/"): payloads.plain(value) for path, value in payloads.leaves(args, "")}
    return tuple(_excerpt(texts, finding) for finding in findings)


def _excerpt(texts: Mapping[str, str], finding: Mapping[str, Any]) -> Found:
    path = str(finding.get("path", "")).lstrip("/")
    text = texts.get(path, "")
    start, end = int(finding.get("start", 0)), int(finding.get("end", 0))
    first, last = max(0, start - EXCERPT), min(len(text), end + EXCERPT)
    excerpt = ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")
    shift = (1 if first else 0) - first
    span = ({"start": start + shift, "end": end + shift, "detector": finding["detector"]},)
    return Found(finding["detector"], finding["severity"], finding["why"], path, excerpt, span)
