"""Every key, secret and living grant: its age, last use, owner and end, what needs attention first.

One function a kind, one line in SOURCES. Whatever can be replaced or removed is so by the verb that the rest
of the site uses, after the one table of role and verb was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min
from django.utils import timezone

from approvals import concerns, results
from policies import agents, grants, people, sealing, secrets, signing_keys
from policies.access import Verb, actor, may, require
from policies.firewall.forms import unfit
from policies.models import AgentKey, Grant, Passkey, PersonalToken, Secret, Tool, User
from policies.secret_models import PastValue
from traces import keys
from traces.models import Checkpoint
from traces.problems import Refused

DANGER, WARN, FINE = "danger", "wait", "ok"
_GRAVITY = {DANGER: 0, WARN: 1, FINE: 2}
_LATE = frozenset({"ended", "1 day", "3 days"})


@dataclass(frozen=True)
class Credential:
    """One of them. `look` is ok, wait or danger, and `why` says so in words; `uses` is None where nobody
    counts. `unused` for so long that it is proposed for removal.
    """

    kind: str
    key: str
    name: str
    owner: str
    detail: str
    created_at: datetime | None
    last_used: datetime | None = None
    uses: int | None = None
    expires_at: datetime | None = None
    look: str = FINE
    why: str = ""
    unused: bool = False

    @property
    def removable(self) -> bool:
        return self.kind in REMOVALS

    @property
    def rotatable(self) -> bool:
        return self.kind in ("key", "secret")


@dataclass(frozen=True)
class Kind:
    """What a kind is called, and the verb that removing one takes; None where nobody does so here."""

    title: str
    plural: str
    verb: Verb | None = None


KINDS: Mapping[str, Kind] = {
    "grant": Kind("Living grant", "Living grants", Verb.GRANTS_END),
    "key": Kind("Agent’s key", "Agents’ keys", Verb.KEYS_EDIT),
    "token": Kind("Personal token", "Personal tokens", Verb.PEOPLE_EDIT),
    "secret": Kind("Secret", "Secrets", Verb.SECRETS_EDIT),
    "passkey": Kind("Passkey", "Passkeys"),
    "signing": Kind("Key of this site", "Keys of this site"),
}


def listed(*, now: datetime | None = None) -> list[Credential]:
    """All of them: the gravest first, then what ends first, then by name. A constant number of queries."""
    at = now or timezone.now()
    found = [each for source in SOURCES for each in source(at)]
    far = at + timedelta(days=36_500)
    return sorted(found, key=lambda each: (_GRAVITY[each.look], each.expires_at or far, each.kind, each.name))


def may_remove(user: User, kind: str) -> bool:
    """Whether this person removes or replaces credentials of this kind."""
    verb = KINDS[kind].verb if kind in KINDS else None
    return verb is not None and may(user, verb).allowed


def remove(*, kind: str, key: str, user: User) -> None:
    """Take one away at once. Appends what its verb appends.

    Raises Refused: forbidden, not_found, unavailable (a grant whose issuer does not answer: it is tried again
    until it does), and foureyes.NeedsSecond.
    """
    known = KINDS.get(kind)
    if known is None or known.verb is None:
        raise Refused("invalid", f"a {kind} is not removed here: {', '.join(sorted(REMOVALS))} are")
    require(user, known.verb)
    REMOVALS[kind](key, user)


def rotate_key(
    *, key: str, user: User, overlap: timedelta = agents.OVERLAP, expires_at: datetime | None = None
) -> str:
    """A new key beside an agent's old one, which ends after the overlap; shown once.

    Appends `key.issued` and `key.rotated`. Raises Refused: forbidden, not_found, and foureyes.NeedsSecond.
    """
    require(user, Verb.KEYS_EDIT)
    row = _key(key)
    by = actor(user)
    return agents.rotate(agent=row.agent, by=by, prefix=row.prefix, overlap=overlap, expires_at=expires_at)


def rotate_secret(
    *, name: str, value: str, user: User, overlap: timedelta | None = None, expires_at: datetime | None = None
) -> None:
    """A new value for a secret, the one before staying usable for the overlap. Appends `secret.stored`.

    Raises Refused: forbidden, not_found, invalid, and foureyes.NeedsSecond.
    """
    require(user, Verb.SECRETS_EDIT)
    if not Secret.objects.filter(name=name).exists():
        raise Refused("not_found", f"there is no secret “{name}”")
    secrets.put(name=name, value=value, by=actor(user), overlap=overlap, expires_at=expires_at)


def _keys(now: datetime) -> Iterator[Credential]:
    for row in AgentKey.objects.usable(now).select_related("agent__owner"):
        host = "; the host application’s: it says what the user said" if row.attests else ""
        yield _weighed(now, Credential(
            "key", str(row.pk), f"{row.prefix}… of {row.agent.name}", _name(row.agent.owner),
            f"{', '.join(row.scopes)}{host}", row.created_at, row.last_used_at, row.uses, row.expires_at,
        ))  # fmt: skip


def _tokens(now: datetime) -> Iterator[Credential]:
    for row in PersonalToken.objects.usable(now).select_related("user"):
        yield _weighed(now, Credential(
            "token", str(row.pk), f"{row.prefix}…", row.user.username, "calls the reviewer’s REST door",
            row.created_at, row.last_used_at, row.uses, row.expires_at,
        ))  # fmt: skip


def _passkeys(now: datetime) -> Iterator[Credential]:
    for row in Passkey.objects.select_related("user"):
        detail = f"for {row.rp_id}{', synced' if row.synced else ''}"
        off = "" if row.user.is_active else "its person is switched off"
        yield _weighed(now, Credential(
            "passkey", str(row.pk), row.name, row.user.username, detail, row.created_at, row.last_used_at,
            row.count or None, look=WARN if off else FINE, why=off,
        ))  # fmt: skip


def _signing(now: datetime) -> Iterator[Credential]:
    signed = Checkpoint.objects.aggregate(first=Min("at"), last=Max("at"), count=Count("pk"))
    yield Credential(
        "signing", "log", keys.verifier_key().partition("+")[0], "this site",
        "signs the log’s checkpoints; read by the sequencer alone", signed["first"], signed["last"],
        signed["count"],
    )  # fmt: skip
    yield Credential(
        "signing", "kek", "key-encryption key", "this site",
        "seals secrets and the log’s payloads; a file outside of the database", _made(settings.AGENTSEC_KEK),
    )  # fmt: skip


def _token_keys(now: datetime) -> Iterator[Credential]:
    for key in signing_keys.listed(now):
        rotates = f"; a new one comes on {key.rotates_at:%d %b}" if key.rotates_at else ""
        yield Credential(
            "signing", key.kid, f"{key.alg} {key.kid[:12]}…", "this site",
            f"signs tokens for tools: {key.state}, {key.living_tokens} of them valid{rotates}",
            key.created_at, key.last_used_at, key.uses, key.signs_until,
        )  # fmt: skip


def _made(path: Path) -> datetime | None:
    """When a key file was written, as far as this process may look."""
    try:
        return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except OSError:
        return None


def _secrets(now: datetime) -> Iterator[Credential]:
    named = _named_by()
    past = dict(
        PastValue.objects.filter(usable_until__gt=now).values_list("name").annotate(Max("usable_until"))
    )
    for row in Secret.objects.select_related("owner"):
        told = [f"named by {', '.join(named[row.name])}" if row.name in named else "named by no tool"]
        if row.name in past:
            told.append(f"the value before works until {past[row.name]:%d %b, %H:%M} UTC")
        weighed = _weighed(now, Credential(
            "secret", row.name, row.name, _name(row.owner), "; ".join(told), row.rotated_at or row.created_at,
            row.last_used_at, row.uses, row.expires_at,
        ))  # fmt: skip
        yield _sound(row, weighed)


def _sound(row: Secret, found: Credential) -> Credential:
    """What a secret's value itself says: whether it opens, and whether it can be masked."""
    try:
        why = unfit(sealing.opened(row.name, bytes(row.sealed)).strip())
    except Refused:
        told = "it does not open under this site’s key: every output is held back until it is stored again"
        return _changed(found, DANGER, told)
    return _changed(found, DANGER, f"it is not masked where it turns up: {why}") if why else found


def _grants(now: datetime) -> Iterator[Credential]:
    for row in Grant.objects.alive().select_related("agent__owner"):
        stuck = row.state == Grant.State.REVOKING and row.attempts > 0
        late = f"ending it failed {row.attempts} times: {row.problem}" if stuck else ""
        yield Credential(
            "grant", str(row.pk), f"{row.agent.name}, {row.tool}", _name(row.agent.owner),
            f"by {row.issuer}" + (f" at {row.scope['source']}" if row.scope.get("source") else ""),
            row.minted_at, row.used_at, int(row.used_at is not None), row.expires_at,
            look=DANGER if stuck else FINE, why=late,
        )  # fmt: skip


SOURCES: tuple[Callable[[datetime], Iterator[Credential]], ...] = (
    _grants, _keys, _tokens, _secrets, _passkeys, _signing, _token_keys,
)  # fmt: skip


def _weighed(now: datetime, found: Credential) -> Credential:
    """With what its end and its last use say of it."""
    stage = concerns.stage_of(found.expires_at, now)
    idle = max(filter(None, (found.last_used, found.created_at)), default=now)
    days = settings.AGENTSEC_REVIEW_DAYS
    unused = found.kind in REMOVALS and idle < now - timedelta(days=days)
    if stage:
        said = "its time is over" if stage == "ended" else f"ends within {stage}"
        return _changed(found, DANGER if stage in _LATE else WARN, said, unused=unused)
    return _changed(found, WARN, f"nobody used it for {days} days", unused=True) if unused else found


def _changed(found: Credential, look: str, why: str, **more: Any) -> Credential:
    told = {**found.__dict__, "look": look, "why": "; ".join(filter(None, (why, found.why))), **more}
    return Credential(**told)


def _named_by() -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for tool, config in Tool.objects.order_by("name").values_list("name", "config"):
        for name in {str(config.get("source") or ""), *map(str, config.get("secrets") or ())} - {""}:
            named.setdefault(name, []).append(tool)
    return named


def _name(user: User | None) -> str:
    return user.username if user is not None else ""


def _key(key: str) -> AgentKey:
    usable = AgentKey.objects.usable(timezone.now()).select_related("agent")
    row: AgentKey | None = usable.filter(pk=key).first() if key.isdecimal() and len(key) < 19 else None
    if row is None:
        raise Refused("not_found", "There is no such key, or it has ended.")
    return row


def _revoke_key(key: str, user: User) -> None:
    row = _key(key)
    agents.revoke(agent=row.agent, prefix=row.prefix, by=actor(user))


def _revoke_token(key: str, user: User) -> None:
    rows = PersonalToken.objects.select_related("user")
    row = rows.filter(pk=key).first() if key.isdecimal() and len(key) < 19 else None
    if row is None:
        raise Refused("not_found", "There is no such token.")
    people.revoke_token(token=row, by=actor(user))


def _remove_secret(key: str, user: User) -> None:
    secrets.remove(name=key, by=actor(user))


def _end_grant(key: str, user: User) -> None:
    row = next((each for each in Grant.objects.alive().select_related("agent") if str(each.pk) == key), None)
    if row is None:
        raise Refused("not_found", "There is no such grant, or it has ended.")
    gone = grants.revoke(grant=row, why="ended by a person", actor=actor(user))
    results.settle(row)
    if not gone:
        raise Refused("unavailable", "It could not be taken back yet; this is tried again until it can.")


REMOVALS: Mapping[str, Callable[[str, User], None]] = {
    "grant": _end_grant,
    "key": _revoke_key,
    "token": _revoke_token,
    "secret": _remove_secret,
}
