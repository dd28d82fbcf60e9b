"""Limits that several share: over a tool, a group, a sum of money. many calls at once pass none by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from approvals import decisions, pipeline
from approvals.models import Action
from policies import agents, budgets, sessions, world
from policies.limit_models import Charge, Limit, Tally
from policies.models import Agent, AgentKey
from policies.world import WorldRefused
from tests.cast import Cast
from tests.lengths import LONG
from traces.models import Entry, Session
from traces.problems import Refused

CALLS = 64 if LONG else 24


def limit(text: str) -> Limit:
    world.apply(f"limits:\n  - {{name: shared, {text}}}\n", by="tests")
    return Limit.objects.get(name="shared")


def refusal(cast: Cast, **order: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        cast.order(**order)
    return caught.value


def read(cast: Cast, number: int = 1) -> Action:
    return cast.propose("notes.read", {"id": number})


def total() -> Decimal:
    return Tally.objects.get(window="day").total


# One after the other


def test_a_tool_takes_so_many_calls_a_minute(cast: Cast) -> None:
    limit("tool: notes.read, per_minute: 2")
    read(cast), read(cast)
    with pytest.raises(Refused) as caught:
        read(cast)
    assert (caught.value.code, caught.value.extra["limit"]) == ("limit", "shared")
    assert 1 <= caught.value.extra["retry_after"] <= 60


def test_a_pattern_counts_its_tools_together(cast: Cast) -> None:
    limit("tool: '*.place', per_day: 1")
    cast.order()
    assert refusal(cast).code == "limit"
    assert read(cast).state == "ready"


def test_a_group_waits_for_so_many_answers_together(cast: Cast) -> None:
    limit("group: finance, pending: 1")
    cast.order()
    assert "waiting for people" in refusal(cast).detail


def test_money_is_added_up_to_the_very_limit(cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    cast.order(600), cast.order(400)
    assert refusal(cast, amount=1).detail == "The limit shared is 1000 of amount a day, 1000 are taken."


def test_what_is_refused_takes_nothing(cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    refusal(cast, amount=1001)
    assert cast.order(1000).state == "pending"


def test_a_rejected_order_gives_its_money_back(committed_cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    order, by = committed_cast.order(900), committed_cast.approver
    decisions.reject(action_id=order.pk, user=by, digest=order.digest, comment="too much")
    assert (total(), committed_cast.order(1000).state) == (0, "pending")


def test_an_order_that_policy_blocks_takes_no_money(cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    blocked = cast.propose("order.place", {"supplier": "a casino", "amount": 900})
    assert (blocked.state, total()) == ("blocked", 0)


def test_an_edit_cannot_raise_the_sum_beyond_the_limit(cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    order = cast.order(500)
    edit = {"action_id": order.pk, "user": cast.approver, "digest": order.digest}
    with pytest.raises(Refused, match="limit"):
        decisions.edit(**edit, args={**order.args, "amount": 1001})
    decisions.edit(**edit, args={**order.args, "amount": 800})
    assert (total(), Charge.objects.get().amount) == (800, 800)


def test_equal_calls_under_one_key_are_counted_once(cast: Cast) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    session, args = cast.session(), {"supplier": "Acme", "amount": 900}
    for _ in range(2):
        cast.propose("order.place", args, session=session, idempotency_key="once")
    assert total() == 900


@pytest.mark.parametrize(
    ("args", "path", "amount"),
    [
        ({"amount": 12}, "amount", "12"),
        ({"amount": 0.1}, "amount", "0.1"),
        ({"amount": "99.50"}, "amount", "99.50"),
        ({"lines": [{"amount": 1}, {"amount": 2.5}, {}]}, "lines.amount", "3.5"),
        ({"amount": 1e-30}, "amount", "0.000001"),
        ({}, "amount", "0"),
        ({"amount": None}, "amount", "0"),
    ],
)
def test_amounts_are_added_exactly(args: dict[str, Any], path: str, amount: str) -> None:
    assert budgets.amount_of(args, path) == Decimal(amount)


@pytest.mark.parametrize(
    "value", [-1, "-1", "1e3", "NaN", "1,000", "", "٣", True, {}, {"x": 1}, 1e31, [5, -5], [["x"]]]
)
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(Refused, match="invalid"):
        budgets.amount_of({"amount": value}, "amount")


def test_a_path_into_something_else_is_refused() -> None:
    with pytest.raises(Refused, match="invalid"):
        budgets.amount_of({"lines": "900"}, "lines.amount")


# The world file


def test_a_limit_is_dumped_as_it_was_applied(cast: Cast) -> None:
    limit("tool: order.place, group: finance, per_day: 5, sum_of: amount, sum_per_day: 99.5")
    assert world.apply(world.dump(), by="tests").changes == []
    assert Limit.objects.get().sum_per_day == Decimal("99.5")


def test_a_changed_limit_is_in_the_log(cast: Cast) -> None:
    limit("tool: order.place, per_day: 5")
    limit("tool: order.place, per_day: 6")
    world.apply("limits:\n  - {name: shared, absent: true}\n", by="tests")
    assert Entry.objects.filter(kind="limit.changed").count() == 3 and not Limit.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        "per_day: 5", "tool: x", "tool: x, sum_of: amount", "tool: x, sum_per_day: 5", "tool: x, per_day: -1",
        "group: x, sum_of: a, sum_per_day: 5", "tool: x, sum_of: a, sum_per_day: -5",
        "tool: x, sum_of: a, sum_per_day: .inf", "tool: x, per_hour: 5",
    ],
)  # fmt: skip
def test_a_limit_that_says_nothing_clear_is_refused(db: None, wrong: str) -> None:
    with pytest.raises(WorldRefused):
        limit(wrong)


# All at once


@pytest.fixture
def crowd(committed_cast: Cast) -> list[tuple[Agent, AgentKey, Session]]:
    """Eight agents of one team, each with a session."""
    names = [f"clerk{number}" for number in range(8)]
    world.apply("agents:\n" + "".join(
        f"  - {{name: {name}, team: finance, mode: standard, limits: {{actions_per_minute: 1000}}}}\n"
        for name in names), by="tests")  # fmt: skip
    found = []
    for agent in Agent.objects.filter(name__in=names):
        key = agents.authenticate_key(agents.issue_key(agent, ["act", "attest"], by="tests"))
        told: dict[str, Any] = {"purpose": "", "user": "", "external_id": "", "parent": None}
        found.append((agent, key, sessions.open_session(agent=agent, key=key, **told)))
    return found


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Noon of today for the pipeline, so that no run meets the end of a minute."""
    moment = timezone.now().replace(second=1, microsecond=0)
    monkeypatch.setattr(timezone, "now", lambda: moment)
    yield


def storm(crowd: list[tuple[Agent, AgentKey, Session]], tool: str, args: dict[str, Any]) -> Counter[str]:
    """Calls of eight agents at the same moment; how many were let in, and why the others were not."""
    gate = Barrier(CALLS)

    def call(number: int) -> str:
        agent, key, session = crowd[number % len(crowd)]
        gate.wait(60)
        try:
            pipeline.propose(agent=agent, key=key, session_id=session.pk, tool=tool, args=args)
            return "in"
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CALLS) as pool:
        return Counter(pool.map(call, range(CALLS)))


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("tool: order.place, per_minute: 13", 13),
        ("tool: order.place, per_day: 17", 17),
        ("tool: 'order.*', pending: 11", 11),
        ("group: finance, per_minute: 7", 7),
        ("group: finance, per_day: 9", 9),
        ("group: finance, pending: 10", 10),
        ("agent: clerk0, per_day: 2", CALLS - CALLS // 8 + 2),
        ("tool: order.place, sum_of: amount, sum_per_day: 1000", 14),
        ("tool: order.place, group: finance, sum_of: amount, sum_per_day: 69.99", 0),
    ],
)
def test_of_many_calls_at_once_exactly_the_limit_gets_in(
    crowd: list[tuple[Agent, AgentKey, Session]], early: None, text: str, most: int
) -> None:
    limit(text)
    outcomes = storm(crowd, "order.place", {"supplier": "Acme", "item": "paper", "amount": 70})
    assert outcomes == Counter({"in": most, "limit": CALLS - most})
    assert Action.objects.count() == most


def test_two_limits_that_cross_neither_deadlock_nor_pass(
    crowd: list[tuple[Agent, AgentKey, Session]], early: None
) -> None:
    world.apply(
        "limits:\n  - {name: b, group: finance, per_day: 20}\n"
        "  - {name: a, tool: 'order.*', sum_of: amount, sum_per_day: 1000}\n",
        by="tests",
    )
    outcomes = storm(crowd, "order.place", {"supplier": "Acme", "item": "paper", "amount": 70})
    assert outcomes == Counter({"in": 14, "limit": CALLS - 14})


def test_rejections_while_calls_come_in_lose_no_cent(
    crowd: list[tuple[Agent, AgentKey, Session]], committed_cast: Cast, early: None
) -> None:
    limit("tool: order.place, sum_of: amount, sum_per_day: 1000")
    storm(crowd, "order.place", {"supplier": "Acme", "item": "paper", "amount": 70})

    def reject(action: Action) -> None:
        try:
            decisions.reject(
                action_id=action.pk, user=committed_cast.approver, digest=action.digest, comment="no"
            )
        finally:
            connections.close_all()

    pending = list(Action.objects.pending())
    with ThreadPoolExecutor(8) as pool:
        rejections = [pool.submit(reject, action) for action in pending]
        outcomes = storm(crowd, "order.place", {"supplier": "Acme", "item": "ink", "amount": 70})
        for rejection in rejections:
            rejection.result()
    assert total() == 70 * outcomes["in"] == 70 * Action.objects.pending().count()


def test_old_windows_are_forgotten(cast: Cast) -> None:
    shared = limit("tool: notes.read, per_minute: 5")
    for hours in (30, 20, 0):
        now = timezone.now() - timedelta(hours=hours)
        budgets.admit(agent=cast.agent, tool="notes.read", args={}, now=now, waiting=lambda _: 0)
    assert shared.tallies.filter(window="minute").count() == 1
