"""The text of a row is kept, and never an old one: whatever changes, whoever changed it, it is drawn anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from approvals import claims, decisions, later, listing, rowtext
from approvals.models import Action
from policies import labels, limits
from policies.models import Agent
from tests.cast import Cast
from traces.models import Session


def shown(cast: Cast) -> str:
    (row,) = listing.page(cast.approver, listing.Wish(show="all")).rows
    return rowtext.html(row)


def test_what_did_not_change_is_not_drawn_twice(cast: Cast) -> None:
    cast.mass_mail()
    assert shown(cast) is shown(cast)


def vote(cast: Cast, action: Action) -> None:
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)


def by_hand(cast: Cast, action: Action) -> None:
    """Somebody at the database's own prompt."""
    Action.objects.filter(pk=action.pk).update(target="elsewhere")


def claimed(cast: Cast, action: Action) -> None:
    claims.claim(action_id=action.pk, user=cast.approver)


def stopped(cast: Cast, action: Action) -> None:
    limits.stop(scope="all", reason="fire drill", by="tests")


def paused(cast: Cast, action: Action) -> None:
    Agent.objects.filter(pk=action.agent_id).update(mode="paused")


def poisoned(cast: Cast, action: Action) -> None:
    labels.gather(session=action.session, labels=["injection"], why="it read one", actor="tests")


def renamed(cast: Cast, action: Action) -> None:
    Agent.objects.filter(pk=action.agent_id).update(name="another")


def served(cast: Cast, action: Action) -> None:
    Session.objects.filter(pk=action.session_id).update(user="somebody@example.com")


@pytest.mark.parametrize("change", [vote, by_hand, claimed, stopped, paused, poisoned, renamed, served])
def test_what_changed_is_drawn_anew(cast: Cast, change: Callable[[Cast, Action], None]) -> None:
    action = cast.mass_mail()
    before = shown(cast)
    change(cast, action)
    assert shown(cast) != before


def test_two_changes_of_one_transaction_are_two(cast: Cast) -> None:
    action = cast.mass_mail()
    texts = set()
    for target in ("one", "two", "three"):
        Action.objects.filter(pk=action.pk).update(target=target)
        texts.add(shown(cast))
    assert len(texts) == 3


def test_a_claim_whose_time_is_over_is_not_shown(cast: Cast) -> None:
    action = cast.mass_mail()
    claims.claim(action_id=action.pk, user=cast.approver)
    assert "claimed by" in shown(cast)
    Action.objects.filter(pk=action.pk).update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert "claimed by" not in shown(cast)


def test_a_time_that_has_come_is_not_shown_as_to_come(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    action = cast.mass_mail()
    Action.objects.filter(pk=action.pk).update(not_before=timezone.now() + timedelta(hours=1))
    assert "later" in shown(cast)
    monkeypatch.setattr(later, "planned_at", lambda action: None)
    assert "later" not in shown(cast)


def test_as_many_are_kept_as_a_process_can_afford(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowtext, "MOST", 2)
    action = cast.mass_mail()
    for target in "abcde":
        Action.objects.filter(pk=action.pk).update(target=target)
        shown(cast)
    assert len(rowtext._kept) <= 2
