"""Who approved, by the log alone: every approval that a rule wanted signed is held against its passkey.

Whoever holds the server can write any entry, but cannot make the signature of a person's passkey; so an
approval without one that holds is named here. Works on what an evidence bundle proves, offline.
Pure: entries in, findings out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from traces.passkeys import MALFORMED, Passkey, challenge_of, check
from traces.signatures import Invalid

ADDED, REMOVED = "person.passkey_added", "person.passkey_removed"
VOTE, UNDONE = "vote.approve", "vote.undone"
# These put an action before people, anew: votes from before do not count for it.
ASKED = frozenset({"action.pending", "action.edited"})
# These say that it was approved.
WENT = frozenset({"action.ready", "action.running"})
KINDS = frozenset({ADDED, REMOVED, VOTE, UNDONE}) | ASKED | WENT


class Entry(Protocol):
    """An entry of the log that was proved: its header's fields, place in the log, payload (None: closed)."""

    @property
    def meta(self) -> Mapping[str, Any]: ...
    @property
    def index(self) -> int: ...
    @property
    def payload(self) -> str | None: ...


@dataclass(frozen=True)
class Event:
    """An entry with its body opened."""

    id: str
    kind: str
    actor: str
    action: str
    index: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Forged:
    """An entry that claims an approval which nobody signed."""

    entry: str
    why: str


Pins = Sequence[Passkey] | None


@dataclass(frozen=True)
class Ring:
    """The passkeys by which votes may be signed: registered and removed ones by the id of their
    registration's entry, and what an auditor pinned instead.
    """

    added: Mapping[str, Event]
    removed: Mapping[str, int]
    pins: Pins = None

    @classmethod
    def of(cls, events: Iterable[Event], pins: Pins = None) -> Ring:
        known = list(events)
        added = {event.id: event for event in known if event.kind == ADDED}
        gone = [event for event in known if event.kind == REMOVED]
        return cls(added, {str(event.body.get("passkey")): event.index for event in reversed(gone)}, pins)


def forgeries(entries: Iterable[Entry], pins: Pins = None) -> list[Forged]:
    """Approvals that lack the signature that a rule wanted, or hold one that is wrong.

    In: the entries of whole sessions and the registrations of their voters' passkeys; `pins`, the passkeys
    that an auditor holds to be people's own (None: those that the log registered before the vote).
    """
    return judge(_events(entries), pins)


def judge(events: Iterable[Event], pins: Pins = None) -> list[Forged]:
    """The same of opened entries."""
    events = sorted(events, key=lambda event: event.index)
    ring = Ring.of(events, pins)
    found: list[Forged] = []
    actions: dict[str, list[Event]] = {}
    for event in events:
        actions.setdefault(event.action, []).append(event)
    for about in actions.values():
        found += _of_action(about, ring)
    return found


def _of_action(events: Sequence[Event], ring: Ring) -> Iterator[Forged]:
    asked, ever = _asked(events), dict[str, int]()
    standing: dict[str, Event] = {}  # signed approvals since people were asked last, by their entry
    for event in events:
        # An edit never needs fewer people, so what was wanted once is wanted of whatever comes of it.
        ever = _strictest(ever, wants(event))
        needed = _strictest(ever, asked.get(str(event.body.get("digest")), {}))
        if event.kind in ASKED:
            standing.clear()
        elif event.kind == UNDONE:
            standing.pop(str(event.body.get("vote")), None)
        elif event.kind == VOTE and (event.body.get("group") in needed or "signature" in event.body):
            try:
                refuse_vote(event, ring)
                standing[event.id] = event
            except MALFORMED as error:
                why = str(error) if isinstance(error, Invalid) else "it is malformed"
                yield Forged(event.id, f"the approval by {event.actor} is not theirs: {why}")
        elif event.kind in WENT:
            mine = [vote for vote in standing.values() if vote.body["digest"] == event.body.get("digest")]
            signed, wanted = len({vote.actor for vote in mine}), sum(needed.values())
            if signed < wanted:
                yield Forged(event.id, f"{event.kind}, but {signed} of {wanted} people signed an approval")


def _asked(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """By digest the groups whose approvals must be signed, each with how many: the strictest said."""
    asked: dict[str, dict[str, int]] = {}
    for event in events:
        digest = str(event.body.get("digest"))
        asked[digest] = _strictest(asked.get(digest, {}), wants(event))
    return asked


def _strictest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {group: max(one.get(group, 0), other.get(group, 0)) for group in {*one, *other}}


def refuse_vote(vote: Event, ring: Ring) -> None:
    """Raise Invalid where the vote is not signed by a passkey that its voter had when it was made."""
    signature = vote.body.get("signature")
    if not isinstance(signature, dict):
        raise Invalid("it had to be signed by a passkey and is not")
    passkey = _passkey(vote, signature, ring)
    check(signature, passkey=passkey, wanted=challenge_of(vote.body, vote.actor))
    if ring.removed.get(signature["passkey"], vote.index) < vote.index:
        raise Invalid("its passkey had been removed before")


def _passkey(vote: Event, signature: Mapping[str, Any], ring: Ring) -> Passkey:
    if ring.pins is not None:
        for pin in ring.pins:
            if (pin.user, pin.credential) == (vote.actor, signature["credential"]):
                return pin
        raise Invalid("its passkey is none of those that were pinned for this person")
    entry = ring.added.get(signature["passkey"])
    if entry is None or entry.index > vote.index:
        raise Invalid("nothing proves that its passkey was registered before")
    passkey = registered(entry)
    if passkey.user != vote.actor:
        raise Invalid(f"its passkey belongs to {passkey.user}")
    return passkey


def registered(entry: Event) -> Passkey:
    """The passkey that a registration's entry holds. Raises Invalid unless its person registered it."""
    passkey = Passkey.read(entry.body)
    if passkey.user != entry.actor:
        raise Invalid(f"its passkey was registered by {entry.actor}, not by its person")
    return passkey


def step_ups(approvals: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The groups whose approvals must be signed, each with how many of them are needed."""
    return {item["group"]: int(item["quorum"]) for item in approvals if item.get("step_up")}


def wants(event: Event) -> dict[str, int]:
    """The groups that an entry asks for signed approvals, each with how many."""
    try:
        return step_ups(event.body.get("approvals", ())) if event.kind in ASKED | WENT else {}
    except MALFORMED:
        return {}


def _events(entries: Iterable[Entry]) -> Iterator[Event]:
    for entry in entries:
        meta = entry.meta
        if meta["kind"] not in KINDS or entry.payload is None:
            continue
        body = json.loads(entry.payload)["body"]
        if isinstance(body, dict):
            yield Event(meta["id"], meta["kind"], meta["actor"], meta["action"] or "", entry.index, body)
