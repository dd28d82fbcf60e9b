"""Each kind of payload, as a reviewer sees it. Pure: arguments in, what is drawn out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from approvals import payloads
from approvals.payloads import Call, Context, Drawing, Past
from approvals.payloads.changes import patched
from approvals.payloads.linediff import diff
from approvals.payloads.money import grouped, iban_problem, in_fours
from approvals.payloads.sql import understand
from policies import lookalikes
from policies.worldfile import PREVIEWS

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
IBAN = "DE89370400440532013000"


def call(args: dict[str, Any], runs: str = "agent", **about: Any) -> Call:
    return Call(args, Context(runs=runs, **about))


def kind(args: dict[str, Any], runs: str = "agent", **about: Any) -> str:
    return payloads.kind_of(call(args, runs, **about)).name


def drawn(args: dict[str, Any], *past: Past, runs: str = "agent", **about: Any) -> Drawing:
    made = call(args, runs, **about)
    return payloads.kind_of(made).draw(made, past)


def before(args: dict[str, Any], **about: Any) -> Past:
    return Past("earlier", NOON, args, **about)


@pytest.mark.parametrize(
    ("args", "tool", "expected"),
    [
        ({"to": ["a@b.example"], "subject": "Hi", "body": "x"}, "email.send", "mail"),
        ({"command": "ls"}, "Bash", "shell"),
        ({"argv": ["ls", "-l"]}, "shell.run", "shell"),
        ({"database": "crm", "statement": "select 1"}, "sql.query", "sql"),
        ({"query": "weather in Bonn"}, "web.search", "table"),
        ({"url": "https://a.example", "method": "POST"}, "anything", "http"),
        ({"url": "https://a.example"}, "http.fetch", "http"),
        ({"file_path": "a.py", "old_string": "x", "new_string": "y"}, "Edit", "changes"),
        ({"path": "a.py", "content": "x"}, "files.write", "changes"),
        ({"amount": 12.5, "currency": "EUR", "iban": IBAN}, "pay", "money"),
        ({"amount": 3, "unit": "kg"}, "stock.take", "table"),
        ({"id": 7}, "notes.read", "table"),
        ({"code": "print(1)"}, "python.exec", "python"),
    ],
)
def test_the_kind_is_found_by_names_and_arguments(args: dict[str, Any], tool: str, expected: str) -> None:
    assert kind(args, tool=tool) == expected


def test_the_tools_definition_has_the_last_word_and_an_unknown_kind_none() -> None:
    args = {"amount": 5, "currency": "EUR"}
    assert kind(args, preview="table") == "table"
    assert kind(args, preview="nonsense") == "money"


def test_every_kind_can_be_named_in_a_world_file() -> None:
    assert set(PREVIEWS) == set(payloads.KINDS)


@pytest.mark.parametrize("name", PREVIEWS)
@pytest.mark.parametrize(
    "args",
    [{}, {"code": 5, "sql": [], "url": {}, "to": 7, "amount": "x", "path": None, "argv": [1], "body": True},
     {"url": "http://[", "body": "{", "headers": [1]}, {"amount": True, "iban": 5, "currency": ["EUR"]},
     {"path": "x", "edits": [{"old": 1, "new": 2}]}],
)  # fmt: skip
def test_a_kind_that_is_named_for_other_arguments_still_draws_them(name: str, args: dict[str, Any]) -> None:
    made = call(args, preview=name)
    drawing = payloads.kind_of(made).draw(made, (before(args), before({}, hidden=True)))
    assert {block.name for block in payloads.blocks(made, drawing)} == set(args)


# ---- SQL


@pytest.mark.parametrize(
    ("text", "kind", "reads", "writes"),
    [
        ("select a from x join s.y using (i)", "SELECT", {"x", "s.y"}, set()),
        ("with t as (delete from a where b returning *) select * from t, c", "SELECT with DELETE in it", {"c"}, {"a"}),  # noqa: E501
        ("insert into a select * from b", "INSERT", {"b"}, {"a"}),
        ("drop table a, b", "DROP TABLE", set(), {"a", "b"}),
        ("truncate a, b", "TRUNCATE", set(), {"a", "b"}),
        ("select * into new from old", "SELECT", {"old"}, {"new"}),
        ("explain analyze delete from a where b", "EXPLAIN ANALYZE of DELETE", set(), {"a"}),
        ("grant all on a to b", "GRANT", set(), {"a"}),
    ],
)  # fmt: skip
def test_a_statement_says_what_it_reads_and_writes(
    text: str, kind: str, reads: set[str], writes: set[str]
) -> None:
    (told,) = understand("sql", text).statements
    assert (told.kind, set(told.reads), set(told.writes)) == (kind, reads, writes)


def test_what_is_not_one_understood_statement_says_so() -> None:
    assert "2 statements" in understand("sql", "select 1; drop table x").problem
    assert "cannot be parsed" in understand("sql", "selec from where").problem
    assert "too long" in understand("sql", "select 1 " + " " * 10_000).problem
    assert "too deeply" in understand("sql", "select " + "(" * 500 + "1" + ")" * 500).problem
    assert "not told" in understand("sql", "do $$ begin end $$").statements[0].warnings[0]


def test_what_hits_every_row_is_told() -> None:
    assert "every row" in understand("sql", "delete from orders").statements[0].warnings[0]
    assert "executes" in understand("sql", "explain (analyze) select 1").statements[0].warnings[0]


# ---- Python and files


def test_a_script_is_compared_with_the_last_one() -> None:
    old = "\n".join(f"line {n}" for n in range(100))
    figure = drawn({"code": old.replace("line 50", "changed")}, before({"code": old}), runs="python").figures[
        0
    ]
    found = figure.data.diff
    assert (found.added, found.removed) == (1, 1)
    assert [stretch.count for stretch in found.stretches if stretch.folded] == [47, 46]


def test_a_first_script_says_that_it_is_the_first() -> None:
    assert drawn({"code": "1"}, runs="python").figures[0].data is False
    assert drawn({"code": "1"}, before({}, hidden=True), runs="python").figures[0].data is True


def test_a_difference_gives_both_texts_back() -> None:
    old, new = "a\nb\nb\nc\n\nx", "b\na\nb\nd\n\nx\ny"
    lines = [line for stretch in diff(old, new).stretches for line in stretch.lines]
    assert [line.text for line in lines if line.sign in " -"] == old.split("\n")
    assert [line.text for line in lines if line.sign in " +"] == new.split("\n")


def test_an_edit_of_a_file_is_a_difference_and_its_two_texts_are_folded() -> None:
    drawing = drawn({"path": "a.py", "old": "x = 1\ny", "new": "x = 2\ny"})
    assert (drawing.figures[0].data.path, drawing.figures[0].data.diff.added) == ("a.py", 1)
    assert set(drawing.folds) == {"old", "new"}


def test_new_content_is_compared_with_what_the_agent_wrote_there() -> None:
    args = {"path": "a.txt", "content": "one\ntwo"}
    drawing = drawn(
        args, before({"path": "b.txt", "content": "other"}), before({"path": "a.txt", "content": "one"})
    )
    assert (drawing.figures[0].data.diff.added, drawing.figures[0].data.diff.removed) == (1, 0)
    assert drawn(args).figures == ()


def test_a_patch_has_the_line_numbers_that_it_says() -> None:
    patch = "--- a\n+++ b\n@@ -10,3 +10,3 @@\n same\n-old\n+new\n--- sql comment"
    lines = patched(patch).stretches[0].lines
    assert [(line.sign, line.before, line.after) for line in lines if line.sign in "+-"][:2] == [
        ("-", 11, 0),
        ("+", 0, 11),
    ]
    assert [line.text for line in lines][:3] == patch.split("\n")[:3]


# ---- shell, HTTP, money


def test_a_fixed_command_is_shown_filled_item_by_item() -> None:
    found = (
        drawn({"target": "x; rm -rf /"}, runs="shell", argv=("/bin/echo", "deployed {target}"))
        .figures[0]
        .data
    )
    assert [item.text for item in found.items] == ["/bin/echo", "deployed x; rm -rf /"]
    assert "no shell" in found.said


def test_a_vector_that_goes_through_a_shell_says_so() -> None:
    found = drawn({"command": "ls | sh"}, runs="shell", argv=("/bin/sh", "-c", "{command}")).figures[0].data
    assert "a shell reads" in found.said


def test_a_command_line_is_shown_word_by_word() -> None:
    found = drawn({"command": "rm -rf 'a b' && echo \"x y\" >f"}, tool="Bash").figures[0].data
    assert [item.text for item in found.items] == ["rm", "-rf", "a b", "&&", "echo", "x y", ">", "f"]
    assert found.signs == {3, 6}
    assert "to its end" in drawn({"command": "echo 'oops"}, tool="Bash").figures[0].data.said


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.acme.example:8443/a?b=c", "api.acme.example"),
        ("https://acme.example@evil.example/x", "evil.example"),
        ("HTTPS://ACME.example/acme.example", "ACME.example"),
        ("http://[::1]:80/x", "::1"),
        ("nonsense", ""),
        ("http://[", ""),
    ],
)
def test_the_host_stands_out_and_the_parts_are_the_whole_address(url: str, host: str) -> None:
    found = drawn({"url": url, "method": "get"}).figures[0].data
    assert (found.host, found.before + found.host + found.after) == (host, url)


def test_a_host_in_punycode_is_shown_in_both_forms() -> None:
    assert (
        drawn({"url": "https://xn--mnchen-3ya.example/", "method": "GET"}).figures[0].data.wire
        == "münchen.example"
    )
    assert (
        drawn({"url": "https://münchen.example/", "method": "GET"}).figures[0].data.wire
        == "xn--mnchen-3ya.example"
    )


def test_a_body_is_coloured_by_its_type() -> None:
    json = drawn({"url": "https://a.example", "method": "POST", "body": '{"a": 1}'})
    assert json.programs == {"body": "json"}
    assert drawn({"url": "https://a.example", "method": "POST", "body": "a=1"}).programs == {}


def test_money_is_grouped_and_the_account_stands_in_fours() -> None:
    found = drawn({"amount": 1250.5, "currency": "EUR", "iban": IBAN, "recipient": "Acme"}).figures[0].data
    assert (found.amount, found.currency) == ("1,250.50", "EUR")
    assert (found.account, found.account_raw) == ("DE89 3704 0044 0532 0130 00", IBAN)


def test_a_first_payment_is_told_and_later_ones_compared() -> None:
    args = {"amount": 900, "currency": "EUR", "iban": IBAN}
    assert drawn(args).figures[0].data.before[0].count == 0
    earlier = [before({"amount": paid, "currency": "EUR", "iban": IBAN}) for paid in (100, 250.5)]
    told = drawn(args, *earlier).figures[0].data.before[0]
    assert (told.count, told.least, told.most, told.higher) == (2, "100", "250.50", True)


def test_payments_to_others_and_in_other_money_are_no_comparison() -> None:
    args = {"amount": 900, "currency": "EUR", "iban": IBAN}
    assert drawn(args, before({**args, "iban": "other"})).figures[0].data.before[0].count == 0
    assert drawn(args, before({**args, "currency": "JPY"})).figures[0].data.before[0].least == ""


def test_what_failed_or_cannot_be_seen_vouches_for_no_recipient() -> None:
    args = {"amount": 900, "currency": "EUR", "iban": IBAN}
    told = drawn(args, before(args, done=False), before({}, hidden=True)).figures[0].data.before[0]
    assert (told.count, told.unseen) == (0, 1)


@pytest.mark.parametrize("text", ["/**/" * 400 + "x", "/* x" * 400, "-- a\n" * 300, " " * 2000])
def test_comments_before_no_statement_are_read_in_no_time(text: str) -> None:
    start = time.process_time()
    assert kind({"sql": text}, tool="db") == "table"
    assert time.process_time() - start < 0.5


def test_comments_before_a_statement_are_passed_over() -> None:
    assert kind({"sql": "/* a **/ -- b\n/**/ select 1"}, tool="db") == "sql"


def test_many_edits_of_one_file_share_the_time_of_one() -> None:
    edits = [{"old": "a\nb\n" * 200, "new": "b\nc\n" * 200} for _ in range(50)]
    start = time.process_time()
    drawn({"path": "a", "edits": edits}, tool="Edit")
    assert time.process_time() - start < 1.5


def test_rows_that_share_no_names_make_no_table_of_their_square() -> None:
    made = call({"rows": [{f"k{n}": n} for n in range(500)], "few": [{"a": 1, "b": 2}, {"a": 3}]})
    forms = {block.name: block.form for block in payloads.blocks(made, Drawing())}
    assert forms == {"rows": "tree", "few": "table"}


@pytest.mark.parametrize(
    ("amount", "shown"), [("0.1", "0.10"), ("1000000", "1,000,000"), ("-5.125", "-5.125"), ("7.00", "7")]
)
def test_amounts_are_grouped(amount: str, shown: str) -> None:
    assert grouped(Decimal(amount)) == shown


def test_a_wrong_check_digit_is_told_and_other_accounts_are_left_alone() -> None:
    assert "check digits" in iban_problem("DE88370400440532013000")
    assert iban_problem(IBAN) == iban_problem("12345678") == ""
    assert in_fours("Cash box") == "Cash box"


# ---- labels


def test_arguments_carry_the_titles_of_the_schema_down_into_objects() -> None:
    schema = {
        "properties": {"guest": {"$ref": "#/$defs/guest", "title": "Guest"}},
        "$defs": {
            "guest": {"properties": {"dob": {"title": "Date of birth", "description": "as in the passport"}}}
        },
    }
    made = call({"guest": {"dob": "1990-01-01"}, "x": 1}, schema=schema)
    guest = payloads.blocks(made, Drawing())[0]
    assert guest.tree is not None
    assert (guest.tree.children[0].label, guest.tree.children[0].note) == (
        "Date of birth (dob)",
        "as in the passport",
    )


def test_a_schema_that_points_at_itself_ends() -> None:
    made = call({"a": {"b": 1}}, schema={"properties": {"a": {"$ref": "#/properties/a"}}})
    assert payloads.blocks(made, Drawing())[0].name == "a"


def test_tricks_are_found_in_nested_values() -> None:
    known = lookalikes.known(["acme.example"])
    made = call({"who": {"mail": ["bob@acrne.example"]}}, known=known)
    assert "looks like acme.example" in payloads.blocks(made, Drawing())[0].tricks[0].said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["ls", "-l", "a b"], "no shell"),
        (["/bin/bash", "-c", "rm -rf /"], "the third one"),
        (["env", "X=1", "bash", "-c", "rm -rf /"], "may read parts"),
        (["ssh", "host", "rm -rf /"], "may read parts"),
        (["C:\\Windows\\cmd.exe", "/c", "del *"], "may read parts"),
        (["bash", "-x", "-c", "rm -rf /"], "may read parts"),
    ],
)
def test_no_shell_is_promised_only_where_none_is_named(argv: list[str], said: str) -> None:
    assert said in drawn({"argv": argv}, runs="shell").figures[0].data.said


def test_a_request_without_a_method_is_not_said_to_be_harmless() -> None:
    assert drawn({"url": "https://a.example/", "body": "x"}, tool="http.post").figures[0].data.method == ""
