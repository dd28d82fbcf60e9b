"""How people decide, counted: what each may know, and that nobody is told apart."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from approvals import decisions, insights
from approvals.attention import Attention
from approvals.growth_models import Suggestion
from approvals.insights import Counted, Wish
from approvals.models import Action, Vote
from approvals.templatetags.insights import lasting
from policies.models import User
from tests.approvals.test_views import browser, text
from tests.cast import Cast, cast, person
from tests.page import INLINE

__all__ = ["cast"]


def decide(user: User, action: Action, verdict: str = "approve", seen_ms: int | None = None) -> None:
    verb = {"approve": decisions.approve, "reject": decisions.reject}[verdict]
    look = Attention(seen_ms=seen_ms, risky=True)
    verb(action_id=action.pk, user=user, digest=action.digest, comment="x", attention=look)


def by(user: User, what: str = "rule", **wish: Any) -> dict[str, Counted]:
    found = insights.insights(user, Wish(by=what, **wish))
    return {row.name: row for row in found.rows}


def test_what_was_asked_is_counted_by_what_became_of_it(cast: Cast) -> None:
    one, two, three, _ = (cast.mass_mail() for _ in range(4))
    decide(cast.approver, one)
    decide(cast.approver, two, "reject")
    decisions.expire(action=three)
    row = by(cast.auditor)["mass-mail"]
    counted = (row.asked, row.approved, row.rejected, row.expired, row.waiting)
    assert counted == (4, 1, 1, 1, 1)


def test_what_policy_allowed_is_not_counted(cast: Cast) -> None:
    cast.propose("email.send", {"to": ["a@example.com"], "subject": "Hi", "body": "x"})
    assert insights.insights(cast.auditor, Wish()).total is None


def test_an_approved_one_that_never_started_was_approved_all_the_same(cast: Cast) -> None:
    action = cast.mass_mail()
    decide(cast.approver, action)
    action.refresh_from_db()
    decisions.expire(action=action)
    row = by(cast.auditor)["mass-mail"]
    assert (row.approved, row.expired) == (1, 0)


def test_two_rules_that_ask_are_each_counted_and_the_total_once(cast: Cast) -> None:
    cast.order(20_000)
    found = insights.insights(cast.auditor, Wish())
    assert {row.name: row.asked for row in found.rows} == {"orders": 1, "dear-orders": 1}
    assert found.total and found.total.asked == 1


@pytest.mark.parametrize(
    ("what", "name"), [("rule", "mass-mail"), ("group", "comms"), ("agent", "scout"), ("tool", "email.send")]
)
def test_it_is_counted_by_rule_group_agent_and_tool(cast: Cast, what: str, name: str) -> None:
    cast.mass_mail()
    assert by(cast.auditor, what)[name].asked == 1


def test_the_time_to_decide_is_from_the_question_to_the_last_vote(cast: Cast) -> None:
    action = cast.mass_mail()
    decide(cast.approver, action)
    Vote.objects.update(at=action.created_at + timedelta(seconds=90))
    assert by(cast.auditor)["mass-mail"].median == pytest.approx(90, rel=0.03)


def test_a_vote_that_was_taken_back_takes_no_time(cast: Cast) -> None:
    action = cast.mass_mail()
    decide(cast.approver, action)
    decisions.undo(action_id=action.pk, user=cast.approver)
    row = by(cast.auditor)["mass-mail"]
    assert (row.waiting, row.median) == (1, None)


def test_what_is_older_than_the_period_is_not_counted(cast: Cast) -> None:
    action = cast.mass_mail()
    Action.objects.filter(pk=action.pk).update(created_at=timezone.now() - timedelta(days=8))
    assert by(cast.auditor, days=7) == {} and by(cast.auditor, days=30)["mass-mail"].asked == 1


def test_an_approver_reads_of_their_own_groups_alone(cast: Cast) -> None:
    cast.mass_mail(), cast.order(), cast.order(20_000)
    ben = insights.insights(cast.second, Wish())  # in finance, not in comms
    assert {row.name: row.asked for row in ben.rows} == {"orders": 2}
    assert ben.total and ben.total.asked == 2
    assert insights.insights(cast.stranger, Wish()).total is None


def test_a_look_is_told_only_where_three_people_stand_behind_it(cast: Cast) -> None:
    people = [person(name, "comms") for name in ("cy", "dee")]
    for user in people:
        decide(user, cast.mass_mail(), seen_ms=4_000)
    assert by(cast.auditor)["mass-mail"].looked is None
    decide(cast.approver, cast.mass_mail(), seen_ms=8_000)
    assert by(cast.auditor)["mass-mail"].looked == pytest.approx(4, rel=0.03)


def test_everybody_reads_of_their_own_and_only_administrators_of_all_together(cast: Cast) -> None:
    cy = person("cy", "comms")
    decide(cy, cast.mass_mail(), seen_ms=1_000)
    assert insights.insights(cast.administrator, Wish()).together is None  # it would be cy's own
    decide(cast.approver, cast.mass_mail(), seen_ms=9_000)
    decide(person("dee", "comms"), cast.mass_mail(), seen_ms=5_000)
    found = insights.insights(cy, Wish())
    assert (found.own.decisions, found.own.looked, found.own.quick, found.together) == (1, 1.0, 1, None)
    together = insights.insights(cast.administrator, Wish()).together
    assert together and (together.people, together.looked, together.quick) == (3, 5.0, 1)
    assert insights.insights(cast.auditor, Wish()).together is None


def test_a_long_row_of_quick_approvals_is_told_to_that_person(cast: Cast) -> None:
    session = cast.session()
    for _ in range(insights.STREAK):
        decide(cast.approver, cast.mass_mail(session=session), seen_ms=900)
    page = text(browser(cast.approver).get("/insights"))
    assert "20 approvals in a row" in page and "always approved" in page
    assert "in a row" not in text(browser(cast.auditor).get("/insights"))


def test_a_rule_that_a_suggestion_would_spare_leads_there(cast: Cast) -> None:
    cast.mass_mail()
    row = Suggestion.objects.create(
        agent=cast.agent, tool="email.send", rules=["mass-mail"], condition="true", digest="0" * 64,
        evidence_json="{}",
    )  # fmt: skip
    assert f"/policies/suggestions/{row.pk}" in text(browser(cast.auditor).get("/insights"))
    assert "/policies/suggestions/" not in text(browser(cast.approver).get("/insights"))


def test_who_may_open_it(cast: Cast) -> None:
    may = [cast.auditor, cast.administrator, cast.approver, person("edith", roles=("editor",))]
    assert {browser(user).get("/insights").status_code for user in may} == {200}
    member = person("mo", "finance", roles=("member",))
    assert browser(member).get("/insights").status_code == 403
    assert "/insights" not in text(browser(member).get("/"))


def test_with_nothing_asked_the_page_says_so(cast: Cast) -> None:
    page = text(browser(cast.approver).get("/insights"))
    assert "Nothing was asked" in page and not INLINE.search(page)


def test_the_page_is_sorted_by_link_and_shows_names_as_text(cast: Cast) -> None:
    cast.mass_mail(), cast.order(), cast.order()
    page = text(browser(cast.auditor).get("/insights", {"by": "tool", "sort": "name"}))
    assert page.index("email.send") < page.index("order.place") and 'aria-sort="ascending"' in page
    assert not INLINE.search(page)


@given(st.dictionaries(st.sampled_from(["days", "by", "sort"]), st.text(max_size=12)))
def test_any_address_is_a_wish_that_makes_sense(query: dict[str, str]) -> None:
    wish = Wish.read(query)
    assert wish.days in insights.PERIODS and wish.by in insights.BREAKDOWNS and wish.sort in insights.SORTS


def test_it_takes_as_many_questions_for_one_as_for_twelve(
    cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    session = cast.session()
    for count in (1, 11):
        for _ in range(count):
            decide(cast.approver, cast.mass_mail(session=session))
        user = User.objects.get(pk=cast.administrator.pk)
        with django_assert_num_queries(5):
            insights.insights(user, Wish())


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "–"), (0, "0 s"), (0.84, "0.8 s"), (9, "9 s"), (75, "75 s"), (700, "12 min"), (9000, "2 h"),
     (500_000, "6 days")],
)  # fmt: skip
def test_how_long_in_words(seconds: float | None, told: str) -> None:
    assert lasting(seconds) == told


def test_rows_beyond_the_first_page_are_a_link_away(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insights, "SHOWN", 1)
    cast.order(20_000)
    auditor = browser(cast.auditor)
    first = text(auditor.get("/insights?days=7&sort=name"))
    assert ("1 to 1 of 2" in first, "Next" in first, "Previous" in first) == (True, True, False)
    (link,) = re.findall(r'href="(\?[^"]*page=2)"', first)
    assert "days=7" in link and "sort=name" in link
    second = text(auditor.get("/insights" + html.unescape(link)))
    names = [re.findall(r'<th scope="row">(\S+)', page)[0] for page in (first, second)]
    assert names == ["dear-orders", "orders"]
    assert ("2 to 2 of 2" in second, "Next" in second, "Previous" in second) == (True, False, True)
    assert "page=" not in second.split("<thead>")[1].split("</thead>")[0]


@pytest.mark.parametrize("page", ["0", "-1", "99", "1e3", "²", "9" * 400, ""])
def test_a_page_that_is_none_is_the_nearest_that_is_one(cast: Cast, page: str) -> None:
    cast.mass_mail()
    assert '<th scope="row">mass-mail' in text(browser(cast.auditor).get("/insights", {"page": page}))
