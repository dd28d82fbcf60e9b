"""Step-up: an approval that its voter's passkey signed, so that nobody can have written it for them.

The passkey signs a challenge that is a hash of the decision (`traces.passkeys.challenge`): which call, which
revision of it, which verdict, which comment, whose. So no state is kept between asking for a signature and
getting it, none counts for anything else, and one person has one vote on one revision.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q

from approvals.models import Action, Vote
from policies import passkeys
from policies.access import actor
from policies.models import User
from traces import passkeys as offline
from traces import record, signed
from traces.models import Entry
from traces.problems import Refused
from traces.signatures import Invalid
from traces.signed import Event, Ring


def challenge(action: Action, user: User, *, verdict: str, comment: str) -> bytes:
    """What this person signs to decide so on the action as it stands. Raises Refused("invalid")."""
    try:
        return offline.challenge(
            digest=action.digest, verdict=verdict, comment=comment, revision=action.revision, user=actor(user)
        )
    except Invalid as error:
        raise Refused("invalid", str(error)) from None


def verified(action: Action, user: User, *, verdict: str, comment: str, answer: str) -> dict[str, str]:
    """The signature in a browser's `answer`, as a vote's entry holds it; nothing where there is no answer.

    Checked twice: as a sign-in is, and as an auditor will. Locks the passkey. Raises Refused: invalid,
    forbidden (another's passkey, or a signature of anything else).
    """
    if not answer:
        return {}
    wanted = challenge(action, user, verdict=verdict, comment=comment)
    passkey, signature = passkeys.recognise(challenge=wanted, answer=answer, user=user)
    try:
        offline.check(signature, passkey=passkeys.held(passkey), wanted=wanted)
    except Invalid as error:
        raise Refused("forbidden", f"The passkey's signature does not count: {error}.") from None
    return {**signature, "passkey": str(passkey.entry)}


def refuse_unsigned(user: User, *, channel: str) -> None:
    """Say what is missing where a rule wants step-up and the approval is not signed. Raises Refused."""
    if channel != "browser":
        raise Refused(
            "forbidden", "this needs step-up, which a token never satisfies: approve it on its page"
        )
    if not passkeys.usable(user):
        raise Refused("forbidden", "this needs step-up: add a passkey on your account page, then approve it")
    raise Refused("forbidden", "this needs step-up: approve it with your passkey")


def contradiction(action: Action, votes: Iterable[Vote]) -> str:
    """Why a vote that had to be signed is not its voter's, by the log alone; empty where all are.

    The row of a passkey counts for nothing here: its registration has to stand in the log before the vote.
    """
    groups = signed.step_ups(action.approvals)
    for vote in votes:
        if vote.group not in groups:
            continue
        try:
            _refuse(vote)
        except Invalid as error:
            return f"the approval by {vote.user.username} is not signed by their passkey: {error}"
    return ""


def lost(action: Action, votes: Iterable[Vote]) -> str:
    """Whose passkey was removed after it signed a vote that had to be signed, by the log; empty for nobody's.

    It stays their signature; but the passkey may have been in the wrong hands, so people are asked anew.
    """
    groups = signed.step_ups(action.approvals)
    for vote in votes:
        entry = Entry.objects.filter(uuid=vote.entry).select_related("subject_key").first()
        event = _event(entry) if entry is not None and vote.group in groups else None
        if entry is None or event is None:
            continue
        gone = Entry.objects.filter(kind=signed.REMOVED, pk__gt=entry.pk).select_related("subject_key")
        removed = {str(each.body.get("passkey")) for each in map(_event, gone) if each is not None}
        if str(event.body.get("signature", {}).get("passkey")) in removed:
            return f"the passkey by which {vote.user.username} signed was removed since"
    return ""


def forgeries() -> list[signed.Forged]:
    """Every approval in the whole log that had to be signed and is not its voter's. Reads all that was asked
    and decided, and holds in memory what step-up was wanted for.
    """
    kept: list[Event] = []
    strict: set[str] = set()
    rows = Entry.objects.filter(kind__in=signed.KINDS).select_related("subject_key").order_by("pk")
    for row in rows.iterator():
        event = _event(row)
        if event is None:  # altered or erased, which `verify` says by itself
            continue
        if signed.wants(event) or "signature" in event.body:
            strict.add(event.action)
        if event.kind in (signed.ADDED, signed.REMOVED) or event.action in strict:
            kept.append(event)
    return signed.judge(kept)


def _refuse(vote: Vote) -> None:
    entry = Entry.objects.filter(uuid=vote.entry).select_related("subject_key").first()
    event = _event(entry) if entry is not None else None
    if entry is None or event is None or not isinstance(event.body.get("signature"), dict):
        raise Invalid("the log holds no signature")
    try:
        about = Q(uuid=UUID(event.body["signature"]["passkey"]), kind=signed.ADDED)
        keys = Entry.objects.filter(about | Q(kind=signed.REMOVED), pk__lt=entry.pk)
        known = [_event(row) for row in keys.select_related("subject_key").order_by("pk")]
        signed.refuse_vote(event, Ring.of(each for each in known if each is not None))
    except offline.MALFORMED as error:
        raise Invalid(str(error) if isinstance(error, Invalid) else "it is malformed") from None


def _event(entry: Entry) -> Event | None:
    """The entry as it was sealed, in its place; None for one that was altered or erased."""
    header, body = record.as_sealed(entry)
    if not header:
        return None
    return Event(header["id"], header["kind"], header["actor"], header["action"] or "", entry.pk, body)
