"""What the chaos run counts would show what it looks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos import counting
from tests.chaos.counting import Counted
from tests.chaos.driving import Ledger, Proposed
from tests.chaos.kinds import Kind, kinds
from tests.chaos.service import KEY, Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def broken(service: Service, kind: str, *, seen: int, logged: int, state: str, **more: Any) -> set[str]:
    """The promises that are broken where one call of this kind came to that."""
    [found] = [item for item in kinds(service) if item.name == f"chaos.{kind}"]
    assert isinstance(found, Kind)
    ledger = Ledger([Proposed("1", "s", "c", found, "mark", {}, asked=False)])
    results = {"1": more["result"]} if "result" in more else {}
    counted = Counted(
        proposed=tuple(ledger.proposed), states={"1": state}, calls=Counter(["c"]),
        logged=Counter({"1": logged}), seen={"1": seen}, errors={"1": more.get("error", "")}, results=results,
    )  # fmt: skip
    return {check.promise for check in counting.of_actions(ledger, counted) if not check.held}


def test_a_statement_that_was_run_once_breaks_nothing(service: Service) -> None:
    assert broken(service, "sql", seen=1, logged=1, state="succeeded") == set()


def test_two_rows_of_one_call_are_two_starts(service: Service) -> None:
    told = broken(service, "sql", seen=2, logged=1, state="succeeded")
    assert told == {"nothing started twice", "no start that the log does not hold"}


def test_a_second_start_that_nobody_asked_for_is_seen_in_the_log_alone(service: Service) -> None:
    told = broken(service, "look", seen=2, logged=2, state="interrupted")
    assert "nobody started what nobody asked for again" in told


def test_a_failed_statement_that_wrote_is_told_from_one_whose_end_is_not_known(service: Service) -> None:
    said = {"seen": 1, "logged": 1, "state": "failed"}
    assert broken(service, "sql", **said, error="the database refused it") == {
        "a statement that failed changed nothing"
    }
    assert broken(service, "sql", **said, error="whether anything was changed is not known") == set()


def test_a_request_that_was_rejected_and_sent_is_seen(service: Service) -> None:
    assert "nothing ran without a yes" in broken(service, "http", seen=1, logged=1, state="rejected")


def test_a_secret_in_a_result_is_seen(service: Service) -> None:
    result = {"body": f"you said Bearer {KEY}"}
    assert broken(service, "pay", seen=1, logged=1, state="succeeded", result=result) == {
        "every result is right"
    }


def test_what_is_lost_is_seen(service: Service) -> None:
    assert broken(service, "python", seen=1, logged=1, state="running") == {
        "every accepted proposal reached an end"
    }


def test_the_service_knows_who_came_without_the_key(service: Service) -> None:
    assert (service.note("/paid/a/go", f"Bearer {KEY}"), service.note("/paid/b/go", "Bearer {{…}}")) == (
        200,
        401,
    )
    assert (service.count("a"), len(service.odd)) == (1, 1)
