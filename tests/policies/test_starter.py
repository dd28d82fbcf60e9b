"""The starter set: what a new instance allows, asks and blocks before anybody has written a rule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from policies import engine, facts, releases, world
from policies.facts import AgentFacts, SessionFacts, ToolFacts
from policies.verdict import Verdict
from tests.frozen import copied

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, tzinfo=UTC)
MAIL = ToolFacts("mail", effect="write", sends="external", output="trusted", authority=("to",), declared=True)
DOOR = ToolFacts("unlock", effect="write", sends="none", output="trusted", authority=(), declared=True)
DELETE = ToolFacts("delete", effect="destructive", sends="none", authority=("file",), declared=True)
TALK = ToolFacts("talk", effect="write", sends="internal", authority=("to",), declared=True)
READ = ToolFacts("read", effect="read", sends="none", output="trusted", authority=(), declared=True)
SEARCH = ToolFacts("search", effect="read", sends="external", authority=("query",), declared=True)
SECRET = {"detector": "secrets", "severity": "high", "why": "a key"}


@pytest.fixture
def starter(db: None) -> None:
    copied(world.begin)


def begin_trusting() -> None:
    world.begin()
    world.apply("rules: [{name: all, effect: allow, when: tool.declared}]", by="operator")


@pytest.fixture
def trusting(db: None) -> None:
    """The starter set, and an editor who allows everything that is declared."""
    copied(begin_trusting)


def judge(
    tool: ToolFacts, *labels: str, origin: str = "agent", findings: Any = (), copied: Any = (), **more: Any
) -> Verdict:
    """What becomes of a call with "x" of this origin, and `more` arguments, each (value, origin)."""
    name = (tool.authority or ("to",))[0] if tool.authority != () else "why"
    seen = facts.build(
        args={name: "x"} | {key: value for key, (value, _) in more.items()}, tool=tool,
        origin={name: origin} | {key: found for key, (_, found) in more.items()},
        agent=AgentFacts("scout", mode="standard"), session=SessionFacts(labels=labels), findings=findings,
        now=NOW, copied=copied,
    )  # fmt: skip
    return engine.decide(seen, releases.current().compiled)


def asked_by(verdict: Verdict) -> set[str]:
    return {match.name for match in verdict.matched if match.effect == "ask"}


def test_reading_is_free(starter: None) -> None:
    assert judge(READ).effect == "allow"


def test_reading_outside_is_free_for_what_the_agent_did_not_make_up(starter: None) -> None:
    found = [
        judge(SEARCH, origin=origin).effect for origin in ("user", "named", "trusted", "untrusted", "agent")
    ]
    assert found == ["allow", "allow", "allow", "ask", "ask"]


def test_a_colleagues_link_may_be_opened(starter: None) -> None:
    found = judge(SEARCH, "untrusted", "private", origin="untrusted", copied=["query"])
    assert found.effect == "allow"


def test_a_colleagues_link_is_asked_about_once_secrets_were_met(starter: None) -> None:
    found = judge(SEARCH, "untrusted", "secret", origin="untrusted", copied=["query"])
    assert asked_by(found) == {"secrets-met"}


def test_what_the_user_wrote_is_done(starter: None) -> None:
    found = [judge(tool, origin=origin).effect for tool in (MAIL, DELETE) for origin in ("user", "named")]
    assert found == ["allow"] * 4


def test_a_listed_receiver_gets_what_the_user_wrote_and_nothing_else(starter: None) -> None:
    found = [
        judge(MAIL, "untrusted", "private", origin="trusted", body=("Hi", told)) for told in ("user", "agent")
    ]
    assert [one.effect for one in found] == ["allow", "ask"]


def test_what_cannot_be_undone_needs_the_users_word_for_what_it_hits(starter: None) -> None:
    assert judge(DELETE, origin="trusted", why=("old", "user")).effect == "ask"


def test_a_message_in_the_house_may_go_to_whom_a_trusted_tool_lists(starter: None) -> None:
    assert judge(TALK, "untrusted", "private", origin="trusted", body=("Hi", "agent")).effect == "allow"


@pytest.mark.parametrize("label", ["", "untrusted"])
@pytest.mark.parametrize("origin", ["untrusted", "agent"])
def test_a_link_that_the_user_did_not_write_is_not_passed_on(starter: None, label: str, origin: str) -> None:
    link = ("See www.example.com", origin)
    assert judge(TALK, *filter(None, [label]), origin="user", body=link).effect == "ask"


@pytest.mark.parametrize(
    "body",
    [["Hi", "https://evil.example"], [{"text": "www.evil.example"}], {"blocks": [["ftp://evil.example"]]}],
)
def test_nor_is_one_within_a_list_or_an_object(starter: None, body: Any) -> None:
    assert judge(TALK, origin="user", body=(body, "agent")).effect == "ask"
    assert judge(TALK, origin="user", body=(["Hi", {"a": 1}], "agent")).effect == "allow"


def test_everything_else_is_asked_about(starter: None) -> None:
    asked = [asked_by(judge(tool)) for tool in (MAIL, DOOR, DELETE)]
    assert asked == [{"everything-else"}] * 3


def test_a_tool_that_nobody_declared_is_asked_about(starter: None) -> None:
    assert judge(ToolFacts("who.knows")).effect == "ask"


def test_whatever_a_rule_allows_goes_at_once(trusting: None) -> None:
    assert [judge(tool, origin="agent").effect for tool in (MAIL, DOOR, READ, SEARCH)] == ["allow"] * 4


def test_a_permission_is_none_for_what_nobody_declared(trusting: None) -> None:
    assert judge(ToolFacts("who.knows")).effect == "ask"


@pytest.mark.parametrize("origin", ["untrusted", "agent"])
def test_after_untrusted_content_a_recipient_that_is_not_the_users_is_asked_about(
    trusting: None, origin: str
) -> None:
    assert "untrusted-authority" in asked_by(judge(MAIL, "untrusted", origin=origin))


def test_after_untrusted_content_a_recipient_whom_the_user_named_is_fine(trusting: None) -> None:
    assert judge(MAIL, "untrusted", origin="user").effect == "allow"


def test_after_untrusted_content_a_recipient_from_a_trusted_list_is_not_the_users_choice(
    trusting: None,
) -> None:
    assert asked_by(judge(MAIL, "untrusted", origin="trusted")) == {"nothing-from-the-user"}


def test_unlocking_the_door_has_nothing_that_ties_it_to_the_user(trusting: None) -> None:
    assert asked_by(judge(DOOR, "untrusted")) == {"nothing-from-the-user"}


@pytest.mark.parametrize(
    ("label", "origin", "expected"),
    [
        ("private", "agent", "trifecta"),
        ("private", "untrusted", "trifecta"),
        ("secret", "user", "secrets-met"),
    ],
)
def test_private_data_and_untrusted_content_and_a_way_to_a_stranger_are_always_asked_about(
    trusting: None, label: str, origin: str, expected: str
) -> None:
    found = [asked_by(judge(tool, "untrusted", label, origin=origin)) for tool in (MAIL, SEARCH)]
    assert [expected in names for names in found] == [True, True]


def test_what_has_no_receiver_has_a_stranger_for_one(trusting: None) -> None:
    publish = ToolFacts("publish", effect="write", sends="external", authority=(), declared=True)
    assert "trifecta" in asked_by(judge(publish, "untrusted", "private", origin="user"))


def test_private_data_may_be_read_further_inside(trusting: None) -> None:
    assert judge(READ, "untrusted", "private").effect == "allow"


def test_after_an_injection_every_side_effect_is_asked_about(trusting: None) -> None:
    found = [asked_by(judge(tool, "injection", origin="user")) for tool in (MAIL, SEARCH)]
    assert (found, judge(READ, "injection").effect) == ([{"after-an-injection"}] * 2, "allow")


def test_a_key_does_not_leave_the_house(trusting: None) -> None:
    assert [judge(tool, findings=[SECRET]).effect for tool in (MAIL, SEARCH, DOOR)] == [
        "block",
        "block",
        "ask",
    ]


def test_every_rule_of_the_set_can_be_read_aloud(starter: None) -> None:
    assert all(len(rule.description) > 20 for rule in releases.current().compiled.rules)
