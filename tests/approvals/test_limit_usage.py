"""The page of limits: what is used, when it starts anew, who ran into it, and who may look."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pytest_django import DjangoAssertNumQueries

from approvals import limit_usage
from approvals.limit_usage import Line
from policies.limit_models import Hit, Limit
from tests.approvals.test_views import browser, text
from tests.cast import Cast, person
from traces.problems import Refused


def gauges(line: Line) -> dict[str, tuple[str, str]]:
    return {gauge.ceiling: (gauge.used_words, gauge.most_words) for gauge in line.gauges}


def limit(**given: object) -> Limit:
    return Limit.objects.create(**{"name": "orders", "tool": "order.*", **given})


def test_calls_and_what_waits_are_counted_against_each_ceiling(cast: Cast) -> None:
    limit(per_minute=10, per_day=20, pending=5)
    cast.order()
    cast.propose("notes.read", {"id": 1})
    assert gauges(limit_usage.shared()[0]) == {
        "per_minute": ("1", "10"), "per_day": ("1", "20"), "pending": ("1", "5"),
    }  # fmt: skip
    own = gauges(limit_usage.of_agents()[0])
    assert (own["per_minute"], own["per_day"], own["pending"]) == (
        ("2", "1,000"),
        ("2", "5,000"),
        ("1", "500"),
    )


def test_a_sum_is_shown_as_it_is(cast: Cast) -> None:
    limit(sum_of="amount", sum_per_day=Decimal("2500.50"))
    cast.order(amount=1999)
    gauge = limit_usage.shared()[0].gauges[0]
    assert (gauge.used_words, gauge.most_words, gauge.look) == ("1,999", "2,500.5", "ok")
    assert gauge.what == "of amount today" and gauge.resets_at is not None


def test_who_ran_into_it_last_is_told(cast: Cast) -> None:
    limit(per_day=1)
    cast.order()
    for _ in range(2):
        with pytest.raises(Refused):
            cast.order()
    gauge = limit_usage.shared()[0].gauges[0]
    assert gauge.last is not None and gauge.look == "danger"
    assert (gauge.last.agent.name, gauge.last.tool, gauge.times) == ("scout", "order.place", 2)


@pytest.mark.parametrize(
    ("field", "ceiling"),
    [("actions_per_minute", "per_minute"), ("actions_per_day", "per_day"), ("pending", "pending")],
)
def test_an_agents_own_limit_remembers_it_too(cast: Cast, field: str, ceiling: str) -> None:
    setattr(cast.agent, field, 0)
    cast.agent.save()
    with pytest.raises(Refused):
        cast.order()
    assert Hit.objects.get().ceiling == ceiling
    assert next(g for g in limit_usage.of_agents(["scout"])[0].gauges if g.ceiling == ceiling).times == 1


def test_another_refusal_is_no_hit(cast: Cast) -> None:
    with pytest.raises(Refused):
        cast.propose("order.place", {"nonsense": 1})
    assert not Hit.objects.exists()


def test_the_page_costs_the_same_however_many_limits_there_are(
    cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        limit(name=f"limit{number}", per_day=number + 5)
    cast.order()
    with django_assert_max_num_queries(8):
        limit_usage.of_agents()
        limit_usage.shared()


def test_an_agents_page_shows_the_limits_that_it_comes_under(cast: Cast) -> None:
    limit(name="mine", group="finance", per_day=3)
    limit(name="theirs", group="elsewhere", per_day=3)
    editor = browser(person("edith", roles=("editor",)))
    for address in ("/policies/limits?agent=scout", f"/admin/policies/agent/{cast.agent.pk}/change/"):
        page = text(editor.get(address))
        assert "mine" in page and "theirs" not in page and "calls today" in page


def test_who_reads_policies_sees_limits_and_nobody_else(cast: Cast) -> None:
    limit(per_day=3)
    assert "orders" in text(browser(cast.auditor).get("/policies/limits"))
    assert "/admin/policies/limit/" in text(
        browser(person("edith", roles=("editor",))).get("/policies/limits")
    )
    assert browser(cast.approver).get("/policies/limits").status_code == 403
    assert browser(cast.auditor).get("/policies/limits?agent=nobody").status_code == 404
