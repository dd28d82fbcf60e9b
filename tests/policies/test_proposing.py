"""What a list of tools says of itself becomes a world file to start from, and errs to the strict side."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import proposing, releases, words, world, worldfile
from tests.lengths import tries
from traces.problems import Refused


def guess(name: str, *arguments: str, about: str = "", **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in arguments}}
    listed = [{"name": name, "description": about, "inputSchema": schema, **more}]
    return dict(proposing.propose(listed)[0].tool)


@pytest.mark.parametrize(
    ("name", "arguments", "effect"),
    [
        ("get_order", ["order_id"], "read"),
        ("list_transfers", [], "read"),
        ("searchMessages", ["query"], "read"),
        ("calendar.events.list", [], "read"),
        ("create_issue", ["title"], "write"),
        ("send_email", ["to", "body"], "write"),
        ("delete_file", ["path"], "destructive"),
        ("transfer_funds", ["iban"], "destructive"),
        ("schedule_payment", ["payee"], "destructive"),
        ("update_password", ["password"], "destructive"),
        ("frobnicate", ["x"], "destructive"),
        ("list_delete", ["id"], "destructive"),
        ("get_or_create_user", ["name"], "write"),
        ("fetch_and_pay", ["invoice"], "destructive"),
        ("query_database", ["query"], "destructive"),
        ("read_rows", ["sql"], "destructive"),
        ("fetch_url", ["url"], "read"),
        ("fetch_url", ["url", "method", "body"], "write"),
        ("read_and_forward_mail", ["id"], "write"),
        ("search_and_book", ["hotel"], "destructive"),
        ("compute.instances.stop", ["instance"], "destructive"),
        ("list_archive", ["list_id"], "write"),
        ("scan_cancel", ["id"], "destructive"),
        ("check_out_cart", ["cart"], "destructive"),
        ("select_plan", ["plan"], "write"),
        ("download_report", ["id", "path"], "write"),
        ("get_object", ["bucket", "output_path"], "write"),
        ("get_file", ["path", "output_format"], "read"),
        ("get_merge_request", ["id"], "read"),
    ],
)
def test_the_worst_that_its_words_say_is_what_it_does(name: str, arguments: list[str], effect: str) -> None:
    assert guess(name, *arguments)["effect"] == effect


def test_a_description_makes_a_harmless_name_worse_and_never_better() -> None:
    told = (
        ("get_rid", "Deletes it all."),
        ("delete_all", "Returns a list."),
        ("weather", "Gets the weather."),
    )
    found = [guess(name, about=about)["effect"] for name, about in told]
    assert found == ["destructive", "destructive", "read"]


@pytest.mark.parametrize(
    ("about", "effect"),
    [
        ("Gets and deletes it.", "destructive"),
        ("Fetch, then send it.", "write"),
        ("Get it and more.", "read"),
    ],
)
def test_a_second_verb_of_a_description_counts_too(about: str, effect: str) -> None:
    assert guess("get_it", "id", about=about)["effect"] == effect


def test_a_server_that_does_not_call_its_tool_read_only_is_believed() -> None:
    assert guess("get_it", annotations={"readOnlyHint": False})["effect"] == "write"


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ({"readOnlyHint": True}, "write"),
        ({"destructiveHint": True}, "destructive"),
        ({"destructiveHint": False}, "write"),
        ("nonsense", "write"),
    ],
)
def test_what_the_server_claims_only_makes_it_worse(hints: Any, expected: str) -> None:
    assert guess("add_note", "text", annotations=hints)["effect"] == expected


@pytest.mark.parametrize(
    ("name", "arguments", "sends"),
    [
        ("send_message", ["channel", "body"], "external"),
        ("share_file", ["file_id", "email"], "external"),
        ("book_table", ["restaurant"], "external"),
        ("create_event", ["title", "attendees"], "external"),
        ("get_webpage", ["url"], "external"),
        ("create_thing", ["text"], "external"),
        ("get_file", ["file_id"], "none"),
        ("create_file", ["filename", "content"], "none"),
        ("delete_record", ["record_id"], "none"),
        ("run_command", ["command"], "external"),
        ("sync_folder", ["folder", "remote"], "external"),
        ("backup_file", ["file", "bucket"], "external"),
        ("lookup_dns", ["domain"], "external"),
        ("ping_check", ["host"], "external"),
    ],
)
def test_unless_something_tells_that_it_stays_it_goes_outside(
    name: str, arguments: list[str], sends: str
) -> None:
    assert guess(name, *arguments)["sends"] == sends


@pytest.mark.parametrize(
    ("name", "arguments", "authority"),
    [
        ("send_email", ["recipients", "cc", "subject", "body"], ["recipients", "cc"]),
        ("move", ["fileId", "targetFolder", "note"], ["fileId", "targetFolder"]),
        ("reserve_hotel", ["hotel", "start_day", "end_day"], ["hotel"]),
        ("do_it", ["text"], ["text"]),
        ("unlock", [], []),
        ("get_report", ["kind"], []),
        ("browse_web_page", ["page"], ["page"]),
        ("get_website", ["location"], ["location"]),
        ("search_web", ["query", "n"], []),
    ],
)
def test_whom_it_affects_is_told_by_the_arguments_names(
    name: str, arguments: list[str], authority: list[str]
) -> None:
    assert guess(name, *arguments)["authority"] == authority


def test_nobody_vouches_for_what_it_returns_but_for_a_clock() -> None:
    found = {
        name: guess(name)["output"] for name in ("list_files", "get_current_time", "update_date", "get_users")
    }
    assert found == {
        "list_files": "untrusted", "get_current_time": "trusted", "update_date": "untrusted",
        "get_users": "untrusted",
    }  # fmt: skip


def test_what_it_returns_is_private_or_secret_by_its_words() -> None:
    found = [
        guess("get_inbox"),
        guess("get_info", about="Get the user's passport number."),
        guess("get_news"),
    ]
    assert [tool["returns"] for tool in found] == [["private"], ["secret"], []]


ONE = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
FORMS: list[Any] = [
    {"tools": [{"name": "delete_file", "inputSchema": ONE}]},
    {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "delete_file", "inputSchema": ONE}]}},
    [{"type": "function", "function": {"name": "delete_file", "parameters": ONE}}],
    [{"type": "function", "name": "delete_file", "parameters": ONE}],
    [{"name": "delete_file", "input_schema": ONE}],
    [{"title": "delete_file", **ONE}],
    {"title": "delete_file", **ONE},
]


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_list_tools_says_the_same(form: Any) -> None:
    [found] = proposing.propose(form)
    assert (found.tool["name"], found.tool["parameters"]) == ("delete_file", ONE)


@pytest.mark.parametrize(
    "bad",
    [1, "x", None, [1], [{}], [{"name": "a b"}], [{"name": ""}], [{"name": "x\n"}], [{"name": "a"}] * 2,
     [{"name": "a"}] * 1001],
)  # fmt: skip
def test_what_is_no_list_of_tools_is_refused(bad: Any) -> None:
    with pytest.raises(Refused):
        proposing.propose(bad)


def test_a_schema_that_cannot_be_taken_leaves_the_names_of_the_arguments() -> None:
    schema = {"properties": {"path": {"$ref": "https://evil.example/schema"}}}
    found = proposing.propose([{"name": "read_file", "inputSchema": schema}])[0]
    assert found.tool["parameters"] == {"type": "object", "properties": {"path": {}}}
    assert "parameters" in found.reasons


def test_each_guess_says_why() -> None:
    text = proposing.world_file(proposing.propose(FORMS[0]))
    assert '  # effect: "delete" in its name\n' in text
    assert "review each line" in text


def read_back(text: str) -> list[dict[str, Any]]:
    found = worldfile.read(text)
    assert not found.faults
    return [{"name": item.name, **item.values} for item in found.of("tools")]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
described = st.fixed_dictionaries(
    {"description": texts | st.sampled_from(["x\nrules: []", "# x\n- name: y", "a: b\x85c\u2028d", "\x00"])},
    optional={"inputSchema": st.dictionaries(texts, texts | st.booleans() | st.integers(0, 9), max_size=3)},
)
named = st.dictionaries(st.from_regex(r"[a-zA-Z][a-zA-Z0-9._-]{0,20}", fullmatch=True), described, max_size=4)


@settings(deadline=None, max_examples=tries(40))
@given(named)
def test_whatever_a_tool_says_the_file_holds_those_tools_and_nothing_else(told: dict[str, Any]) -> None:
    proposals = proposing.propose([{"name": name, **about} for name, about in told.items()])
    assert read_back(proposing.world_file(proposals)) == [dict(one.tool) for one in proposals]


@settings(deadline=None, max_examples=tries(40))
@given(st.lists(st.text(max_size=30), max_size=4), texts)
def test_arguments_may_be_called_anything(names: list[str], about: str) -> None:
    listed = [
        {"name": "do", "description": about, "parameters": {"properties": {name: {} for name in names}}}
    ]
    try:
        proposals = proposing.propose(listed)
        text = proposing.world_file(proposals)
    except Refused:
        return
    assert read_back(text) == [dict(one.tool) for one in proposals]


def test_every_plain_verb_has_an_effect() -> None:
    assert not words.PLAIN_VERBS - set(words.EFFECT)


@pytest.mark.django_db
def test_the_file_is_applied_as_it_is_and_changes_nothing_the_second_time() -> None:
    text = proposing.world_file(proposing.propose(FORMS[0]))
    world.begin()
    first, second = (world.apply(text, by="tests").changes for _ in range(2))
    assert (list(first), list(second)) == (["tool delete_file: created"], [])
    assert releases.current().tool("delete_file").effect == "destructive"


def test_the_command_prints_the_file(tmp_path: Any) -> None:
    listed = tmp_path / "tools.json"
    listed.write_text(json.dumps(FORMS[0]))
    printed = io.StringIO()
    call_command("propose-tools", str(listed), stdout=printed)
    assert [tool["name"] for tool in read_back(printed.getvalue())] == ["delete_file"]


@pytest.mark.parametrize("content", ["{", '{"a": 1, "a": 2}', "[1]", ""])
def test_the_command_says_what_it_cannot_read(tmp_path: Any, content: str) -> None:
    listed = tmp_path / "tools.json"
    listed.write_text(content)
    with pytest.raises(CommandError):
        call_command("propose-tools", str(listed))
