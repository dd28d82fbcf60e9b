"""What the log holds of whom an action asked and who said yes.

Rows are written by whoever can write to the database. An entry's payload is sealed under a key that stands
outside of it, and bound to its header: nobody without that key can make an entry that says what a vote says.
So before a start the rows are held against the entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from approvals.models import Action, Vote
from approvals.widening_models import Widening
from policies import absences
from policies.absence_models import Absence
from traces import record
from traces.models import Entry

ENDING = frozenset({"vote.undone", "action.pending"})
# Two processes on one machine, or two machines whose clocks are kept, may differ by this much: seconds.
CLOCKS_APART = 5
STATES = frozenset(f"action.{state}" for state in Action.State)
ASKING = frozenset({"action.pending", "action.ready", "action.edited"})


def contradiction(action: Action, votes: Iterable[Vote], leaning: Iterable[tuple[Vote, Absence]] = ()) -> str:
    """Where the log says something else than the rows about who was asked, who approved, and for whom they
    stood in; empty if nowhere.
    """
    if _asked(action) != action.approvals:
        return "the log does not hold that these people were asked: the action was altered outside agentsec"
    if action.allowance_id is not None and str(action.allowance_id) not in _let_through(action):
        return "the log holds no allowance that let this through: the action was altered outside agentsec"
    if _editor(action) != action.needs_other_than:
        return "the log names another editor: the action was altered outside agentsec"
    if unsworn := _widened(action):
        return f"the log does not hold that {unsworn}: the action was altered outside agentsec"
    standing = list(votes)
    entries = {entry.uuid: entry for entry in _entries(uuid__in=[vote.entry for vote in standing])}
    for vote in standing:
        if not _says(entries.get(vote.entry), vote, action):
            return f"the log holds no approval by {vote.user.username}: the vote was made outside agentsec"
        if withdrawn(action, vote.entry):
            return f"the log holds that the approval by {vote.user.username} counts no more"
    for vote, absence in leaning:
        header, _ = record.as_sealed(entries[vote.entry]) if vote.entry in entries else ({}, {})
        given = datetime.fromisoformat(header["at"]) if "at" in header else vote.at
        if why := absences.unsworn(absence, at=given):
            return f"{vote.user.username} stood in for nobody: {why}"
    return (
        "" if _is_ready(action) else "the log does not hold that it is ready: it was altered outside agentsec"
    )


def withdrawn(action: Action, said: UUID) -> bool:
    """Whether the log holds, after this approval, that it was taken back or that everybody was asked anew."""
    given = Entry.objects.filter(uuid=said).values_list("pk", flat=True).first() or 0
    later = sealed(action_id=str(action.pk), kind__in=ENDING, pk__gt=given)
    return any(
        header.get("kind") == "action.pending" or body.get("vote") == str(said) for header, body in later
    )


def sealed(**wanted: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Header and body, as they were sealed, of the entries with these columns; the newest first."""
    return (record.as_sealed(entry) for entry in _entries(**wanted))


def let_through(action: Action) -> dict[str, str]:
    """What the entry of a new action says of the allowance that answered its asking, if one did."""
    return {"allowance": str(action.allowance_id)} if action.allowance_id is not None else {}


def _let_through(action: Action) -> set[str]:
    """The allowances by which this digest became ready, as the log holds it."""
    found = set()
    for entry in _entries(action_id=str(action.pk), kind="action.ready"):
        header, body = record.as_sealed(entry)
        if header.get("kind") == "action.ready" and body.get("digest") == action.digest:
            found.add(str(body.get("allowance", "")))
    return found


def _widened(action: Action) -> str:
    """What the rows say of other groups that may answer, and no entry does; empty if there is nothing."""
    rows = list(action.widenings.all())
    entries = {entry.uuid: entry for entry in _entries(uuid__in=[row.entry for row in rows])} if rows else {}
    for row in rows:
        header, body = record.as_sealed(entries[row.entry]) if row.entry in entries else ({}, {})
        signed = (header.get("kind"), header.get("action"), body.get("group"), body.get("to"))
        if signed != (f"action.{row.why}", str(action.pk), row.group, row.by_group):
            return f"{row.by_group} may answer for {row.group}"
        if row.why == Widening.Why.ESCALATED and not _was_due(row, header, action):
            return f"{row.by_group} was to answer for {row.group} by then"
    return ""


def _was_due(row: Widening, header: Mapping[str, Any], action: Action) -> bool:
    """Whether the rule's time had gone by since the action was first asked about, by the times of the log."""
    after = [
        step["after"] for item in action.approvals if item["group"] == row.group
        for step in item.get("escalate", ()) if step["to"] == row.by_group
    ]  # fmt: skip
    if not after:
        # An edit has taken the step away, and with it what the row says.
        return True
    first = Entry.objects.filter(action_id=str(action.pk), kind="action.pending").order_by("id").first()
    asked, _ = record.as_sealed(first)
    if "at" not in asked or "at" not in header:
        return False
    waited = datetime.fromisoformat(header["at"]) - datetime.fromisoformat(asked["at"])
    return bool(waited.total_seconds() >= after[0] - CLOCKS_APART)


def _entries(**wanted: Any) -> Iterable[Entry]:
    return Entry.objects.filter(**wanted).select_related("subject_key").order_by("-id")


def _asked(action: Action) -> Any:
    """The approvals that this digest was put before people with; None where no entry says so."""
    for entry in _entries(action_id=str(action.pk), kind__in=ASKING):
        header, body = record.as_sealed(entry)
        if header.get("kind") in ASKING and body.get("digest") == action.digest and "approvals" in body:
            return body["approvals"]
    return None


def _is_ready(action: Action) -> bool:
    """Whether the last that the log holds of its state is that it became ready, as it is: what ran, or ended
    without, is not set back to that by its row.
    """
    last = Entry.objects.filter(action_id=str(action.pk), kind__in=STATES).select_related("subject_key")
    entry = last.order_by("-id").first()
    header, body = record.as_sealed(entry)
    return (header.get("kind"), body.get("digest")) == ("action.ready", action.digest)


def _editor(action: Action) -> str:
    """Who changed whom or what it affects, as the log of its newest edit says; as its row does where the log
    says nothing of it.
    """
    for header, body in sealed(action_id=str(action.pk), kind="action.edited"):
        if header.get("kind") == "action.edited" and body.get("digest") == action.digest:
            return str(body.get("needs_other_than", action.needs_other_than))
    return action.needs_other_than


def _says(entry: Entry | None, vote: Vote, action: Action) -> bool:
    if entry is None:
        return False
    header, body = record.as_sealed(entry)
    signed = (header.get("kind"), header.get("action"), header.get("actor"))
    said = tuple(body.get(name) for name in ("verdict", "digest", "group", "channel"))
    return signed == ("vote.approve", str(action.pk), f"user:{vote.user_id}") and said == (
        "approve", action.digest, vote.group, vote.channel,
    )  # fmt: skip
