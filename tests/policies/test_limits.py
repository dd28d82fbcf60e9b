"""Limits hold under concurrency, tell when to come back, and touch nobody else."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from policies import agents, limits, sessions
from policies.models import Agent, Switch, Tool, Usage
from policies.tooling import ToolDef
from tests.cast import Cast
from traces.problems import Refused

NOON = datetime(2030, 5, 17, 12, 0, 20, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def an_agent(name: str = "scout", **fields: Any) -> Agent:
    agents.create_agent(name=name, by="operator")
    Agent.objects.filter(name=name).update(mode="standard", **fields)
    return Agent.objects.get(name=name)


@pytest.fixture
def scout(db: None) -> Agent:
    return an_agent(actions_per_minute=3, actions_per_day=5, pending=2)


def admit(agent: Agent, now: datetime = NOON, pending: Any = 0, tool: str = "") -> limits.UsageFacts:
    with transaction.atomic():
        return limits.admit(agent, now=now, pending=pending, tool=tool)


def refused(agent: Agent, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        admit(agent, **arguments)
    return caught.value


def test_an_action_is_counted_with_itself(scout: Agent) -> None:
    assert [admit(scout).minute for _ in range(3)] == [1, 2, 3]


def test_beyond_the_minute_it_is_told_how_many_seconds_to_wait(scout: Agent) -> None:
    for _ in range(3):
        admit(scout)
    refusal = refused(scout)
    assert (refusal.code, refusal.extra["retry_after"]) == ("limit", 40)


def test_the_next_minute_begins_anew_and_the_day_goes_on(scout: Agent) -> None:
    for _ in range(3):
        admit(scout)
    assert admit(scout, NOON + timedelta(minutes=1)) == limits.UsageFacts(minute=1, day=4, pending=0)


def test_beyond_the_day_it_is_told_to_wait_for_the_next(scout: Agent) -> None:
    for minute in range(5):
        admit(scout, NOON + timedelta(minutes=minute))
    refusal = refused(scout, now=NOON + timedelta(minutes=5))
    assert refusal.extra["retry_after"] == 11 * 3600 + 54 * 60 + 40


def test_the_first_minute_of_a_day_is_not_the_day(scout: Agent) -> None:
    midnight = NOON.replace(hour=0)
    assert [admit(scout, midnight), admit(scout, midnight)][-1] == limits.UsageFacts(
        minute=2, day=2, pending=0
    )


def test_too_many_waiting_actions_are_refused(scout: Agent) -> None:
    assert refused(scout, pending=2).code == "limit"


@pytest.mark.django_db(transaction=True)
def test_waiting_actions_are_counted_under_the_lock() -> None:
    scout, seen = an_agent(), []

    def another_call() -> None:
        try:
            with transaction.atomic():
                Agent.objects.select_for_update(no_key=True, nowait=True).get(pk=scout.pk)
            seen.append("free")
        except OperationalError:
            seen.append("locked")
        finally:
            connection.close()

    def count() -> int:
        thread = threading.Thread(target=another_call)
        thread.start()
        thread.join()
        return 1

    assert (admit(scout, pending=count).pending, seen) == (1, ["locked"])


def test_a_refused_action_is_not_counted(scout: Agent) -> None:
    refused(scout, pending=2)
    assert admit(scout).minute == 1


def test_one_agents_flood_is_not_anothers(scout: Agent) -> None:
    other = an_agent("other")
    for _ in range(3):
        admit(scout)
    refused(scout)
    assert admit(other).minute == 1


@pytest.mark.django_db(transaction=True)
def test_admitting_needs_the_transaction_of_the_action() -> None:
    scout = an_agent()
    with pytest.raises(transaction.TransactionManagementError):
        limits.admit(scout, now=NOON, pending=0)


def test_old_windows_are_forgotten(scout: Agent) -> None:
    for hour in range(5):
        admit(scout, NOON + timedelta(hours=hour))
    assert Usage.objects.filter(window="minute").count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_thirty_calls_at_once_exactly_the_limit_gets_in() -> None:
    scout, outcomes = an_agent(actions_per_minute=7), []

    def call() -> None:
        try:
            admit(scout)
            outcomes.append("in")
        except Refused as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("in"), outcomes.count("limit")) == (7, 23)


# Modes and the kill switch


def deploy(effect: str = "destructive") -> ToolDef:
    return ToolDef(name="deploy", effect=effect)


def test_a_paused_agent_is_refused_whatever_the_caller_still_believes(scout: Agent) -> None:
    Agent.objects.update(mode="paused")
    assert refused(scout).code == "forbidden"


@pytest.mark.parametrize("scope", ["all", "agent:scout", "tool:deploy"])
def test_the_kill_switch_stops_what_it_names(scout: Agent, scope: str) -> None:
    limits.stop(scope=scope, reason="a drill", by="operator")
    assert "a drill" in refused(scout, tool="deploy").detail and "a drill" in limits.held(scout, deploy())


@pytest.mark.parametrize("scope", ["agent:other", "tool:other", "agent:scout2"])
def test_the_kill_switch_stops_nothing_else(scout: Agent, scope: str) -> None:
    limits.stop(scope=scope, reason="", by="operator")
    assert limits.held(scout, deploy()) == ""


def test_what_was_stopped_runs_again_when_the_switch_is_lifted(scout: Agent) -> None:
    limits.stop(scope="all", reason="", by="operator")
    limits.lift(scope="all", by="operator")
    assert limits.held(scout, deploy()) == ""


@pytest.mark.parametrize("scope", ["", "everything", "agent:", "team:x", "agent"])
def test_a_switch_names_something(scope: str) -> None:
    with pytest.raises(Refused):
        limits.stop(scope=scope, reason="", by="operator")
    assert not Switch.objects.exists()


def test_a_paused_tool_is_refused_without_a_release(scout: Agent) -> None:
    tool = Tool.objects.create(name="deploy")
    limits.pause_tool(tool=tool, paused=True, by="operator")
    assert refused(scout, tool="deploy").detail == "The tool deploy is paused."


@pytest.mark.parametrize(("mode", "effect", "blocked"), [
    ("read_only", "read", False), ("read_only", "write", True), ("read_only", "destructive", True),
    ("standard", "destructive", False), ("paused", "read", True),
])  # fmt: skip
def test_a_mode_blocks_what_it_does_not_allow(scout: Agent, mode: str, effect: str, blocked: bool) -> None:
    scout.mode = mode
    assert (limits.mode_block(scout, deploy(effect)) is not None) is blocked


def test_a_reading_agent_may_not_call_what_nobody_declared(scout: Agent) -> None:
    scout.mode = "read_only"
    assert (
        limits.mode_block(scout, ToolDef.undeclared("x"))
        == "the agent scout may only read, and x counts as destructive"
    )


def test_refusals_are_counted_by_the_day(scout: Agent) -> None:
    assert [limits.count_refusal(scout) for _ in range(3)] == [1, 2, 3]


def test_refusals_do_not_use_up_the_limit(scout: Agent) -> None:
    limits.count_refusal(scout)
    assert limits.usage(scout, now=timezone.now()).day == 0


def test_a_flood_of_text_is_stopped_and_other_agents_do_not_notice(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspecting a mebibyte takes seconds, and no number of actions bounds what else an agent sends."""
    monkeypatch.setattr(limits, "TEXT_A_MINUTE", 1_000)
    session, other = cast.session(), Agent.objects.create(name="quiet")
    say = {"agent": cast.agent, "key": cast.key, "session": session, "kind": "reasoning"}
    sessions.add_event(**say, text="x" * 900)
    with pytest.raises(Refused) as refused:
        sessions.add_event(**say, text="x" * 900)
    assert (refused.value.code, refused.value.extra["retry_after"] <= 60) == ("limit", True)
    with pytest.raises(Refused, match="text a minute"):
        cast.propose("email.send", {"to": ["a@example.com"], "subject": "", "body": "x" * 900})
    limits.admit_text(other, octets=900)
