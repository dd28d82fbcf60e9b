"""The world file: strictly read, applied whole or not at all, dumped as it stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import releases, world, worldfile
from policies.models import Agent, Case, Release, Rule, Tool, User
from policies.world import WorldRefused
from tests.lengths import tries
from traces import record
from traces.models import Entry

pytestmark = pytest.mark.django_db

MAIL = """
agents:
  - name: billing-bot
    owner: ops-lead
    team: finance
    mode: standard
    labels: [finance]
    limits: {actions_per_minute: 60, actions_per_day: 5000, pending: 50}
tools:
  - name: email.send
    description: Send an email
    runs: agent
    effect: write
    output: untrusted
    untrusted_fields: []
    returns: []
    sends: external
    idempotent: false
    authority: [to, cc, bcc]
    target: to
    summary: "Send “{subject}” to {to}"
    parameters: {type: object, properties: {to: {type: array, items: {type: string}}, cc: {type: array},
      bcc: {type: array}, subject: {type: string}, body: {type: string}, attachments: {type: array}},
      required: [to, subject, body]}
rules:
  - name: mass-mail
    effect: ask
    tools: [email.send]
    when: recipients(args) > 2 || (has(args.attachments) && size(args.attachments) > 0)   # to, cc and bcc
    approvers: comms
    quorum: 1
    expires_after: 15m
cases:
  - name: a newsletter is asked about
    tool: email.send
    args: {to: [a@x.example, b@x.example, c@x.example], subject: News, body: Hello}
    expect: ask
"""


def apply(text: str) -> world.Report:
    return world.apply(text, by="operator")


def refused(text: str) -> str:
    with pytest.raises(WorldRefused) as caught:
        apply(text)
    return caught.value.detail


def test_a_file_makes_agents_tools_rules_and_cases_and_says_so() -> None:
    report = apply(MAIL)
    assert report.changes == [
        "person ops-lead: declared; `manage.py user create ops-lead` invites them",
        "group finance: created",
        "agent billing-bot: created, standard",
        "tool email.send: created",
        "group comms: created",
        "rule mass-mail: created",
        "case a newsletter is asked about: created",
    ]


def test_applying_it_again_changes_nothing() -> None:
    apply(MAIL)
    before = (Entry.objects.count(), Release.objects.count())
    report = apply(MAIL)
    assert (report.changes, report.published, (Entry.objects.count(), Release.objects.count())) == (
        [],
        None,
        before,
    )


def test_what_is_applied_decides() -> None:
    apply(MAIL)
    assert [rule.name for rule in releases.current().compiled.rules] == ["mass-mail"]


def test_a_new_instance_begins_with_the_starter_set() -> None:
    report = world.begin()
    names = [rule.name for rule in releases.current().compiled.rules]
    assert report.published and world.begin() is None and "everything-else" in names


# What is refused, and where it says so


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "line 1: a world file is a mapping of agents, tools, rules, cases"),
        ("rulez: []", "line 1, rulez: is unknown here; a world file has agents, tools, rules, cases"),
        ("rules: {}", "line 1, rules: must be a list"),
        ("rules:\n  - x", "line 2, rules[0]: must be a mapping"),
        ("rules:\n  - effect: ask", "line 2, rules[0].name: is missing"),
        (
            "rules:\n  - name: a\n    effect: allow\n    whem: 'true'",
            "line 4, rules[0].whem: is not a field; there are name",
        ),
        (
            "rules:\n  - name: a\n    effect: maybe",
            "line 3, rules[0].effect: 'maybe' is not one of allow, ask, block",
        ),
        ("rules:\n  - name: a", "line 2, rules[0].effect: is missing"),
        ("rules:\n  - name: a\n    effect: ask", "line 2, rules[0]: a rule that asks names its approvers"),
        (
            "rules:\n  - {name: a, effect: allow}\n  - {name: a, effect: allow}",
            "line 3, rules[1].name: a stands already on line 2",
        ),
        ("rules:\n  - name: a\n    effect: allow\n    when: args.x +", "line 4, rules[0].when: Syntax error"),
        (
            "rules:\n  - name: a\n    effect: allow\n    when:",
            'line 4, rules[0].when: is empty: write null or ""',
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    quorum: 0",
            "line 4, rules[0].quorum: must be a whole number from 1 to 20",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    quorum: true",
            "line 4, rules[0].quorum: must be a whole number from 1 to 20",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    expires_after: 15",
            "line 4, rules[0].expires_after: must be a time with its unit",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    enabled: yes",
            "line 4, rules[0].enabled: must be true or false",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    until: 2030-01-01",
            "line 4, rules[0].until: must carry its time zone",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    until: soon",
            "line 4, rules[0].until: must be a moment such as",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    tools: email.send",
            "line 4, rules[0].tools: must be a list",
        ),
        (
            "rules:\n  - name: a\n    effect: allow\n    tools: [a,\n      b c]",
            "line 5, rules[0].tools[1]: 'b c' is not a name or a pattern",
        ),
        (
            "rules:\n  - name: a\n    effect: ask\n    approvers: '@boss'",
            "line 4, rules[0].approvers: '@boss' is neither a group nor @user",
        ),
        ("rules:\n  - name: no\n    effect: allow", "line 2, rules[0].name: 'no' is read differently"),
        ("rules:\n  - name: 1\n    effect: allow", "line 2, rules[0].name: must be a text: quote it ('1')"),
        ("rules:\n  - name: |\n      a\n    effect: allow", "line 2, rules[0].name: 'a\\n' is not a name"),
        (
            "agents:\n  - name: a\n    mode: god",
            "line 3, agents[0].mode: 'god' is not one of read_only, standard, paused",
        ),
        (
            "agents:\n  - name: a\n    limits: {pending: -1}",
            "line 3, agents[0].limits.pending: must be a whole number from 0",
        ),
        ("agents:\n  - name: a\n    limits: {hourly: 1}", "line 3, agents[0].limits.hourly: is not a limit"),
        (
            "agents:\n  - name: a\n    labels: [Finance]",
            "line 3, agents[0].labels[0]: 'Finance' is not a label",
        ),
        (
            "tools:\n  - name: t\n    returns: [public]",
            "line 3, tools[0].returns[0]: 'public' is not one of private, secret",
        ),
        (
            "tools:\n  - name: t\n    parameters: {type: array}",
            "line 3, tools[0].parameters.type: arguments are an object",
        ),
        (
            "tools:\n  - name: t\n    parameters:\n      x: no",
            "line 4, tools[0].parameters: 'no' is read differently",
        ),
        (
            "tools:\n  - name: t\n    parameters: {properties: {a: {pattern: '(?=x)'}}}",
            "line 3, tools[0].parameters.properties.a",
        ),
        (
            "tools:\n  - name: t\n    authority: [to]",
            "line 3, tools[0].authority: 'to' is no parameter of the tool",
        ),
        (
            "tools:\n  - name: t\n    summary: To {to}",
            "line 3, tools[0].summary: 'to' is no parameter of the tool",
        ),
        (
            "tools:\n  - name: t\n    minutes: 600",
            "line 3, tools[0].minutes: must be a whole number from 1 to 60",
        ),
        ('tools:\n  - name: t\n    description: "a\\0b"', "line 3, tools[0].description: holds a NUL"),
        ("cases:\n  - name: c\n    tool: t", "line 2, cases[0].expect: is missing"),
        (
            'cases:\n  - name: c\n    tool: t\n    expect: ask\n    args: {a: "\\0"}',
            "line 5, cases[0].args: holds a NUL",
        ),
        (
            "cases:\n  - name: c\n    tool: t\n    expect: ask\n    origin: {to: heaven}",
            "line 5, cases[0].origin: 'heaven' is not one of",
        ),
        (
            "cases:\n  - name: c\n    tool: t\n    expect: allow",
            "line 2, cases[0]: it expects allow and gets block",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_field(text: str, why: str) -> None:
    assert refused(text).startswith(why)


def test_every_mistake_is_told_at_once() -> None:
    lines = refused("agents:\n  - name: a b\nrules:\n  - name: x\n    effect: no\ntools: 1").split("\n")
    assert [line.split(":")[0] for line in lines] == [
        "line 2, agents[0].name",
        "line 5, rules[0].effect",
        "line 6, tools",
    ]


def test_one_mistake_refuses_the_whole_file() -> None:
    refused(MAIL + "\n  - {name: another, tool: email.send, expect: allow}")
    found = [model.objects.count() for model in (Agent, Tool, Rule, Case, User, Release, Entry)]
    assert found == [0] * 7


def test_a_draft_in_the_admin_that_is_not_sound_is_named_though_it_is_not_in_the_file() -> None:
    Rule.objects.create(name="half-done", effect="allow", when="args.x +")
    why = refused("agents: [{name: a}]")
    assert why.startswith("rule half-done: Syntax error") and "it is not in this file" in why


# What a file changes and what it leaves


def test_what_a_later_file_does_not_mention_stays() -> None:
    apply(MAIL)
    report = apply("rules: [{name: reads, effect: allow, when: tool.effect == 'read'}]")
    assert (report.changes, Tool.objects.count(), Rule.objects.count()) == (["rule reads: created"], 1, 2)


@pytest.mark.parametrize("text", ["rules: []", "tools: []", "{}"])
def test_a_file_without_rules_leaves_them_standing(text: str) -> None:
    apply(MAIL)
    apply(text)
    assert [rule.name for rule in releases.current().compiled.rules] == ["mass-mail"]


def test_a_field_that_is_no_longer_mentioned_has_its_default_again() -> None:
    apply(MAIL)
    report = apply("rules: [{name: mass-mail, effect: ask, tools: [email.send], approvers: comms}]")
    assert (report.changes, Rule.objects.get().when) == (["rule mass-mail: when changed"], "")


def test_a_file_that_does_not_mention_the_mode_does_not_let_a_paused_agent_go() -> None:
    apply(MAIL)
    Agent.objects.update(mode="paused")
    apply(MAIL.replace("    mode: standard\n", ""))
    assert Agent.objects.get().mode == "paused"


def test_a_file_that_does_not_mention_it_does_not_resume_a_paused_tool() -> None:
    apply(MAIL)
    Tool.objects.update(paused=True)
    assert (apply(MAIL).changes, Tool.objects.get().paused) == ([], True)


def test_a_new_agent_may_only_read() -> None:
    apply("agents: [{name: a}]")
    assert Agent.objects.get().mode == "read_only"


def test_a_change_of_mode_is_said_with_what_it_was() -> None:
    apply(MAIL)
    Agent.objects.update(mode="paused")
    assert apply(MAIL).changes == ["agent billing-bot: mode paused → standard changed"]


def test_true_is_not_one() -> None:
    text = "cases: [{name: c, tool: t, args: {x: 1}, expect: block}]"
    apply(text)
    assert apply(text.replace("x: 1", "x: true")).changes == ["case c: args changed"]


@pytest.mark.parametrize(
    ("kind", "name"), [("tools", "email.send"), ("rules", "mass-mail"), ("agents", "billing-bot")]
)
def test_an_item_is_removed_by_saying_so(kind: str, name: str) -> None:
    apply(MAIL + "    labels: []\n")
    apply("cases: [{name: a newsletter is asked about, absent: true}]")
    report = apply(f"{kind}: [{{name: {name}, absent: true}}]")
    assert report.changes == [f"{kind[:-1]} {name}: removed"]


def test_removing_what_is_not_there_changes_nothing() -> None:
    apply(MAIL)
    assert apply("rules: [{name: nobody, absent: true}]").changes == []


def test_a_rule_for_a_group_in_which_nobody_may_approve_is_said() -> None:
    assert any(line.startswith("Nobody of comms can answer") for line in apply(MAIL).warnings)


def test_a_rule_for_a_tool_that_nobody_declared_is_said() -> None:
    report = apply("rules: [{name: a, effect: block, tools: [emial.send, 'web.*']}]")
    assert report.warnings == ["rule a names the tool emial.send, which nobody declared"]


def test_the_log_tells_who_applied_what() -> None:
    apply(MAIL)
    entries = Entry.objects.filter(kind="policy.drafted")
    assert [(entry.actor, record.open_payload(entry)["changes"]) for entry in entries] == [
        ("operator", ["tool email.send: created", "group comms: created", "rule mass-mail: created",
                      "case a newsletter is asked about: created"])
    ]  # fmt: skip


# Dumping


def test_what_is_dumped_changes_nothing_here() -> None:
    world.begin()
    apply(MAIL)
    report = apply(world.dump())
    assert (report.changes, report.published) == ([], None)


def test_what_is_dumped_makes_another_instance_the_same() -> None:
    apply(MAIL)
    text, digest = world.dump(), releases.current().digest
    for model in (Case, Rule, Tool, Agent, User, Release):
        model.objects.all().delete()
    apply(text)
    assert (world.dump(), releases.current().digest) == (text, digest)


def test_a_case_keeps_what_it_says_of_its_session() -> None:
    said = {"tools": ["notes.*"], "did": ["tests.run"], "attested": False, "age": 60}
    Case.objects.create(name="c", tool="t", expect="block", session=said, or_stricter=True)
    text = world.dump()
    Case.objects.all().delete()
    apply(text)
    assert Case.objects.values_list("session", "or_stricter").get() == (said, True)


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ("[]", "line 1, cases[0].session: must be a mapping of purpose, tools, read"),
        ("{reed: [x]}", "cases[0].session.reed: is not a fact of a session; there are purpose, tools, read"),
        ("{read: x}", "cases[0].session.read: must be a list"),
        ("{did: [a, b c]}", "cases[0].session.did[1]: 'b c' is not a name"),
        ("{attested: 1}", "cases[0].session.attested: must be true or false"),
    ],
)
def test_what_a_case_says_of_its_session_is_read_strictly(session: str, why: str) -> None:
    assert why in refused(f"cases: [{{name: c, tool: t, expect: ask, session: {session}}}]")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)
RULES = st.fixed_dictionaries(
    {"description": TEXT, "agents": st.lists(st.sampled_from(["a-*", "b?", "*"]), max_size=2)},
    optional={
        "expires_after": st.integers(1, 2_592_000), "quorum": st.integers(1, 20), "fallback": st.booleans(),
        "until": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
        "when": st.sampled_from(["", "args.x == 'no'", "true", "args.x == \"\\u202e\"", "true\n&& true"]),
    },
)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(RULES, max_size=3), st.dictionaries(TEXT, TEXT | st.integers(-9, 9) | st.none(), max_size=3))
def test_whatever_is_dumped_is_read_back(rules: list[dict[str, Any]], args: dict[str, Any]) -> None:
    with transaction.atomic():
        for number, rule in enumerate(rules):
            Rule.objects.create(name=f"r{number}", effect="allow", **rule)
        Case.objects.create(name="c", tool="t", args=args, expect="block")
        report = apply(world.dump())
        assert report.changes == []
        transaction.set_rollback(True)


@given(st.text(max_size=200) | st.text("agentsrulesname: -[]{}\n'\"&*!,", max_size=200))
@settings(max_examples=tries(300), deadline=None)
def test_any_text_at_all_is_read_or_refused(text: str) -> None:
    assert worldfile.read(text) is not None


def test_a_large_file_is_read_in_seconds() -> None:
    rules = "".join(
        f"  - {{name: r{number}, effect: block, when: args.x == {number}}}\n" for number in range(500)
    )
    assert len(apply("rules:\n" + rules).changes) == 500
