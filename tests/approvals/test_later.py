"""Judged and asked now, run later: rechecked until then, bounded, called off, never early."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from approvals import answers, clock, decisions, handout, later, starting, stopping
from approvals.models import Action
from policies import world
from policies.limit_models import Charge
from tests.approvals.test_views import browser
from tests.cast import Cast, cast, committed_cast, person
from traces.models import Entry
from traces.problems import Refused

__all__ = ["cast", "committed_cast"]
MAIL = {"to": ["a@example.com"], "subject": "", "body": ""}


def tomorrow() -> datetime:
    return timezone.now() + timedelta(days=1)


def planned(cast: Cast, at: datetime | None = None) -> Action:
    """A mail to be sent tomorrow, which nobody needs to approve."""
    return cast.propose("email.send", MAIL, not_before=at or tomorrow())


def approved(cast: Cast, at: datetime | None = None) -> Action:
    """A newsletter for tomorrow, approved over REST."""
    action = cast.mass_mail(not_before=at or tomorrow())
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, channel="rest")
    action.refresh_from_db()
    return action


def looked_ahead() -> int:
    return clock.look_ahead(timezone.now())


@pytest.fixture(autouse=True)
def new_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "PLANNED", later.Watch())


def test_it_does_not_start_before_its_time(cast: Cast) -> None:
    action = planned(cast)
    assert isinstance(starting.start(action_id=action.pk, worker="early"), starting.Held)
    assert handout.take(action.pk, agent=cast.agent) is None


def test_its_approval_holds_until_its_time_and_the_tools_window(cast: Cast) -> None:
    action, at = approved(cast), timezone.now() + timedelta(days=1)
    assert abs(action.deadline - at - timedelta(hours=1)) < timedelta(seconds=5)


def test_a_tool_may_set_its_own_window(cast: Cast) -> None:
    world.apply("tools:\n  - {name: notes.read, start_minutes: 10, runs: agent, effect: read}\n", by="tests")
    at = tomorrow()
    action = cast.propose("notes.read", {}, not_before=at)
    assert action.deadline == at + timedelta(minutes=10)


def test_the_answer_says_when_it_runs_and_until_when_it_may(cast: Cast) -> None:
    action = approved(cast)
    told = answers.answer(action)["planned"]
    assert told == {"not_before": action.not_before.isoformat(), "start_by": action.deadline.isoformat()}


def test_while_it_waits_for_people_the_answer_says_so_too(cast: Cast) -> None:
    action = cast.mass_mail(not_before=tomorrow())
    assert (
        answers.answer(action)["planned"]["start_by"] == (action.not_before + later.START_WINDOW).isoformat()
    )


def test_the_undo_of_an_approval_is_no_plan(cast: Cast) -> None:
    action = cast.mass_mail()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, channel="browser")
    action.refresh_from_db()
    assert action.not_before is not None and later.plan(action) is None


def test_card_and_row_say_when_it_runs(cast: Cast) -> None:
    action = cast.mass_mail(not_before=tomorrow())
    page = browser(cast.approver).get(f"/?open={action.pk}").content.decode()
    assert page.count('class="row-meta later"') == 1 and "An approval holds until then" in page


def test_a_reviewer_calls_it_off(cast: Cast) -> None:
    action = approved(cast)
    assert "Cancel it" in browser(cast.approver).get(f"/actions/{action.pk}").content.decode()
    assert stopping.stop(action_id=action.pk, user=cast.approver, why="old news").effect == "cancelled"
    action.refresh_from_db()
    assert (action.state, action.decision_reason) == ("cancelled", "stopped by ada: old news")


def test_its_agent_calls_it_off(cast: Cast) -> None:
    assert decisions.cancel(action_id=planned(cast).pk, agent=cast.agent).state == "cancelled"


def test_a_release_that_blocks_it_ends_it_long_before_its_time(cast: Cast) -> None:
    action = planned(cast)
    assert looked_ahead() == 1
    world.apply("rules:\n  - {name: stop, effect: block, tools: [email.send]}\n", by="tests")
    assert looked_ahead() == 1
    action.refresh_from_db()
    assert action.state == "cancelled" and "blocks it" in action.decision_reason


def test_a_tool_that_changed_ends_it_long_before_its_time(cast: Cast) -> None:
    action = planned(cast)
    world.apply("tools:\n  - {name: email.send, description: another}\n", by="tests")
    looked_ahead()
    action.refresh_from_db()
    assert action.state == "cancelled"


def test_people_are_asked_again_in_time_when_a_voter_left(cast: Cast) -> None:
    action = approved(cast)
    cast.approver.groups.clear()
    looked_ahead()
    action.refresh_from_db()
    assert (action.state, action.deadline) == ("pending", action.not_before)
    assert not action.votes.filter(void=False).exists()


def test_approved_again_it_keeps_its_time(cast: Cast) -> None:
    action, other = approved(cast), person("cleo", "comms")
    at = action.not_before
    cast.approver.groups.clear()
    looked_ahead()
    decisions.approve(action_id=action.pk, user=other, digest=action.digest, channel="rest")
    action.refresh_from_db()
    assert (action.state, action.not_before) == ("ready", at)


def test_what_still_holds_is_left_alone(cast: Cast) -> None:
    action = approved(cast)
    looked_ahead()
    action.refresh_from_db()
    assert action.state == "ready"


def test_each_is_looked_at_once_a_minute_or_when_a_release_came(cast: Cast) -> None:
    planned(cast)
    assert [looked_ahead(), looked_ahead()] == [1, 0]
    world.apply("rules:\n  - {name: nothing, effect: block, tools: [nothing]}\n", by="tests")
    assert looked_ahead() == 1


def test_it_is_not_put_off_for_too_long(cast: Cast, settings: LazySettings) -> None:
    with pytest.raises(Refused, match="31 days"):
        planned(cast, timezone.now() + timedelta(days=32))
    settings.AGENTSEC_LATER_DAYS = 0
    with pytest.raises(Refused, match="nothing may be put off"):
        planned(cast)


def test_a_time_that_has_passed_is_now(cast: Cast) -> None:
    action = planned(cast, timezone.now() - timedelta(days=400))
    assert later.plan(action) is None and handout.take(action.pk, agent=cast.agent) is not None


def test_it_counts_on_the_day_it_is_proposed_and_gives_back_what_never_happens(committed_cast: Cast) -> None:
    cast = committed_cast
    world.apply(LIMIT, by="tests")
    action = cast.propose("order.place", {"supplier": "Acme", "amount": 60}, not_before=tomorrow())
    with pytest.raises(Refused, match="a day"):
        cast.propose("order.place", {"supplier": "Acme", "amount": 60})
    decisions.cancel(action_id=action.pk, agent=cast.agent)
    assert not Charge.objects.filter(action_id=action.pk, amount__gt=0).exists()
    cast.propose("order.place", {"supplier": "Acme", "amount": 60})


LIMIT = """
limits:
  - {name: orders, agent: scout, tool: order.place, sum_of: amount, sum_per_day: 100}
"""


def test_a_time_brought_forward_in_the_database_never_runs(cast: Cast) -> None:
    action = planned(cast)
    Action.objects.update(not_before=None)
    assert isinstance(starting.start(action_id=action.pk, worker="forger"), starting.Dropped)
    action.refresh_from_db()
    assert "later time" in action.decision_reason


def test_an_old_approval_made_to_last_in_the_database_never_runs(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = cast.propose("email.send", MAIL)
    Action.objects.update(deadline=timezone.now() + timedelta(days=9))
    now = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(timezone, "now", lambda: now)
    assert isinstance(starting.start(action_id=action.pk, worker="forger"), starting.Dropped)
    action.refresh_from_db()
    assert "time to start is over" in action.decision_reason


def test_its_entry_holds_its_time(cast: Cast) -> None:
    action = planned(cast)
    assert later._wanted(action) == action.not_before
    assert Entry.objects.filter(action_id=str(action.pk), kind="action.proposed").count() == 1
