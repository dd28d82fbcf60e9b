"""Releases over REST and by command: the list, the difference, the way back."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from policies import people, releases
from policies.models import Release, Rule
from tests.cast import Cast, person
from tests.gateway.caller import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def two(cast: Cast) -> tuple[Release, Release]:
    Rule.objects.create(name="deploys-go", effect="allow", tools=["deploy"])
    return Release.objects.get(), releases.publish(by="operator", note="they go")


@pytest.fixture
def editor(cast: Cast) -> Caller:
    return Caller(people.issue_token(person("eva", roles=("editor",))))


def test_the_newest_stands_first(editor: Caller, two: tuple[Release, Release]) -> None:
    status, told = editor.get("/policies/releases?limit=1")
    assert (status, [row["note"] for row in told["releases"]], told["next"]) == (200, ["they go"], two[1].pk)
    assert editor.get(f"/policies/releases?below={two[1].pk}")[1]["releases"][0]["id"] == two[0].pk


def test_a_difference_names_each_rule_and_where_it_leans(
    editor: Caller, two: tuple[Release, Release]
) -> None:
    status, told = editor.get(f"/policies/releases/{two[0].pk}/to/draft")
    (change,) = told["changes"]
    assert (status, told["lean"], change["name"], change["what"], change["lean"]) == (
        200,
        "looser",
        "deploys-go",
        "added",
        "looser",
    )


def test_one_call_goes_back(editor: Caller, two: tuple[Release, Release]) -> None:
    path = f"/policies/releases/{two[0].pk}/rollback"
    status, told = editor.post(path, {"note": "too early", "deciding": two[1].digest})
    assert (status, told["release"]["digest"], told["changed"]) == (
        200,
        two[0].digest,
        ["rule deploys-go: removed"],
    )
    assert editor.post(path, {})[0] == 409


def test_an_agent_and_an_auditor_may_not(cast: Cast, two: tuple[Release, Release]) -> None:
    for caller in (Caller(cast.raw_key), Caller(people.issue_token(cast.auditor))):
        assert caller.post(f"/policies/releases/{two[0].pk}/rollback", {})[0] == 403
    assert releases.current().release_id == two[1].pk


def test_the_command_lists_and_goes_back(
    two: tuple[Release, Release], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("rollback")
    assert f"{two[1].pk}  {two[1].digest[:12]}" in capsys.readouterr().out
    call_command("rollback", str(two[0].pk))
    assert f"release {two[0].pk} again." in capsys.readouterr().out
    with pytest.raises(CommandError, match="decides already"):
        call_command("rollback", str(two[0].pk))
