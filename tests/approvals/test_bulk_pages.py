"""Choosing many in the inbox: the list that is confirmed, what comes of it, and how long somebody looked."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from approvals import vigilance
from approvals.attention_models import Look
from approvals.models import Action
from policies.models import User
from tests.approvals.test_views import HTMX, browser, text
from tests.cast import MANY, Cast, cast
from tests.page import INLINE
from traces import record
from traces.models import Entry

__all__ = ["cast"]


def listed(user: User, verdict: str, *actions: Action) -> str:
    wanted = {"verdict": verdict, "id": [str(action.pk) for action in actions]}
    return text(browser(user).get("/bulk", wanted, **HTMX))


def decide(user: User, verdict: str, *actions: Action, **said: Any) -> Any:
    items = [f"{action.pk}:{action.digest}" for action in actions]
    return browser(user).post("/bulk/decide", {"verdict": verdict, "item": items, **said}, **HTMX)


def told(response: Any) -> dict[str, Any]:
    return dict(json.loads(response["HX-Trigger-After-Settle"])["agentsec:bulk"])


def test_a_row_offers_to_be_chosen_and_says_what_is_decided_alone(cast: Cast) -> None:
    cast.mass_mail(), cast.deploy()
    page = text(browser(cast.approver).get("/"))
    assert page.count('class="tick"') == 2 and 'id="bulk-pick"' in page and not INLINE.search(page)
    assert "by typing its target" in page


def test_who_decides_nothing_is_offered_no_choice(cast: Cast) -> None:
    cast.mass_mail()
    assert 'id="bulk-pick"' not in text(browser(cast.auditor).get("/"))


def test_the_list_names_each_with_risk_and_origins_and_digest(cast: Cast) -> None:
    actions = [cast.mass_mail(), cast.mass_mail()]
    page = listed(cast.approver, "approve", *actions)
    assert "Approve 2 × email.send?" in page and page.count("origin-agent") == 2
    assert page.count(">it changes something</span>") == 2
    assert all(f'value="{action.pk}:{action.digest}"' in page for action in actions)


def test_what_may_not_be_decided_together_is_left_out_and_says_why(cast: Cast) -> None:
    mails, order = [cast.mass_mail(), cast.mass_mail()], cast.order()
    page = listed(cast.approver, "approve", *mails, order)
    assert "Approve 2 ×" in page and "not like the others: asked by orders" in page
    assert f"{order.pk}:" not in page
    assert "None of these can be approved together" in listed(cast.approver, "approve", cast.deploy())


def test_a_stranger_and_garbage_list_nothing(cast: Cast) -> None:
    assert "None of these" in listed(cast.stranger, "approve", cast.mass_mail())
    client = browser(cast.approver)
    assert client.get("/bulk", {"verdict": "approve", "id": ["x", "\0", "1" * 99]}, **HTMX).status_code == 200
    assert client.get("/bulk", {"verdict": "delete"}, **HTMX).status_code == 422
    assert client.post("/bulk/decide", {"verdict": "approve", "item": ["x:y"]}, **HTMX).status_code == 422
    assert client.post("/bulk/undo", {"bulk": "x"}, **HTMX).status_code == 422


def test_more_than_fifty_are_refused_instead_of_cut(cast: Cast) -> None:
    wanted = {"verdict": "approve", "id": [str(uuid4()) for _ in range(51)]}
    answer = browser(cast.approver).get("/bulk", wanted, **HTMX)
    assert answer.status_code == 422 and "at most 50" in text(answer).lower()


def test_looking_decides_nothing_and_deciding_is_no_get(cast: Cast) -> None:
    action = cast.mass_mail()
    listed(cast.approver, "approve", action)
    assert browser(cast.approver).get("/bulk/decide").status_code == 405
    action.refresh_from_db()
    assert action.state == "pending"


def test_a_form_of_another_site_decides_nothing(cast: Cast) -> None:
    action, client = cast.mass_mail(), Client(enforce_csrf_checks=True)
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    sent = {"verdict": "approve", "item": f"{action.pk}:{action.digest}"}
    assert client.post("/bulk/decide", sent).status_code == 403


def test_all_are_approved_and_taken_back(cast: Cast) -> None:
    actions = [cast.mass_mail(), cast.mass_mail()]
    said = told(decide(cast.approver, "approve", *actions))
    assert (said["message"], said["refused"], said["undoable"]) == ("2 approved.", 0, 2)
    back = browser(cast.approver).post("/bulk/undo", {"bulk": said["bulk"]}, **HTMX)
    assert told(back)["message"] == "2 taken back."


def test_one_that_changed_is_named_and_the_others_are_done(cast: Cast) -> None:
    one, other = cast.mass_mail(), cast.mass_mail()
    one.digest = "0" * 64
    response = decide(cast.approver, "approve", one, other)
    assert told(response)["message"] == "1 approved, 1 not."
    assert one.summary.split()[0] in text(response) and "changed since you saw it" in text(response)


def test_rejecting_many_needs_a_reason(cast: Cast) -> None:
    action = cast.mass_mail()
    assert "say why" in text(decide(cast.approver, "reject", action, comment=" ")).lower()
    assert "At most 10000 characters" in text(decide(cast.approver, "reject", action, comment="x" * 10_001))
    assert "cannot be kept" in text(decide(cast.approver, "reject", action, comment="no\0"))
    assert told(decide(cast.approver, "reject", action, comment="no"))["message"] == "1 rejected."


def test_without_script_the_same_list_is_a_page_and_the_answer_a_message(cast: Cast) -> None:
    action, client = cast.mass_mail(), browser(cast.approver)
    page = text(client.get("/bulk", {"verdict": "approve", "id": str(action.pk)}))
    assert "<main" in page and not INLINE.search(page)
    sent = {"verdict": "approve", "item": f"{action.pk}:{action.digest}"}
    assert "1 approved." in text(client.post("/bulk/decide", sent, follow=True))


def test_the_list_takes_as_many_questions_for_two_as_for_ten(
    cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    actions, client = [cast.mass_mail() for _ in range(10)], browser(cast.approver)
    with django_assert_num_queries(8):
        client.get("/bulk", {"verdict": "approve", "id": [str(a.pk) for a in actions[:2]]}, **HTMX)
    with django_assert_num_queries(8):
        client.get("/bulk", {"verdict": "approve", "id": [str(a.pk) for a in actions]}, **HTMX)


def test_markup_of_an_agent_stays_text(cast: Cast) -> None:
    args = {"to": MANY, "subject": "<img src=x onerror=alert(1)>\u202e", "body": ""}
    page = listed(cast.approver, "approve", cast.propose("email.send", args))
    assert "&lt;img" in page and "<img" not in page and "‹U+202E›" in page


# ---- how long somebody looked ------------------------------------------------------------------------------


def stamp_of(page: str) -> str:
    return str(re.search(r'data-served="([^"]+)"', page)[1])  # type: ignore[index]


def approve(user: User, action: Action, **said: Any) -> Any:
    sent = {"verdict": "approve", "digest": action.digest, **said}
    return browser(user).post(f"/actions/{action.pk}/decide", sent, **HTMX)


def later(monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    now = vigilance._now
    monkeypatch.setattr(vigilance, "_now", lambda: now() + milliseconds)


def test_the_look_stands_in_the_entry_of_the_vote(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    action = cast.mass_mail()
    served = stamp_of(text(browser(cast.approver).get(f"/actions/{action.pk}/card")))
    later(monkeypatch, 9_000)
    approve(cast.approver, action, served=served, seen_ms="8500")
    entry = Entry.objects.get(kind="vote.approve")
    assert (record.open_payload(entry) or {})["seen_ms"] == Look.objects.get().seen_ms == 8500


def test_nobody_looked_for_longer_than_since_it_was_served(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = cast.mass_mail()
    served = stamp_of(text(browser(cast.approver).get(f"/actions/{action.pk}/card")))
    later(monkeypatch, 1_000)
    approve(cast.approver, action, served=served, seen_ms="999999")
    assert 1_000 <= (Look.objects.get().seen_ms or 0) < 30_000


@pytest.mark.parametrize("claimed", ["-1", "1e3", "", "９", "1" * 13, "NaN"])
def test_a_senseless_claim_is_nobody_s_look_and_no_refusal(cast: Cast, claimed: str) -> None:
    action = cast.mass_mail()
    served = vigilance.stamp(cast.approver, vigilance.about(action))
    assert approve(cast.approver, action, served=served, seen_ms=claimed).status_code == 200
    assert not Look.objects.exists()


@pytest.mark.parametrize("which", ["forged", "other person", "other action", "none"])
def test_a_stamp_of_something_else_counts_for_nothing(cast: Cast, which: str) -> None:
    action, subject = cast.mass_mail(), vigilance.about(cast.mass_mail())
    served = {
        "forged": vigilance.stamp(cast.approver, vigilance.about(action))[:-1] + "_",
        "other person": vigilance.stamp(cast.second, vigilance.about(action)),
        "other action": vigilance.stamp(cast.approver, subject),
        "none": "",
    }[which]
    assert approve(cast.approver, action, served=served, seen_ms="50").status_code == 200
    assert not Look.objects.exists()


def test_a_risky_one_approved_at_a_glance_is_told_gently_and_stays_approved(cast: Cast) -> None:
    action = cast.mass_mail()
    served = vigilance.stamp(cast.approver, vigilance.about(action))
    response = approve(cast.approver, action, served=served, seen_ms="700")
    said = json.loads(response["HX-Trigger-After-Settle"])["agentsec:decided"]
    assert "That was quick" in said["message"] and said["state"] == "ready"


def test_a_risky_one_that_was_read_is_not_remarked_upon(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    action = cast.mass_mail()
    served = vigilance.stamp(cast.approver, vigilance.about(action))
    later(monkeypatch, 60_000)
    assert "quick" not in text(approve(cast.approver, action, served=served, seen_ms="30000"))


def test_many_share_the_time_that_their_list_was_in_view(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    actions = [cast.mass_mail() for _ in range(4)]
    served = stamp_of(listed(cast.approver, "approve", *actions))
    later(monkeypatch, 10_000)
    response = decide(cast.approver, "approve", *actions, served=served, seen_ms="6000")
    assert set(Look.objects.values_list("seen_ms", flat=True)) == {1500}
    assert "That was quick for 4 targets" in told(response)["message"]
