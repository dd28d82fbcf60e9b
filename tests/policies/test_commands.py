"""The commands of manage.py, called in this process: what they print, and one line for what they refuse."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from policies import agents, people, releases, secrets
from policies.models import Agent, Rule, User

pytestmark = pytest.mark.django_db
RULE = "rules: [{name: quiet, effect: block, tools: [loud.*]}]\n"


def manage(*words: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def last_word(*words: str) -> str:
    return manage(*words).split()[-1]


def refused(*words: str) -> str:
    with pytest.raises(CommandError) as caught:
        manage(*words)
    return str(caught.value)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(raw: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))

    return give


def test_applying_a_file_says_what_changed_and_which_release_decides(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(RULE)
    first, second = manage("apply", str(file)), manage("apply", str(file))
    assert re.fullmatch(
        r"A new instance: it began with the starter set\.\nrule quiet: created\nPublished as release \d+\.\n",
        first,
    )
    assert second == "Nothing to change.\n"


def test_the_starter_set_stays_where_a_file_says_nothing_of_it(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(RULE)
    manage("apply", str(file))
    assert {"quiet", "everything-else"} <= {rule.name for rule in releases.current().compiled.rules}


def test_a_file_comes_from_standard_input_too(stdin: Any) -> None:
    stdin(RULE.encode())
    manage("apply", "-")
    assert Rule.objects.filter(name="quiet").exists()


def test_a_refused_file_is_one_line_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text("rules:\n  - name: x\n    effect: maybe\n")
    assert refused("apply", str(file)) == "line 3, rules[0].effect: 'maybe' is not one of allow, ask, block"


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_bytes(b"\xff\xfe")
    found = [refused("apply", str(path)) for path in (file, tmp_path, tmp_path / "none.yaml")]
    assert [line.replace(str(tmp_path), "") for line in found] == [
        "/world.yaml is not UTF-8: byte 0 is no part of a character",
        " cannot be read: Is a directory",
        "/none.yaml cannot be read: No such file or directory",
    ]


def test_what_is_dumped_is_what_apply_takes(tmp_path: Path) -> None:
    manage("apply", "starter")
    file = tmp_path / "dump.yaml"
    file.write_text(manage("dump"))
    assert manage("apply", str(file)) == "Nothing to change.\n"


def test_an_agents_key_is_the_last_word() -> None:
    key = agents.authenticate_key(last_word("agent", "create", "scout"))
    assert (key.agent.name, key.scopes) == ("scout", ["act"])


def test_an_agent_that_is_there_gets_another_key() -> None:
    keys = [last_word("agent", "create", "scout", "--scopes", scopes) for scopes in ("act", "act,attest")]
    assert ([agents.authenticate_key(raw).attests for raw in keys], Agent.objects.count()) == (
        [False, True],
        1,
    )


def test_whoever_makes_an_attesting_key_is_told_what_it_is() -> None:
    assert "keep it in the host application" in manage("agent", "create", "scout", "--scopes", "attest")


def test_a_key_is_replaced_and_ended() -> None:
    old = last_word("agent", "create", "scout")
    new = last_word("agent", "rotate", "scout", "--overlap", "0")
    manage("agent", "revoke", "scout", "--key", new[:12])
    assert [agents.authenticate_key(raw) for raw in (old, new)] == [None, None]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["create", "a b"], "is no agent's name"),
        (["create", "x", "--scopes", "root"], "A key's scopes are act and attest"),
        (["create", "x", "--scopes", ""], "A key's scopes are act and attest"),
        (["create", "x", "--days", "0"], "The number of days"),
        (["rotate", "nobody"], "There is no agent called nobody."),
        (["revoke", "nobody"], "There is no agent called nobody."),
    ],
)
def test_what_cannot_be_done_for_an_agent_is_one_line(words: list[str], why: str) -> None:
    assert why in refused("agent", *words)


def test_a_refused_key_leaves_no_agent_behind() -> None:
    refused("agent", "create", "scout", "--scopes", "root")
    assert not Agent.objects.exists()


def test_an_invitation_is_the_last_word_and_new_groups_are_said(settings: Any) -> None:
    settings.AGENTSEC_URL = "https://control.example.com"
    said = manage("user", "create", "ann", "--groups", "comms,finance")
    assert said.startswith("Group comms created.\nGroup finance created.\n")
    assert (
        people.peek(
            re.fullmatch(r"https://control\.example\.com/welcome/(\S+)", said.split()[-1]).group(1)
        ).user.username
        == "ann"
    )


def test_a_person_is_approver_and_member_unless_it_is_said_otherwise() -> None:
    manage("user", "create", "ann")
    manage("user", "create", "olga", "--roles", "auditor")
    assert [user.roles for user in User.objects.order_by("username")] == [["approver", "member"], ["auditor"]]


def test_a_person_whom_a_file_declared_is_completed(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text("agents: [{name: scout, owner: ann}]")
    manage("apply", str(file))
    manage("user", "create", "ann")
    assert User.objects.get(username="ann").is_active


def test_a_link_for_a_new_password_is_the_last_word() -> None:
    manage("user", "create", "ann")
    token = last_word("user", "reset", "ann").rpartition("/")[2]
    assert people.peek(token).user.username == "ann"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["create", "a b"], "names no person"),
        (["create", "x", "--roles", "root"], "root is not a role"),
        (["create", "x", "--groups", "@a"], "names no group"),
        (["reset", "nobody"], "There is no person called nobody."),
        (["create", "x", "--email", "x"], "That is no address"),
    ],
)
def test_what_cannot_be_done_for_a_person_is_one_line(words: list[str], why: str) -> None:
    assert why in refused("user", *words)
    assert not User.objects.exists()


def test_a_token_is_the_last_word_and_ends_with_all_the_others() -> None:
    manage("user", "create", "ann")
    raws = [last_word("token", "create", "ann") for _ in range(2)]
    before = [people.authenticate_token(raw).username for raw in raws]
    assert (before, manage("token", "revoke", "ann")) == (["ann", "ann"], "2 tokens of ann ended.\n")
    assert [people.authenticate_token(raw) for raw in raws] == [None, None]


def test_a_secret_is_read_from_standard_input_and_never_printed(stdin: Any) -> None:
    stdin(b"hunter2-and-more\n")
    said = manage("secret", "set", "database")
    assert ("hunter2-and-more" in said + manage("secret", "list"), secrets.read("database")) == (
        False,
        "hunter2-and-more",
    )


@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff", b"x" * 70_000])
def test_a_secret_that_cannot_be_kept_is_refused(stdin: Any, raw: bytes) -> None:
    stdin(raw)
    assert refused("secret", "set", "database")


@pytest.mark.parametrize("command", ["apply", "dump", "agent", "user", "token", "secret"])
def test_every_command_helps(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")
    assert "--home DIR" in capsys.readouterr().out
