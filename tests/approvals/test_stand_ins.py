"""Away, with a stand-in: who decides what for whom, and what a forged absence is worth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from approvals import decisions, queries, starting
from approvals.models import Action
from policies import absences, access, people
from policies.absence_models import Absence
from policies.models import User
from tests.cast import Cast, person
from traces import record
from traces.ids import uuid7
from traces.models import Entry
from traces.problems import Refused


def fresh(user: User) -> User:
    """As the next request would read them."""
    return User.objects.get(pk=user.pk)


def away(user: User, stand_in: User | None, *, days: int = 3, begins: int = 0) -> Absence:
    now = timezone.now()
    since = now + timedelta(days=begins)
    return absences.go_away(
        user=user, since=since, until=since + timedelta(days=days), stand_in=stand_in, by=access.actor(user)
    )


def approve(action: Action, user: User) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest")


@pytest.fixture
def zoe(cast: Cast) -> User:
    """Somebody of another group."""
    return person("zoe", "archive")


def test_the_stand_in_sees_and_decides(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    assert queries.inbox(fresh(zoe)).get() == action
    assert approve(action, fresh(zoe)).effect == "approved"
    told = record.open_payload(Entry.objects.get(kind="vote.approve"))
    assert (told["group"], told["stands_in_for"]) == ("comms", ["ada"])


def test_that_starts(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    approve(action, fresh(zoe))
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Held) and "checkpoint" in outcome.why


def test_before_and_after_the_stand_in_sees_nothing(cast: Cast, zoe: User) -> None:
    cast.mass_mail()
    away(cast.approver, zoe, begins=2)
    assert not queries.inbox(fresh(zoe)).exists()
    Absence.objects.update(since=timezone.now() - timedelta(days=2), until=timezone.now())
    assert not queries.inbox(fresh(zoe)).exists()


def test_who_is_away_may_still_vote(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    assert approve(action, fresh(cast.approver)).effect == "approved"


def test_a_stand_in_of_the_same_group_counts_once(cast: Cast) -> None:
    action = cast.order()  # two of finance
    away(cast.approver, cast.second)
    assert approve(action, fresh(cast.second)).effect == "counted"
    with pytest.raises(Refused, match="voted"):
        approve(action, fresh(cast.second))


def test_it_goes_one_step(cast: Cast, zoe: User) -> None:
    cast.mass_mail()
    away(cast.approver, cast.second)
    away(cast.second, zoe)
    assert not queries.inbox(fresh(zoe)).filter(tool="email.send").exists()


def test_nobody_stands_in_for_who_stands_in_for_them(cast: Cast) -> None:
    away(cast.approver, cast.second)
    with pytest.raises(Refused, match="away then too"):
        away(cast.second, cast.approver)


@pytest.mark.parametrize("name", ["olga", "ada", "gone"])
def test_an_unfit_stand_in_is_refused(cast: Cast, name: str) -> None:
    gone = person("gone", "comms")
    people.set_active(user=gone, active=False, by="tests")
    with pytest.raises(Refused):
        away(cast.approver, User.objects.get(username=name))


def test_coming_back_ends_it(cast: Cast, zoe: User) -> None:
    cast.mass_mail()
    away(cast.approver, zoe)
    absences.come_back(user=cast.approver, by=access.actor(cast.approver))
    assert not queries.inbox(fresh(zoe)).exists()
    assert absences.of(cast.approver) is None


def test_who_is_switched_off_has_no_stand_in(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    approve(action, fresh(zoe))
    people.set_active(user=cast.approver, active=False, by="tests")
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "zoe may no longer decide for comms" in outcome.why


def test_an_absence_that_nobody_said_starts_nothing(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    now = timezone.now()
    Absence.objects.create(
        user=cast.approver, stand_in=zoe, since=now - timedelta(1), until=now + timedelta(1), entry=uuid7()
    )
    approve(action, fresh(zoe))
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "ada was away" in outcome.why


def test_nor_one_whose_stand_in_was_exchanged(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, cast.second)
    Absence.objects.update(stand_in=zoe)
    approve(action, fresh(zoe))
    assert isinstance(starting.start(action_id=action.pk, worker="tests"), starting.Dropped)


def test_nor_one_that_was_ended(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    absences.come_back(user=cast.approver, by="user:1")
    Absence.objects.update(ended_at=None)
    approve(action, fresh(zoe))
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Dropped) and "back by then" in outcome.why


def test_a_vote_given_while_standing_in_outlives_the_return(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    approve(action, fresh(zoe))
    absences.come_back(user=cast.approver, by="user:1")
    outcome = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(outcome, starting.Held)


def test_a_stand_in_allows_nothing_for_a_while(cast: Cast, zoe: User) -> None:
    action = cast.mass_mail()
    away(cast.approver, zoe)
    with pytest.raises(Refused, match="only who is in comms"):
        decisions.approve(
            action_id=action.pk, user=fresh(zoe), digest=action.digest, channel="rest", for_minutes=5
        )


def test_two_absences_at_once_are_one_too_many(cast: Cast, zoe: User) -> None:
    away(cast.approver, zoe)
    with pytest.raises(Refused, match="stands already"):
        away(cast.approver, None)


def test_an_absence_ends_after_it_begins(cast: Cast) -> None:
    with pytest.raises(Refused, match="after it begins"):
        away(cast.approver, None, days=-1)


def test_the_end_of_time_is_too_late(cast: Cast) -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    with pytest.raises(Refused, match="within a year"):
        absences.go_away(user=cast.approver, since=late, until=late + timedelta(minutes=1), by="user:1")
