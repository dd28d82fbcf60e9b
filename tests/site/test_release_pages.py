"""Releases in the browser: what changed, any two side by side, and the way back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from policies import releases
from policies.models import Case, Release, Rule, User
from tests.cast import Cast, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def editor(cast: Cast) -> User:
    return person("eva", roles=("editor",))


@pytest.fixture
def first(cast: Cast) -> Release:
    return Release.objects.get()


@pytest.fixture
def second(first: Release) -> Release:
    """A release that looks at order amounts later than the first, and lets deploys go."""
    row = Rule.objects.get(name="dear-orders")
    releases.edit(row=row, values={"when": "args.amount > 50000"}, by="operator")
    Rule.objects.create(name="deploys-go", effect="allow", tools=["deploy"])
    return releases.publish(by="operator", note="deploys go by themselves")


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(user: User, path: str) -> str:
    answer = browser(user).get(path)
    assert answer.status_code == 200, answer.content[-500:]
    page = answer.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def press(user: User, release: Release, **form: Any) -> str:
    """Roll back in the browser; the page that one ends up on."""
    path = reverse("policy-rollback", args=[release.pk])
    answer = browser(user).post(path, form, follow=True)
    return re.sub(r"<[^>]+>", "", answer.content.decode())


def test_the_list_says_who_when_why_and_which_way(editor: User, second: Release) -> None:
    page = text(editor, "/policies/releases")
    assert "deploys go by themselves" in page and second.digest[:12] in page
    assert "1 looser 1 either way" in page


def test_a_release_shows_what_it_changed_word_by_word(editor: User, second: Release) -> None:
    page = text(editor, f"/policies/releases/{second.pk}")
    assert "removed: 10000added: 50000" in page and "allow when any agent calls deploy" in page


def test_a_release_that_was_altered_is_marked_and_nothing_leads_back_to_it(
    editor: User, first: Release, second: Release
) -> None:
    forged = Release.objects.create(digest="0" * 64, content=first.content, published_by="user:1")
    Release.objects.filter(pk=first.pk).update(content=first.content.replace('"ask"', '"allow"'))
    page = text(editor, "/policies/releases")
    assert page.count("altered") == 2 and "Roll back" in page
    assert "does not match the log" in text(editor, f"/policies/releases/{forged.pk}")


def test_any_two_are_compared_and_the_draft_too(editor: User, first: Release, second: Release) -> None:
    Rule.objects.filter(name="deploys-go").delete()
    back = text(editor, f"/policies/releases/{second.pk}..{first.pk}")
    draft = text(editor, f"/policies/releases/{first.pk}..draft")
    assert "removed rule deploys-go" in back and "deploys-go" not in draft
    assert "Nobody has tried this draft" in draft


def test_the_form_leads_to_an_address_that_can_be_passed_on(
    editor: User, first: Release, second: Release
) -> None:
    answer = browser(editor).get("/policies/releases/compare", {"before": first.pk, "after": "draft"})
    assert answer["Location"] == f"/policies/releases/{first.pk}..draft"


@pytest.mark.parametrize(
    "path", ["1..99999999999999999999", "99999", "1..x", "compare?before=&after=", "99999/rollback"]
)
def test_what_is_not_there_is_said(editor: User, path: str) -> None:
    assert browser(editor).get(f"/policies/releases/{path}").status_code == 404


def test_an_approver_sees_no_releases_and_an_auditor_no_way_back(
    cast: Cast, first: Release, second: Release
) -> None:
    assert browser(cast.approver).get("/policies/releases").status_code == 403
    assert "Roll back" not in text(cast.auditor, "/policies/releases")
    path = reverse("policy-rollback", args=[first.pk])
    assert [getattr(browser(cast.auditor), verb)(path).status_code for verb in ("get", "post")] == [403, 403]


def test_looking_at_the_way_back_changes_nothing(editor: User, first: Release, second: Release) -> None:
    page = text(editor, f"/policies/releases/{first.pk}/rollback")
    assert "removed rule deploys-go" in page and releases.current().release_id == second.pk


def test_one_click_goes_back(editor: User, first: Release, second: Release) -> None:
    page = press(editor, first, deciding=second.digest, note="\0")
    assert f"release {first.pk} again" in page and releases.current().digest == first.digest


def test_edits_that_would_be_lost_are_named_first(editor: User, first: Release, second: Release) -> None:
    Rule.objects.create(name="not-yet", effect="block", tools=["deploy"])
    assert "rule not-yet: added" in text(editor, f"/policies/releases/{first.pk}/rollback")


def test_a_failing_case_needs_its_tick(editor: User, first: Release, second: Release) -> None:
    Case.objects.create(name="deploys go", tool="deploy", args={"target": "x"}, expect="allow")
    assert "case deploys go" in press(editor, first) and releases.current().release_id == second.pk
    press(editor, first, despite=["deploys go"])
    assert releases.current().digest == first.digest


def test_a_page_that_is_out_of_date_decides_nothing(editor: User, first: Release, second: Release) -> None:
    assert "published meanwhile" in press(editor, first, deciding=first.digest)
    assert releases.current().release_id == second.pk


def test_a_draft_that_changed_while_one_looked_is_not_published(editor: User, first: Release) -> None:
    client, path = browser(editor), reverse("admin:policies_publish")
    Rule.objects.create(name="seen", effect="block")
    page = client.get(path).content.decode()
    seen = re.search(r'name="seen" value="(\w+)"', page)
    Rule.objects.create(name="unseen", effect="allow")
    assert seen is not None
    answer = client.post(path, {"note": "", "seen": seen[1]})
    assert "has changed since you looked" in answer.content.decode() and Release.objects.count() == 1


def test_the_page_that_publishes_shows_the_words_that_change(editor: User, first: Release) -> None:
    Rule.objects.filter(name="dear-orders").update(when="args.amount > 5")
    page = re.sub(r"<[^>]+>", "", browser(editor).get(reverse("admin:policies_publish")).content.decode())
    assert "removed: 10000added: 5" in page and "Nobody has tried this draft" in page
