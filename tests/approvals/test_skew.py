"""Processes whose own clock is minutes off: what several of them decide together goes by one clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from approvals import clock, decisions, starting
from approvals.egress.gate import RunGate
from approvals.models import Action, Execution
from policies import agents, grants
from policies.models import AgentKey, Grant
from tests.approvals.test_later import MAIL
from tests.cast import Cast
from traces import dbtime
from traces.models import Entry
from traces.problems import Refused

Off = Callable[[int], None]
OFF = pytest.mark.parametrize("minutes", [-5, 5])
SOON = timedelta(seconds=2)


def right() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Off:
    """This process's clock is so many minutes ahead from now on, and it is told of the database's."""

    def turn(minutes: int) -> None:
        monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(minutes=minutes))
        dbtime.follow(dbtime.of_database)

    return turn


@OFF
def test_a_planned_call_starts_when_it_is_time_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    soon, past = (
        cast.propose("script.run", {"code": str(code)}, not_before=right() + timedelta(minutes=code))
        for code in (2, 3)
    )
    Action.objects.filter(pk=past.pk).update(not_before=right() - timedelta(seconds=1))
    off(minutes)
    assert isinstance(starting.start(action_id=soon.pk, worker="w"), starting.Held)
    assert not Action.objects.startable(dbtime.now()).filter(pk=soon.pk).exists()
    assert Action.objects.startable(dbtime.now()).filter(pk=past.pk).exists()


@OFF
def test_an_approval_holds_until_its_end_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    living, over = cast.propose("script.run", {"code": "1"}), cast.propose("script.run", {"code": "2"})
    Action.objects.filter(pk=living.pk).update(deadline=right() + timedelta(minutes=1))
    Action.objects.filter(pk=over.pk).update(deadline=right() - timedelta(seconds=1))
    off(minutes)
    assert isinstance(starting.start(action_id=living.pk, worker="w"), starting.Started)
    assert starting.start(action_id=over.pk, worker="w") == starting.Dropped("it did not start in time")


@OFF
def test_people_answer_until_the_end_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    living, over = cast.mass_mail(), cast.mass_mail()
    Action.objects.filter(pk=living.pk).update(deadline=right() + timedelta(minutes=1))
    Action.objects.filter(pk=over.pk).update(deadline=right() - timedelta(seconds=1))
    off(minutes)
    clock.expire(dbtime.now())
    assert Action.objects.get(pk=over.pk).state == "expired"
    decisions.approve(action_id=living.pk, user=cast.approver, digest=living.digest, channel="rest")
    assert Action.objects.get(pk=living.pk).state == "ready"


@OFF
def test_a_new_start_is_alive_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    """A worker that is slow writes its first heartbeat as the others read it."""
    off(minutes)
    began = starting.start(action_id=cast.propose("script.run", {"code": "1"}).pk, worker="w")
    assert isinstance(began, starting.Started) and clock.recover(dbtime.now()) == 0
    assert abs(Execution.objects.get().heartbeat_at - right()) < SOON
    assert abs(Grant.objects.get().expires_at - right() - timedelta(minutes=grants.DEFAULT_MINUTES)) < SOON


@OFF
def test_a_privilege_ends_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    began = starting.start(action_id=cast.propose("script.run", {"code": "1"}).pk, worker="w")
    assert isinstance(began, starting.Started)
    off(minutes)
    about = {"action_id": began.action.pk, "fence": began.execution.fence}
    Grant.objects.update(expires_at=right() + timedelta(minutes=1))
    assert grants.alive(action_id=began.action.pk) == began.grant == grants.hold(**about)
    assert clock.reap(dbtime.now()) == 0 and RunGate(began.execution, began.grant)._holds()
    Grant.objects.update(minted_at=right() - timedelta(minutes=1), expires_at=right() - timedelta(seconds=1))
    assert grants.alive(action_id=began.action.pk) is None
    assert not RunGate(began.execution, began.grant)._holds()
    with pytest.raises(Refused):
        grants.use(digest=began.action.digest, **about)
    assert clock.reap(dbtime.now()) == 1


@OFF
def test_a_key_ends_by_the_database(cast: Cast, off: Off, minutes: int) -> None:
    off(minutes)
    AgentKey.objects.update(expires_at=right() + timedelta(minutes=1))
    assert agents.authenticate_key(cast.raw_key) == cast.key
    AgentKey.objects.update(expires_at=right() - timedelta(seconds=1))
    assert agents.authenticate_key(cast.raw_key) is None


@OFF
def test_the_log_tells_the_time_of_the_database(cast: Cast, off: Off, minutes: int) -> None:
    off(minutes)
    cast.propose("email.send", MAIL)
    assert abs(Entry.objects.latest("id").at - right()) < SOON
    assert abs(Action.objects.get().created_at - right()) < SOON


def test_how_far_a_clock_is_off_can_be_asked(cast: Cast, off: Off) -> None:
    off(5)
    assert abs(dbtime.skew() - 300) < 2


# How the time is read


def test_it_counts_on_by_itself_and_looks_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    at, asked, gone = right(), [], [100.0]
    monkeypatch.setattr(dbtime, "steady", lambda: gone[0])
    dbtime.follow(lambda: asked.append(1) or at)  # type: ignore[func-returns-value]
    assert dbtime.now() == at
    gone[0] += 20
    assert dbtime.now() == at + timedelta(seconds=20) and len(asked) == 1
    gone[0] += 20
    assert dbtime.now() == at and len(asked) == 2


def test_a_database_that_is_away_is_waited_for_by_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    at, gone, away = right(), [0.0], [True]
    monkeypatch.setattr(dbtime, "steady", lambda: gone[0])

    def read() -> datetime:
        if away[0]:
            raise OperationalError("away")
        return at

    dbtime.follow(read)
    with pytest.raises(OperationalError):
        dbtime.now()
    away[0] = False
    assert dbtime.now() == at
    away[0], gone[0] = True, 3600.0
    assert dbtime.now() == at + timedelta(hours=1)


def test_a_coroutine_asks_nothing_of_the_database() -> None:
    at = right() - timedelta(hours=1)
    dbtime.follow(lambda: at)
    dbtime.now()

    async def ask() -> datetime:
        dbtime.follow(lambda: pytest.fail("it asked"))
        return dbtime.now()

    assert abs(asyncio.run(ask()) - right()) < SOON
