"""Who is told: occasions whose time has come become notices to outlets.

People hear of what their groups are asked, unless they have voted; groups have channels of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from approvals import word
from approvals.models import Action, Vote
from approvals.notice_models import Notice, NoticeKind, Occasion, Outlet
from approvals.notify import relevance
from approvals.notify.channels import CHANNELS
from approvals.notify.occasions import expiring_at
from policies import absences
from policies.absence_models import Absence, in_force
from policies.models import Role, User

BATCH = 50
MAIL = "email"
# How a rule names the person whom a session serves.
SUBJECT = "@user"
HEAVY = ("action__args_json", "action__facts_json", "action__origins_json", "action__verdict_json")
K = NoticeKind


@dataclass(frozen=True)
class Directory:
    """Everybody whom a batch of occasions may concern, read at once."""

    people: dict[int, User]
    of_people: dict[int, list[Outlet]]
    of_groups: dict[str, list[Outlet]]
    voted: frozenset[tuple[UUID, int]]
    told: frozenset[tuple[UUID, UUID]]

    def outlets(self, occasion: Occasion) -> Iterator[Outlet]:
        """The outlets that hear of it, before what each one wants."""
        asked = frozenset(occasion.groups)
        for group in occasion.groups:
            yield from self.of_groups.get(group, ())
        for user in self.people.values():
            member = bool(asked & user.answers_for) and user.has_role(Role.APPROVER)
            done = (occasion.action_id, user.pk) in self.voted or user.username == occasion.action.decided_by
            if (member or user.pk in occasion.users) and not done:
                yield from self.of_people.get(user.pk, ())


@transaction.atomic
def route(*, now: datetime) -> int:
    """Turn what is due into notices; how many occasions were worked off.

    Locks the occasions, passing by those that another sender has. One that expires later than it seemed,
    since its deadline was moved, waits on.
    """
    due = Occasion.objects.select_for_update(skip_locked=True, of=("self",)).filter(due_at__lte=now)
    light = due.select_related("action__session", "action__agent").defer(*HEAVY)
    found = list(light.order_by("due_at", "id")[:BATCH])
    postponed = {each.pk for each in found if _postponed(each, now)}
    ready = [each for each in found if each.pk not in postponed]
    live = [each for each in ready if not relevance.over(each.action, each.kind, now=now)]
    live += _own_words(live)
    if live:
        known = _directory(live)
        rows = [row for occasion in live for row in _notices(occasion, known, now)]
        Notice.objects.bulk_create(rows, ignore_conflicts=True)
    Occasion.objects.filter(pk__in=[each.pk for each in ready]).delete()
    return len(ready)


def _postponed(occasion: Occasion, now: datetime) -> bool:
    """Whether it expires so much later by now that it is too early to say so; then its time is moved."""
    if occasion.kind != K.EXPIRING:
        return False
    soon = expiring_at(occasion.action, since=occasion.action.created_at)
    if soon <= now:
        return False
    Occasion.objects.filter(pk=occasion.pk).update(due_at=soon)
    return True


def _own_words(occasions: Sequence[Occasion]) -> list[Occasion]:
    """Where a rule asks the person whom a session serves, that person is told of it as such."""
    asking = [each for each in occasions if each.kind == K.ASKED and SUBJECT in each.groups]
    names = {each.action.session.user for each in asking}
    served = User.objects.filter(username__in=names, is_active=True) if names else ()
    return [
        Occasion(action=each.action, kind=K.USER_WORD, users=[user.pk])
        for each in asking
        for user in served
        if word.is_served(user, each.action.session)
    ]


def _notices(occasion: Occasion, known: Directory, now: datetime) -> Iterator[Notice]:
    for outlet in known.outlets(occasion):
        heard = (occasion.action_id, outlet.pk) in known.told
        wanted = occasion.kind in outlet.kinds and (heard or occasion.kind != K.DECIDED)
        if wanted and relevance.may_hear(outlet, occasion.action, occasion.kind):
            yield Notice(outlet=outlet, action=occasion.action, kind=occasion.kind, due_at=now)


def _directory(occasions: Sequence[Occasion]) -> Directory:
    groups = {group for occasion in occasions for group in occasion.groups}
    named = {user for occasion in occasions for user in occasion.users}
    actions = {occasion.action_id for occasion in occasions}
    people = _people(groups, named)
    give_mailboxes(people.values())
    of_people: defaultdict[int, list[Outlet]] = defaultdict(list)
    of_groups: defaultdict[str, list[Outlet]] = defaultdict(list)
    usable = [name for name, channel in CHANNELS.items() if channel.available()]
    concerned = Q(user__in=people) | Q(group__name__in=groups)
    for outlet in Outlet.objects.select_related("group").filter(concerned, enabled=True, channel__in=usable):
        if outlet.group is not None:
            of_groups[outlet.group.name].append(outlet)
        elif outlet.user_id is not None and (outlet.channel != MAIL or people[outlet.user_id].email):
            outlet.user = people[outlet.user_id]
            of_people[outlet.user_id].append(outlet)
    return Directory(people, of_people, of_groups, _voted(actions), _told(actions))


def _people(groups: set[str], named: set[int]) -> dict[int, User]:
    away = Absence.objects.filter(in_force(timezone.now()), user__groups__name__in=groups)
    answering = Q(groups__name__in=groups) | Q(pk__in=away.values("stand_in"))
    members = answering & Q(roles__contains=[Role.APPROVER])
    rows = (
        User.objects.filter(members | Q(pk__in=named), is_active=True).distinct().prefetch_related("groups")
    )
    found = {user.pk: user for user in rows}
    for user in found.values():
        user._group_names = frozenset(group.name for group in user.groups.all())
    absences.read_for(found.values())
    return found


def give_mailboxes(people: Iterable[User]) -> None:
    """Whoever has an address is told by mail until they choose otherwise."""
    if not CHANNELS[MAIL].available():
        return
    wanting = [user for user in people if user.email]
    have = set(Outlet.objects.filter(channel=MAIL, user__in=wanting).values_list("user_id", flat=True))
    fresh = [Outlet(channel=MAIL, user=user, made_by="agentsec") for user in wanting if user.pk not in have]
    Outlet.objects.bulk_create(fresh, ignore_conflicts=True)


def _voted(actions: set[UUID]) -> frozenset[tuple[UUID, int]]:
    rows = Vote.objects.filter(action__in=actions, void=False, action__state=Action.State.PENDING)
    return frozenset(rows.values_list("action_id", "user_id"))


def _told(actions: set[UUID]) -> frozenset[tuple[UUID, UUID]]:
    rows = Notice.objects.filter(action__in=actions, state=Notice.State.SENT)
    return frozenset(rows.values_list("action_id", "outlet_id"))
