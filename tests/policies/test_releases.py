"""Releases: what decides is what was frozen, and nothing that is not sound gets frozen."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from policies import engine, facts, releases, world
from policies.models import Case, Release, Rule, Tool
from policies.tooling import ToolDef
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def allow_reads(name: str = "reads", **fields: Any) -> Rule:
    given = {"effect": "allow", "when": "tool.effect == 'read'", **fields}
    return Rule.objects.create(name=name, **given)


def effect(tool: str = "notes.read", **labels: Any) -> str:
    active = releases.current()
    seen = facts.build(
        args={}, tool=active.tool(tool).facts(), agent=facts.AgentFacts("scout", mode="standard"), now=NOW,
        session=facts.SessionFacts(**labels),
    )  # fmt: skip
    return engine.decide(seen, active.compiled).effect


@pytest.fixture
def notes(db: None) -> Tool:
    return Tool.objects.create(name="notes.read", effect="read", sends="none", output="trusted")


def refused(**arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        releases.publish(by="operator", **arguments)
    return caught.value


def test_before_the_first_release_everything_is_blocked(notes: Tool) -> None:
    allow_reads()
    assert (effect(), releases.current().release_id) == ("block", 0)


def test_a_rule_decides_once_it_is_published(notes: Tool) -> None:
    allow_reads()
    releases.publish(by="operator")
    assert effect() == "allow"


def test_a_draft_changed_after_publishing_changes_nothing(notes: Tool) -> None:
    rule = allow_reads()
    releases.publish(by="operator")
    releases.edit(row=rule, values={"effect": "block"}, by="operator")
    assert effect() == "allow"


def test_a_tool_changed_after_publishing_is_still_what_it_was(notes: Tool) -> None:
    allow_reads()
    releases.publish(by="operator")
    before = releases.current().tool("notes.read").manifest
    releases.edit(row=notes, values={"effect": "destructive"}, by="operator")
    assert (releases.current().tool("notes.read").manifest, effect()) == (before, "allow")


def test_publishing_the_same_again_makes_no_release(notes: Tool) -> None:
    allow_reads()
    first, second = (releases.publish(by="operator") for _ in range(2))
    assert (first.pk, Entry.objects.filter(kind="policy.published").count()) == (second.pk, 1)


def test_equal_rules_have_equal_digests_whatever_happened_between(notes: Tool) -> None:
    rule = allow_reads()
    first = releases.publish(by="operator")
    rule.delete()
    releases.publish(by="operator")
    allow_reads()
    assert releases.publish(by="operator").digest == first.digest


def test_the_newest_release_is_read_once_and_then_costs_one_query(
    notes: Tool, django_assert_num_queries: Any
) -> None:
    allow_reads()
    releases.publish(by="operator")
    releases.current()
    with django_assert_num_queries(1):
        releases.current()


def test_a_release_says_in_the_log_what_it_changed(notes: Tool) -> None:
    allow_reads()
    releases.publish(by="operator", note="a first one")
    body = record.open_payload(Entry.objects.get(kind="policy.published"))
    assert (body["note"], body["changes"][:2]) == (
        "a first one",
        ["rule reads: added", "tool notes.read: added"],
    )


def test_the_digest_is_over_exactly_the_content(notes: Tool) -> None:
    allow_reads()
    release = releases.publish(by="operator")
    Release.objects.filter(pk=release.pk).update(content=release.content.replace("allow", "block"))
    releases._load.cache_clear()
    with pytest.raises(Refused, match="was altered") as caught:
        releases.current()
    assert caught.value.code == "unavailable"


# What keeps a draft from being published


@pytest.mark.parametrize("when", ["args.x +", "nonsense", "size(args)", "has(tool.name)"])
def test_a_condition_that_does_not_type_check_is_named(when: str) -> None:
    allow_reads("night-shift", when=when)
    assert "rule night-shift" in refused().detail and not Release.objects.exists()


def test_a_rule_is_checked_even_while_it_is_disabled() -> None:
    allow_reads("later", when="oops(", enabled=False)
    assert "rule later" in refused().detail


def test_a_schema_that_cannot_judge_arguments_is_named() -> None:
    Tool.objects.create(name="odd", parameters={"type": "array"})
    assert "tool odd: parameters/type" in refused().detail


def test_a_case_that_fails_is_named_with_what_came_out(notes: Tool) -> None:
    allow_reads()
    Case.objects.create(name="notes are secret", tool="notes.read", expect="block")
    assert refused().detail.startswith("case notes are secret: it expects block and gets allow")


def test_a_case_whose_arguments_the_tool_does_not_take_is_named(notes: Tool) -> None:
    allow_reads()
    Case.objects.create(name="with an id", tool="notes.read", args={"id": 1}, expect="allow")
    assert "its arguments are not what notes.read takes" in refused().detail


def test_every_problem_is_told_at_once(notes: Tool) -> None:
    allow_reads("one", when="oops(")
    allow_reads("two", when="oops(")
    assert [problem["name"] for problem in refused().extra["problems"]] == ["one", "two"]


def test_a_case_sees_what_the_firewall_finds(notes: Tool) -> None:
    Rule.objects.create(name="no-secrets", effect="block", when="findings.exists(f, f.detector == 'secrets')")
    Rule.objects.create(name="rest", effect="allow", tools=["say"])
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    Tool.objects.create(name="say", parameters=schema)
    Case.objects.create(
        name="a key",
        tool="say",
        args={"text": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"},
        expect="block",
    )
    Case.objects.create(name="a word", tool="say", args={"text": "hello"}, expect="allow")
    assert releases.publish(by="operator").pk


def test_a_case_says_in_which_session_and_where_arguments_came_from() -> None:
    when = "'untrusted' in session.labels && authority.exists(n, authority[n] == 'untrusted')"
    Rule.objects.create(name="ask", effect="ask", when=when, approvers="comms")
    Rule.objects.create(name="rest", effect="allow", tools=["say"])
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    Tool.objects.create(name="say", parameters=schema, authority=["to"])
    common = {"tool": "say", "args": {"to": "ann"}}
    Case.objects.create(name="a", labels=["untrusted"], origin={"to": "untrusted"}, expect="ask", **common)
    Case.objects.create(name="b", labels=["untrusted"], origin={"to": "user"}, expect="allow", **common)
    Case.objects.create(name="c", origin={"to": "untrusted"}, expect="allow", **common)
    assert releases.publish(by="operator").pk


# Four eyes


def test_whoever_changed_the_draft_does_not_publish_it(settings: Any, notes: Tool) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    releases.edit(row=allow_reads(), values={"description": "mine"}, by="user:1")
    with pytest.raises(Refused, match="somebody else has to publish it"):
        releases.publish(by="user:1")
    assert releases.publish(by="user:2").pk


def test_changes_of_an_earlier_release_do_not_count(settings: Any, notes: Tool) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    rule = allow_reads()
    releases.edit(row=rule, values={"description": "one"}, by="user:1")
    releases.publish(by="user:2")
    releases.edit(row=rule, values={"description": "two"}, by="user:2")
    assert releases.publish(by="user:1").pk


def test_with_four_eyes_a_file_leaves_a_draft_and_says_so(settings: Any) -> None:
    world.begin()
    settings.AGENTSEC_FOUR_EYES = True
    report = world.apply("rules: [{name: x, effect: block}]", by="operator")
    assert (report.published, "four-eyes is on" in report.draft, Release.objects.count()) == (None, True, 1)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_publish_the_same_draft_at_once_one_makes_a_release() -> None:
    allow_reads()
    made: list[int] = []

    def publish() -> None:
        try:
            made.append(releases.publish(by="operator").pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(set(made)), Release.objects.count()) == (8, 1, 1)


# Tools


def test_a_tool_that_nobody_declared_is_the_worst_there_is() -> None:
    tool = releases.current().tool("who.knows")
    found = (tool.effect, tool.sends, tool.output, tool.authority_in({"a": 1, "b": 2}), tool.declared)
    assert found == ("destructive", "external", "untrusted", ("a", "b"), False)


def test_everything_about_a_tool_is_in_its_manifest() -> None:
    plain = ToolDef(name="x")
    others = [ToolDef(name="x", **{field: value}) for field, value in [
        ("description", "d"), ("runs", "shell"), ("effect", "read"), ("output", "trusted"), ("sends", "none"),
        ("returns", ("private",)), ("untrusted_fields", ("a",)), ("idempotent", True), ("authority", ("a",)),
        ("target", "a"), ("summary", "s"), ("labels", ("l",)), ("parameters", {"type": "object"}),
        ("config", {"argv": ["x"]}), ("declared", False),
    ]]  # fmt: skip
    assert len({tool.manifest for tool in (plain, *others)}) == len(others) + 1


def test_a_definition_survives_being_stored() -> None:
    tool = ToolDef(
        name="x", authority=None, labels=("a",), parameters={"type": "object"}, config={"argv": ["a"]}
    )
    assert ToolDef.from_json(tool.to_json()) == tool


def test_a_tool_without_parameters_takes_none(notes: Tool) -> None:
    releases.publish(by="operator")
    assert releases.current().tool("notes.read").parameters == {"type": "object", "properties": {}}


def test_pausing_a_tool_does_not_change_what_it_is(notes: Tool) -> None:
    before = releases.definition(notes).manifest
    notes.paused = True
    assert releases.definition(notes).manifest == before
