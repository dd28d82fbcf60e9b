"""The desk on which a rule is written: rows become CEL on the server, mistakes are told where they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from policies.models import Rule, Tool
from policies.ruledesk import MAX_WISH
from tests.cast import Cast, person
from traces.models import Entry

pytestmark = pytest.mark.django_db

BACKEND = "django.contrib.auth.backends.ModelBackend"
AMOUNT = {"subject": "args.amount", "operator": "gt", "values": ["500"]}


@pytest.fixture
def editor(client: Client, cast: Cast) -> Client:
    client.force_login(person("ed", roles=("editor",)), backend=BACKEND)
    return client


def ask(client: Client, **wish: Any) -> Any:
    form = {"effect": "ask", "approvers": "finance", "tools": "order.place", "quorum": "1", **wish}
    return client.post(
        reverse("admin:policies_rule_draft"), json.dumps(form), content_type="application/json"
    )


def rows(*items: Any, join: str = "all") -> dict[str, Any]:
    return {"join": join, "rows": list(items)}


def test_rows_become_cel_and_a_sentence(editor: Client) -> None:
    said = ask(editor, rows=rows(AMOUNT)).json()
    assert said["when"] == "has(args.amount) && args.amount > 500"
    assert said["sentence"].endswith("when any agent calls order.place and amount is greater than 500")


def test_what_the_chosen_tools_declare_is_offered_and_nothing_else_of_tools(editor: Client) -> None:
    offered = [item["expression"] for item in ask(editor, when="").json()["subjects"]]
    assert [name for name in offered if name.startswith("args")] == [
        "args.amount",
        "args.item",
        "args.supplier",
    ]
    assert {"session.labels", "findings", "authority", "now"} <= set(offered)


def test_cel_is_shown_as_rows_that_keep_what_was_written_by_hand(editor: Client) -> None:
    said = ask(editor, when="args.amount > 10000").json()
    assert said["rows"] == rows(
        {"subject": "args.amount", "operator": "gt", "values": [10000], "kept": True, "guard": ""}
    )
    assert ask(editor, rows=said["rows"]).json()["when"] == "args.amount > 10000"


def test_a_text_that_was_compared_with_a_number_stays_a_text_until_somebody_changes_it(
    editor: Client,
) -> None:
    said = ask(editor, when='args.amount == "500"').json()
    assert ask(editor, rows=said["rows"]).json()["when"] == 'args.amount == "500"'
    changed = [row | {"kept": False} for row in said["rows"]["rows"]]
    assert ask(editor, rows=rows(*changed)).json()["when"] == "args.amount == 500"


def test_a_group_of_rows_becomes_brackets(editor: Client) -> None:
    label = {"subject": "session.labels", "operator": "has", "values": ["private"]}
    other = {"subject": "tool.effect", "operator": "is_not", "values": ["read"]}
    said = ask(editor, rows=rows(AMOUNT, rows(label, other, join="any"))).json()
    assert said["when"] == (
        'has(args.amount) && args.amount > 500\n&& ("private" in session.labels || tool.effect != "read")'
    )


def test_cel_that_rows_cannot_show_says_so(editor: Client) -> None:
    said = ask(editor, when="args.amount * 2 > 500").json()
    assert (said["rows"], said["problems"]) == (None, [])


def test_a_mistake_is_told_with_its_line_and_column(editor: Client) -> None:
    problem = ask(editor, when="tool.declared &&\n  nonsense > 5").json()["problems"][0]
    assert (problem["line"], problem["column"]) == (2, 3)


def test_every_unfinished_row_is_named_and_no_cel_is_written(editor: Client) -> None:
    given = rows(
        {"subject": "args.amount", "operator": "gt", "values": []}, AMOUNT, {"subject": "", "operator": ""}
    )
    said = ask(editor, rows=given).json()
    assert said["when"] is None
    assert [problem["row"] for problem in said["row_problems"]] == [0, 2]


@pytest.mark.parametrize(
    "row",
    [
        {"subject": "args.amount) || (true", "operator": "gt", "values": ["5"], "kind": "number"},
        {"subject": "args.amount", "operator": "gt", "values": ["5) || (true"]},
        {"subject": "args.amount", "operator": "gt", "values": [{"a": 1}], "kept": True},
        {"subject": "args.amount", "operator": "gt", "values": ["5"], "guard": ") || true || ("},
        {"subject": "now", "operator": "before", "values": ['") || true || ("']},
        {
            "subject": 'now.getHours("UTC") > 0 || now.getHours("UTC")',
            "operator": "is",
            "values": [5],
            "kept": True,
        },
    ],
)
def test_a_forged_row_writes_nothing(editor: Client, row: dict[str, Any]) -> None:
    assert ask(editor, rows=rows(row)).json()["when"] is None


@pytest.mark.parametrize(
    "body",
    ["", "[]", "5", "{", '{"when": 5}', '{"rows": 5}', '{"rows": {"rows": [5]}}',
     '{"rows": {"rows": {"a": 1}}}', '{"rows": {"rows": [{"values": "abc"}]}}',
     '{"rows": {"join": "all", "rows": [{"rows": [{"rows": []}]}]}}',
     '{"when": "\\ud800"}', "\xff", "[" * 5000, '{"rows": {"join": "xor", "rows": []}}'],
)  # fmt: skip
def test_garbage_is_refused_or_says_nothing_and_never_breaks(editor: Client, body: str) -> None:
    answer = editor.post(
        reverse("admin:policies_rule_draft"), body.encode("latin-1"), content_type="application/json"
    )
    assert answer.status_code == 400 or not answer.json()["rows"]


@pytest.mark.parametrize("tools", ["*" * 60_000, ", ".join(["*a" * 50] * 500), "\x00", "\u202e", "(", "a b"])
def test_a_pattern_that_no_rule_may_hold_fits_nothing(editor: Client, tools: str) -> None:
    assert ask(editor, tools=tools, when="").json()["concerns"] == {"names": [], "count": 0}


def test_rows_say_which_cel_they_would_write_so_that_a_form_can_leave_what_means_the_same(
    editor: Client,
) -> None:
    said = ask(editor, when="args.amount  >  5 && has(args.supplier) && args.supplier == 'x'")
    again = ask(editor, rows=said.json()["rows"])
    assert said.json()["canonical"] == again.json()["when"] != said.json()["when"]


def test_an_argument_that_none_of_the_tools_takes_is_told(editor: Client) -> None:
    mistyped = 'args.amonut > 5 && args.supplier == "args.other" && has(args.amount)'
    assert ask(editor, when=mistyped).json()["unknown"] == ["amonut"]
    assert ask(editor, when=mistyped, tools="nobody.declared").json()["unknown"] == []


def test_lines_end_as_in_files_and_saving_them_again_changes_nothing(editor: Client) -> None:
    rule = Rule.objects.get(name="dear-orders")
    rule.when = "args.amount > 10000\n&& tool.declared"
    rule.save()
    form = {
        "name": "dear-orders", "description": "", "effect": "ask", "agents": "", "tools": "order.place",
        "when": "args.amount > 10000\r\n&& tool.declared", "approvers": "comms", "quorum": 1,
        "expires_after": "15m", "mode": "live", "enabled": "on",
    }  # fmt: skip
    told = Entry.objects.count()
    editor.post(reverse("admin:policies_rule_change", args=[rule.pk]), form)
    rule.refresh_from_db()
    assert (rule.when, Entry.objects.count()) == ("args.amount > 10000\n&& tool.declared", told)


def test_more_than_a_rule_can_hold_is_refused(editor: Client) -> None:
    assert ask(editor, when="x" * MAX_WISH).status_code == 400
    assert ask(editor, rows=rows(*[AMOUNT] * 51)).status_code == 400


@pytest.mark.parametrize(("role", "status"), [("editor", 200), ("auditor", 403), ("administrator", 403)])
def test_only_who_may_edit_policy_is_told_anything(
    client: Client, cast: Cast, role: str, status: int
) -> None:
    client.force_login(person("x", roles=(role,)), backend=BACKEND)
    assert ask(client, when="").status_code == status


def test_strangers_are_sent_to_sign_in_and_a_get_is_no_question(client: Client, editor: Client) -> None:
    assert editor.get(reverse("admin:policies_rule_draft")).status_code == 405
    assert ask(Client(), when="").status_code == 302


def test_a_page_of_another_site_cannot_ask(cast: Cast) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ed", roles=("editor",)), backend=BACKEND)
    assert ask(strict, when="").status_code == 403


def test_asking_stores_nothing(editor: Client) -> None:
    before = (Rule.objects.count(), Entry.objects.count())
    ask(editor, rows=rows(AMOUNT))
    assert (Rule.objects.count(), Entry.objects.count()) == before


def test_a_tool_with_a_strange_schema_spoils_nothing(editor: Client) -> None:
    Tool.objects.create(
        name="odd",
        parameters={
            "properties": {"a b": {"type": ["string", "null"]}, "x": True, "y": {"$ref": "#/nowhere"}}
        },
    )
    found = {
        item["expression"]: item["kind"] for item in ask(editor, tools="odd", when="").json()["subjects"]
    }
    assert (found['args["a b"]'], found["args.y"]) == ("text", "any")


def test_the_form_leads_from_the_saved_draft_to_the_backtest(editor: Client) -> None:
    form = {
        "name": "dear", "description": "", "effect": "ask", "agents": "", "tools": "order.place",
        "mode": "live",
        "when": "has(args.amount) && args.amount > 500", "approvers": "finance", "quorum": 1,
        "expires_after": "15m", "enabled": "on", "_backtest": "1",
    }  # fmt: skip
    answer = editor.post(reverse("admin:policies_rule_add"), form)
    assert (answer.status_code, answer["Location"]) == (302, reverse("policy-backtest"))
    assert Rule.objects.get(name="dear").when == "has(args.amount) && args.amount > 500"


def test_the_list_of_rules_reads_conditions_in_words(editor: Client) -> None:
    page = editor.get(reverse("admin:policies_rule_changelist")).content.decode()
    assert "calls order.place and amount is greater than 10000" in page


def test_an_auditor_reads_the_rule_and_gets_no_desk(client: Client, cast: Cast) -> None:
    client.force_login(person("x", roles=("auditor",)), backend=BACKEND)
    rule = Rule.objects.get(name="dear-orders")
    page = client.get(reverse("admin:policies_rule_change", args=[rule.pk])).content.decode()
    assert "amount is greater than 10000" in page and "rule.js" not in page
