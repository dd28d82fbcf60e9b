"""Pages of suggestions, trust and access review: who finds them, what a POST does, and nothing inline."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals import promotion, suggest
from approvals.growth_models import AccessReview, LastUse, Promotion, Suggestion
from policies import world
from policies.foureyes_models import ProposedChange
from policies.models import Agent, Rule, Tool, User
from tests.approvals.test_suggest import WORLD, approve, ask
from tests.cast import Cast, person
from tests.page import INLINE
from traces import record
from traces.models import Entry

pytestmark = pytest.mark.django_db
PAGES = ("/policies/suggestions", "/policies/trust", "/policies/access-review")


@pytest.fixture(autouse=True)
def little_is_enough(settings: Any) -> None:
    settings.AGENTSEC_SUGGEST = {"approvals": 3, "days": 90, "ends_after": 30}
    settings.AGENTSEC_TRUST = {
        "days": 1, "actions": 1, "failed_percent": 10, "rejected": 2, "pause_days": 30,
    }  # fmt: skip


def signed_in(client: Client, user: User) -> Client:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def editor(client: Client, cast: Cast) -> Client:
    return signed_in(client, person("edith", roles=("editor",)))


def text(answer: Any) -> str:
    return str(answer.content.decode())


def test_a_member_finds_none_of_it(client: Client, cast: Cast) -> None:
    assert {client.get(path).status_code for path in PAGES} == {302}
    signed_in(client, cast.stranger)
    assert {client.get(path).status_code for path in PAGES} == {403}


def test_an_auditor_reads_and_finds_no_button_that_decides(client: Client, cast: Cast) -> None:
    signed_in(client, cast.auditor)
    for path in PAGES:
        body = text(client.get(path))
        assert not INLINE.search(body), path
        assert "Sign the review" not in body and 'value="accept"' not in body


def test_an_editor_finds_no_access_review(editor: Client) -> None:
    assert editor.get("/policies/access-review").status_code == 403
    assert "access-review" not in text(editor.get("/policies/suggestions"))


def test_from_decisions_to_a_draft_by_hand(editor: Client, cast: Cast) -> None:
    prepared(cast)
    body = text(editor.post("/policies/suggestions/look", follow=True))
    row = Suggestion.objects.get()
    assert f"/policies/suggestions/{row.pk}" in body and not INLINE.search(body)
    page = text(editor.get(f"/policies/suggestions/{row.pk}"))
    assert "Acme" in page and "3 calls, none rejected" in page and not INLINE.search(page)
    assert Rule.objects.filter(name="crm", when="").exists()
    wish = {"digest": row.digest, "days": "7"}
    after = text(editor.post(f"/policies/suggestions/{row.pk}/draft", wish, follow=True))
    assert "rule crm: when changed" in after and "spare-crm.update-scout: added" in after
    assert "7" in text(editor.get(f"/policies/suggestions/{row.pk}"))


def test_a_wrong_number_of_days_is_told(editor: Client, cast: Cast) -> None:
    prepared(cast)
    suggest.find()
    row = Suggestion.objects.get()
    for days in ("", "0", "x", "²", "9" * 5000, "-1"):
        wish = {"digest": row.digest, "days": days}
        answer = editor.post(f"/policies/suggestions/{row.pk}/draft", wish, follow=True)
        assert "1 to 90 days" in text(answer), days
    assert Rule.objects.filter(name="crm", when="").exists()


def test_dismissed_and_offered_again(editor: Client, cast: Cast) -> None:
    prepared(cast)
    suggest.find()
    row = Suggestion.objects.get()
    wish = {"digest": row.digest, "reason": "<b>I want</b> to see\0them"}
    body = text(editor.post(f"/policies/suggestions/{row.pk}/dismiss", wish, follow=True))
    assert "&lt;b&gt;I want&lt;/b&gt;" in body and "Nothing is offered" in body
    assert "Make it a draft" not in text(editor.get(f"/policies/suggestions/{row.pk}"))
    assert "See what it would do" in text(editor.post(f"/policies/suggestions/{row.pk}/again", follow=True))


def test_the_auditor_posts_nothing(client: Client, cast: Cast) -> None:
    prepared(cast)
    suggest.find()
    row, auditor = Suggestion.objects.get(), signed_in(client, cast.auditor)
    for path in (f"suggestions/{row.pk}/draft", f"suggestions/{row.pk}/dismiss", "access-review/sign"):
        assert auditor.post(f"/policies/{path}", {"digest": row.digest, "days": "7"}).status_code == 403
    assert auditor.get(f"/policies/suggestions/{row.pk}/draft").status_code == 405


def test_a_suggestion_that_is_gone_leads_back_to_the_list(editor: Client, cast: Cast) -> None:
    assert editor.get("/policies/suggestions/99").status_code == 404
    assert "no such suggestion" in text(
        editor.post("/policies/suggestions/99/draft", {"days": "7"}, follow=True)
    )


def test_the_card_says_how_like_calls_were_decided_and_links_for_who_may_read(
    client: Client, cast: Cast
) -> None:
    prepared(cast)
    suggest.find()
    action = ask(cast, "Globex")
    told = text(signed_in(client, cast.approver).get(f"/actions/{action.pk}"))
    assert "Decisions like this" in told and "/policies/suggestions/" not in told
    told = text(signed_in(client, cast.auditor).get(f"/actions/{action.pk}"))
    assert f"/policies/suggestions/{Suggestion.objects.get().pk}" in told


def test_what_agents_write_is_shown_as_text(editor: Client, cast: Cast) -> None:
    prepared(cast, customer="<script>alert(1)</script>")
    suggest.find()
    page = text(editor.get(f"/policies/suggestions/{Suggestion.objects.get().pk}"))
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_trust_is_shown_and_decided(client: Client, cast: Cast) -> None:
    Agent.objects.update(mode="read_only")
    cast.agent.refresh_from_db()
    cast.propose("notes.read", {"id": 1})
    promotion.find()
    admin = signed_in(client, cast.administrator)
    row = Promotion.objects.get()
    for path in ("/policies/trust", f"/policies/trust/agents/{cast.agent.pk}"):
        body = text(admin.get(path))
        assert "Let it work (standard)" in body and not INLINE.search(body)
    admin.post(f"/policies/trust/{row.pk}/decide", {"choice": "decline", "reason": ""})
    assert Promotion.objects.get().state == "open"
    body = text(admin.post(f"/policies/trust/{row.pk}/decide", {"choice": "accept"}, follow=True))
    assert "scout is now standard" in body and Agent.objects.get(name="scout").mode == "standard"


def test_with_four_eyes_a_proposal_is_accepted_by_two_and_closed(cast: Cast, settings: Any) -> None:
    Agent.objects.update(mode="read_only")
    cast.agent.refresh_from_db()
    cast.propose("notes.read", {"id": 1})
    promotion.find()
    row, settings.AGENTSEC_FOUR_EYES = Promotion.objects.get(), True
    first = signed_in(Client(), cast.administrator)
    assert "waits for somebody else" in text(
        first.post(f"/policies/trust/{row.pk}/decide", {"choice": "accept"}, follow=True)
    )
    assert Promotion.objects.get().state == "open"
    bea = person("bea", roles=("administrator",))
    signed_in(Client(), bea).post(f"/changes/{ProposedChange.objects.get().pk}/confirm")
    row.refresh_from_db()
    assert (row.state, row.decided_by, Agent.objects.get().mode) == ("accepted", "bea", "standard")
    entry = Entry.objects.get(kind="trust.accepted")
    assert record.open_payload(entry)["evidence"]["proposed"] == 1


def form(body: str, **changes: str) -> dict[str, str]:
    """What a browser would send: what is checked and filled in, with changes."""
    found = dict(re.findall(r'name="(choice:[^"]+)" value="(\w+)"[^>]*? checked', body))
    found |= dict.fromkeys(re.findall(r'name="(reason:[^"]+)"', body), "")
    return {**found, "seen": re.findall(r'name="seen" value="(\w+)"', body)[0], "note": "all fine", **changes}


def test_an_administrator_signs_what_the_page_shows(client: Client, cast: Cast) -> None:
    LastUse.objects.create(kind="rule", name="mail", since=timezone.now() - timedelta(days=100))
    admin = signed_in(client, cast.administrator)
    body = text(admin.get("/policies/access-review"))
    assert not INLINE.search(body) and "proposed for removal (1)" in body
    refused = admin.post("/policies/access-review/sign", form(body, **{"reason:tool:deploy": "we use it"}))
    told = text(refused)
    assert refused.status_code == 422 and "rule mail: keep or remove?" in told
    assert 'value="we use it"' in told and 'value="all fine"' in told
    kept = {"choice:rule:mail": "keep", "reason:rule:mail": "soon", "choice:tool:deploy": "remove"}
    done = admin.post(
        "/policies/access-review/sign", form(body, **kept, **{"reason:tool:deploy": "old"}), follow=True
    )
    assert "1 removed" in text(done) and Tool.objects.get(name="deploy").paused
    entry = str(AccessReview.objects.get().entry)
    assert entry not in text(done)
    assert entry in text(signed_in(client, cast.auditor).get("/policies/access-review"))


def test_a_long_list_is_one_form(client: Client, cast: Cast) -> None:
    wish = {f"choice:tool:t{number}": "keep" for number in range(1500)}
    answer = signed_in(client, cast.administrator).post("/policies/access-review/sign", {**wish, "seen": ""})
    assert answer.status_code == 409


def test_garbage_signs_nothing(client: Client, cast: Cast) -> None:
    admin = signed_in(client, cast.administrator)
    for junk in ({}, {"seen": "x"}, {"choice:": "keep"}, {"choice:tool:deploy": "\0", "seen": "\0"}):
        assert admin.post("/policies/access-review/sign", junk).status_code in (409, 422)
    assert not AccessReview.objects.exists()


def prepared(cast: Cast, customer: str = "Acme") -> None:
    """Three approvals of one kind."""
    world.apply(WORLD, by="tests")
    approve(cast, customer=customer)
