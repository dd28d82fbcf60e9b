"""The kill switch on the pages: who finds it, what it says, how it is lifted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from policies import limits, people
from policies.models import Switch, User
from tests.cast import Cast
from tests.gateway.caller import Caller

pytestmark = pytest.mark.django_db


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def page(user: User, path: str = "/") -> str:
    return browser(user).get(path).content.decode()


def throw(user: User, **form: Any) -> Any:
    sent = {"kind": "all", "name": "", "reason": "a drill", "next": "/health", **form}
    return browser(user).post("/switch/throw", sent)


@pytest.mark.parametrize("path", ["/", "/health", "/account", "/admin/"])
def test_an_administrator_finds_the_switch_on_every_page(cast: Cast, path: str) -> None:
    assert 'data-opens="switch-dialog"' in page(cast.administrator, path)


def test_others_do_not(cast: Cast) -> None:
    assert "switch-dialog" not in page(cast.approver) and throw(cast.approver).status_code == 403
    assert not Switch.objects.exists()


@pytest.mark.parametrize(
    ("form", "scope"),
    [({}, "all"), ({"kind": "agent", "name": "scout"}, "agent:scout"),
     ({"kind": "group", "name": "finance"}, "group:finance"), ({"kind": "tool", "name": "x"}, "tool:x")],
)  # fmt: skip
def test_thrown_in_the_dialog_it_stops(cast: Cast, form: dict[str, str], scope: str) -> None:
    answer = throw(cast.administrator, **form)
    assert (answer.status_code, answer["Location"]) == (302, "/health")
    assert Switch.objects.get().scope == scope


@pytest.mark.parametrize("form", [{"reason": " "}, {"kind": "agent", "name": "nobody"}, {"kind": "x"}])
def test_a_wrong_form_stops_nothing_and_says_so(cast: Cast, form: dict[str, str]) -> None:
    client = browser(cast.administrator)
    told = client.post("/switch/throw", {"kind": "all", "reason": "r", **form}, follow=True).content.decode()
    assert "is-danger" in told and not Switch.objects.exists()


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "x"])
def test_it_leads_nowhere_else(cast: Cast, place: str) -> None:
    assert throw(cast.administrator, next=place)["Location"] == "/"


@pytest.mark.parametrize("path", ["/", "/health", "/account"])
def test_everybody_sees_that_everything_is_stopped(cast: Cast, path: str) -> None:
    throw(cast.administrator, reason="<b>drill</b>")
    shown = page(cast.approver, path)
    assert "Stopped: everything" in shown and "&lt;b&gt;drill" in shown and "Resume" not in shown


def test_the_admin_shows_it_too(cast: Cast) -> None:
    throw(cast.administrator)
    assert "Stopped: everything" in page(cast.administrator, "/admin/")


def test_a_member_of_another_team_does_not_learn_of_its_agents(cast: Cast) -> None:
    throw(cast.administrator, kind="agent", name="scout")
    User.objects.filter(pk=cast.stranger.pk).update(roles=["member"])
    assert "scout" not in page(cast.stranger, "/health")
    assert "agent:scout" in page(cast.administrator, "/health")


def test_an_open_page_asks_for_the_banner(cast: Cast) -> None:
    throw(cast.administrator)
    assert "Stopped: everything" in page(cast.approver, "/switch/banner")


def test_resume_is_explicit(cast: Cast) -> None:
    throw(cast.administrator)
    client = browser(cast.administrator)
    assert client.get("/switch/resume").status_code == 405
    client.post("/switch/resume", {"scope": "all", "next": "/"})
    assert not Switch.objects.exists()


def test_nothing_runs_inline(cast: Cast) -> None:
    throw(cast.administrator)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page(cast.administrator))


# The API and the commands


def caller(user: User) -> Caller:
    return Caller(people.issue_token(user))


def test_one_call_stops_and_one_lifts(cast: Cast) -> None:
    admin = caller(cast.administrator)
    status, told = admin.post("/switch", {"scope": "group:finance", "reason": "a drill"})
    assert (status, told["scope"]) == (200, "group:finance")
    assert [item["scope"] for item in admin.get("/switch")[1]["thrown"]] == ["group:finance"]
    refused = Caller(cast.raw_key).propose("deploy", {"target": "x"})
    assert (refused[0], "a drill" in refused[1]["detail"]) == (403, True)
    assert admin.delete("/switch/group:finance")[0] == 204
    assert admin.delete("/switch/group:finance")[0] == 404


def test_an_auditor_and_an_agent_may_not(cast: Cast) -> None:
    for token in (caller(cast.auditor), Caller(cast.raw_key)):
        assert token.post("/switch", {"scope": "all", "reason": "x"})[0] == 403
    assert not Switch.objects.exists()


@pytest.mark.parametrize(
    "body", [{"scope": "all"}, {"scope": "all", "reason": ""}, {"scope": "x", "reason": "y"}]
)
def test_a_wrong_call_stops_nothing(cast: Cast, body: dict[str, str]) -> None:
    assert caller(cast.administrator).post("/switch", body)[0] == 422


def test_the_commands_stop_and_resume(cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("stop", "agent:scout", "--reason", "a drill")
    assert limits.thrown(cast.agent) is not None
    call_command("resume", "agent:scout")
    assert "agent:scout runs again." in capsys.readouterr().out
    with pytest.raises(CommandError):
        call_command("resume", "agent:scout")
