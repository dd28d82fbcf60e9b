"""What needs attention among keys, secrets and grants: each is said once, and over when it is over.

An end that comes near is said two weeks, three days and one day before, and once it is there; a grant that
cannot be taken back as long as that is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from approvals.notice_models import NoticeKind, Outlet
from approvals.notify import routing
from approvals.warning_models import Warned, WarningNotice
from policies.models import AgentKey, Grant, PersonalToken, Role, Secret, User
from traces import record

STAGES = ((timedelta(0), "ended"), (timedelta(days=1), "1 day"), (timedelta(days=3), "3 days"),
          (timedelta(days=14), "14 days"))  # fmt: skip
SOON = STAGES[-1][0]
# What ended longer ago is known.
PAST = timedelta(days=3)
STUCK, FREE = "stuck", "gone"
# Of what ends by itself a moment later, nobody is told outside of the pages.
STUCK_ATTEMPTS = 3


@dataclass(frozen=True)
class Concern:
    """One thing to say: of which credential, what, of which end, to its owner and the administrators."""

    about: str
    stage: str
    said: str
    until: datetime | None = None
    owner: int | None = None


def stage_of(ends: datetime | None, now: datetime) -> str:
    """How near an end is, "" where it is far."""
    if ends is None:
        return ""
    return next((stage for left, stage in STAGES if ends - now <= left), "")


def expiring(now: datetime) -> Iterator[Concern]:
    """Keys, tokens and secrets that end soon, or ended a short while ago, unless they were revoked."""
    near = Q(expires_at__gt=now - PAST, expires_at__lte=now + SOON)
    for key in AgentKey.objects.filter(near, revoked_at=None).select_related("agent"):
        yield _ending(
            "key", key.pk, f"the key {key.prefix}… of {key.agent.name}", key, now, key.agent.owner_id
        )
    for token in PersonalToken.objects.filter(near, revoked_at=None).select_related("user"):
        yield _ending("token", token.pk, f"the token {token.prefix}…", token, now, token.user_id)
    for secret in Secret.objects.filter(near):
        yield _ending("secret", secret.name, f"the secret {secret.name}", secret, now, secret.owner_id)


def stuck() -> QuerySet[Grant]:
    """Grants that should be gone and that nobody could take back yet."""
    return Grant.objects.stuck().select_related("agent")


def note_expiring() -> int:
    """Say what nobody has said yet of ends that come near; how much that was."""
    return sum(say(concern) for concern in expiring(timezone.now()))


def note_stuck() -> int:
    """Say which grants cannot be ended, and which of those that were said so are gone now."""
    said = sum(say(_stuck(grant)) for grant in stuck().filter(attempts__gte=STUCK_ATTEMPTS))
    for warned in Warned.objects.filter(stage=STUCK, over_at=None):
        grant = Grant.objects.filter(pk=warned.about.partition(":")[2]).select_related("agent").first()
        if grant is None or grant.state == Grant.State.REVOKED:
            said += _end(warned)
    return said


@transaction.atomic
def say(concern: Concern) -> int:
    """Write it down and owe it to whom it concerns; 0 where it was said before. Appends `credential.warned`.

    Of two processes that notice it at once, one says it.
    """
    until = concern.until.isoformat() if concern.until else ""
    known = Warned.objects.filter(about=concern.about, stage=concern.stage, until=until, over_at=None)
    if known.exists():
        return 0
    body = {"about": concern.about, "stage": concern.stage, "said": concern.said, "until": until}
    entry = record.append(kind="credential.warned", actor="agentsec", body=body, title=concern.said, text="")
    said = {"stage": concern.stage, "until": until, "said": concern.said[:300]}
    row = Warned(about=concern.about, entry=entry.uuid, **said)
    Warned.objects.bulk_create([row], ignore_conflicts=True)
    warned = known.filter(entry=entry.uuid).first()
    if warned is None:
        transaction.set_rollback(True)
        return 0
    _owe(warned, _outlets(concern.owner))
    return 1


@transaction.atomic
def _end(warned: Warned) -> int:
    """What was said does not hold any more: whoever was told hears that, too."""
    if not Warned.objects.filter(pk=warned.pk, over_at=None).update(over_at=timezone.now()):
        return 0
    told = [notice.outlet for notice in warned.notices.filter(state=WarningNotice.State.SENT)]
    WarningNotice.objects.filter(warned=warned, state=WarningNotice.State.WAITING).delete()
    said = f"It is gone now: {warned.said}"[:300]
    body = {"about": warned.about, "stage": FREE, "said": said}
    entry = record.append(kind="credential.warning_over", actor="agentsec", body=body, title=said)
    over = Warned.objects.create(
        about=warned.about, stage=FREE, said=said, entry=entry.uuid, over_at=timezone.now()
    )
    _owe(over, told)
    return 1


def _owe(warned: Warned, outlets: Sequence[Outlet]) -> None:
    WarningNotice.objects.bulk_create([WarningNotice(warned=warned, outlet=outlet) for outlet in outlets])


def _outlets(owner: int | None) -> list[Outlet]:
    """Where the owner and the administrators want to be told of such things."""
    concerned = Q(roles__contains=[Role.ADMINISTRATOR]) | Q(pk=owner)
    people = list(User.objects.filter(concerned, is_active=True))
    routing.give_mailboxes(people)
    rows = Outlet.objects.filter(user__in=people, enabled=True, kinds__contains=[NoticeKind.CREDENTIAL])
    return list(rows)


def _ending(
    kind: str,
    key: object,
    name: str,
    row: AgentKey | PersonalToken | Secret,
    now: datetime,
    owner: int | None,
) -> Concern:
    stage, ends = stage_of(row.expires_at, now), row.expires_at
    verb = "ended" if stage == "ended" else "is to be replaced by" if kind == "secret" else "ends"
    said = f"{name[0].upper()}{name[1:]} {verb} {ends:%d %b %Y, %H:%M} UTC"
    return Concern(f"{kind}:{key}", stage, said, ends, owner)


def _stuck(grant: Grant) -> Concern:
    said = f"A grant of {grant.agent.name} for {grant.tool} cannot be ended: {grant.problem}"
    return Concern(f"grant:{grant.pk}", STUCK, said, None, grant.agent.owner_id)
