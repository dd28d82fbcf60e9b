"""Changes that wait, in the browser: every door keeps the wish, and another person confirms it on a page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from policies import limits, people
from policies.foureyes_models import ProposedChange
from policies.models import Agent, AgentKey, Secret, Switch, User
from tests.cast import Cast, person
from tests.gateway.caller import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(cast: Cast, settings: Any) -> User:
    settings.AGENTSEC_FOUR_EYES = True
    return person("ann", roles=("administrator",))


@pytest.fixture
def bea(ann: User) -> User:
    return person("bea", roles=("administrator",))


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def seen(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.content.decode()))


def listing(user: User) -> str:
    answer = browser(user).get("/changes")
    assert answer.status_code == 200
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.content.decode())
    return seen(answer)


def confirm(user: User) -> Any:
    row = ProposedChange.objects.get(state="waiting")
    return browser(user).post(reverse("change-confirm", args=[row.pk]), follow=True)


def test_a_person_is_changed_as_the_form_said_all_of_it_or_nothing(cast: Cast, ann: User, bea: User) -> None:
    path = reverse("admin:policies_user_change", args=[cast.auditor.pk])
    form = {"username": "olga", "email": "olga@example.com", "first_name": "Olga", "last_name": ""}
    group = cast.approver.groups.get(name="comms")
    form |= {"is_active": "on", "roles": ["auditor", "editor"], "groups": [group.pk]}  # type: ignore[dict-item]
    assert "waits for somebody else" in seen(browser(ann).post(path, form, follow=True))
    assert User.objects.get(username="olga").roles == ["auditor"]
    assert "You proposed this yourself" in listing(ann) and "editor" in listing(bea)
    confirm(bea)
    olga = User.objects.get(username="olga")
    assert (olga.roles, olga.email, olga.first_name, olga.group_names) == (
        ["auditor", "editor"],
        "olga@example.com",
        "Olga",
        {"comms"},
    )


def test_an_agents_form_saves_all_but_the_mode(cast: Cast, ann: User, bea: User) -> None:
    Agent.objects.update(mode="read_only")
    path = reverse("admin:policies_agent_change", args=[cast.agent.pk])
    form = {"mode": "standard", "actions_per_minute": 7, "actions_per_day": 70, "pending": 5, "labels": ""}
    inline = {f"keys-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS")}
    answer = browser(ann).post(
        path, {**form, **inline, "description": "", "owner": "", "team": ""}, follow=True
    )
    agent = Agent.objects.get()
    assert "waits for somebody else" in seen(answer)
    assert (agent.mode, agent.actions_per_minute) == ("read_only", 7)
    confirm(bea)
    assert Agent.objects.get().mode == "standard"


def test_an_action_on_many_is_kept_for_each(cast: Cast, ann: User) -> None:
    Agent.objects.update(mode="read_only")
    path = reverse("admin:policies_agent_changelist")
    browser(ann).post(path, {"action": "standard", "_selected_action": [cast.agent.pk]})
    assert (Agent.objects.get().mode, ProposedChange.objects.get().kind) == ("read_only", "agent.mode")


def test_a_key_is_shown_to_who_confirms_and_to_nobody_else(cast: Cast, ann: User, bea: User) -> None:
    before = AgentKey.objects.count()
    path = reverse("admin:policies_agent_key", args=[cast.agent.pk])
    first = seen(browser(ann).post(path, {"scopes": ["act"], "days": 3}, follow=True))
    assert not re.search(r"ask_[\w-]{20}", first) and AgentKey.objects.count() == before
    assert re.search(r"ask_[\w-]{20}", seen(confirm(bea))) and AgentKey.objects.count() == before + 1
    assert not re.search(r"ask_[\w-]{20}", listing(bea))


def test_a_secret_never_stands_on_a_page(cast: Cast, ann: User, bea: User) -> None:
    path = reverse("admin:policies_secret_add")
    browser(ann).post(path, {"name": "database", "value": "hunter2-and-more"})
    assert not Secret.objects.exists() and "hunter2-and-more" not in listing(bea)
    confirm(bea)
    assert Secret.objects.exists()


@pytest.mark.parametrize("door", ["banner", "admin", "rest"])
def test_a_stop_is_lifted_by_two_through_every_door(cast: Cast, ann: User, bea: User, door: str) -> None:
    switch = limits.stop(scope="all", reason="odd", by="tests")
    if door == "banner":
        browser(ann).post("/switch/resume", {"scope": "all"})
    elif door == "admin":
        browser(ann).post(reverse("admin:policies_switch_delete", args=[switch.pk]), {"post": "yes"})
    else:
        status, told = Caller(people.issue_token(ann)).delete("/switch/all")
        assert (status, told["change"]) == (403, ProposedChange.objects.get().pk)
    assert Switch.objects.exists() and "let all run again" in listing(bea)
    confirm(bea)
    assert not Switch.objects.exists()


def test_a_stranger_to_it_sees_and_decides_nothing(cast: Cast, ann: User) -> None:
    browser(ann).post(reverse("admin:policies_secret_add"), {"name": "database", "value": "hunter2-and-more"})
    editor = person("eva", roles=("editor",))
    assert "database" not in listing(editor) and "database" in listing(cast.auditor)
    for user in (editor, cast.auditor):
        assert "You may not" in seen(confirm(user))
    assert browser(cast.approver).get("/changes").status_code == 403
    assert confirm(cast.approver).status_code == 403 and not Secret.objects.exists()


def test_nothing_is_confirmed_by_opening_an_address(cast: Cast, ann: User, bea: User) -> None:
    limits.stop(scope="all", reason="odd", by="tests")
    browser(ann).post("/switch/resume", {"scope": "all"})
    path = reverse("change-confirm", args=[ProposedChange.objects.get().pk])
    assert browser(bea).get(path).status_code == 405 and Switch.objects.exists()


def test_a_change_is_refused_with_its_reason(cast: Cast, ann: User, bea: User) -> None:
    limits.stop(scope="all", reason="odd", by="tests")
    browser(ann).post("/switch/resume", {"scope": "all"})
    row = ProposedChange.objects.get()
    browser(bea).post(reverse("change-refuse", args=[row.pk]), {"why": "not yet\0"})
    assert "not yet" in listing(ann) and Switch.objects.exists()
