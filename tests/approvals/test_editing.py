"""The form to edit: fields by the tool's schema, errors beside them, and what was typed never lost."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals import decisions, editing
from approvals.models import Action
from policies.arguments import ArgumentsRefused, check
from policies.models import User
from tests.approvals.test_views import CARD, HTMX, LEAVES, browser, decide, text
from tests.cast import Cast, cast
from tests.lengths import tries
from traces.problems import Refused

__all__ = ["cast"]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9a-f-]+$", "maxLength": 12}},
    "properties": {
        "to": {"type": "array", "items": {"type": "string"}, "title": "Recipients"},
        "body": {"type": "string", "description": "What they read."},
        "currency": {"enum": ["EUR", "CHF", None]},
        "urgent": {"type": "boolean"},
        "amount": {"type": "integer", "minimum": 1, "exclusiveMaximum": 100},
        "rate": {"type": "number", "maximum": 1.5},
        "code": {"$ref": "#/$defs/code"},
        "due": {"type": "string", "format": "date"},
        "parts": {"type": "array", "items": {"type": "object"}},
        "any": {},
    },
    "required": ["body", "amount"],
}


def drawn(args: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> dict[str, editing.Field]:
    return {field.name: field for field in editing.fields(args, schema)}


def sent(found: Any, **changes: str) -> dict[str, str]:
    """What a browser sends of these fields."""
    post = {}
    for field in found:
        post |= {f"arg.{field.name}": field.text.replace("\n", "\r\n"), f"form.{field.name}": field.form}
    return post | {f"arg.{name}": value for name, value in changes.items()}


def turn(user: User, action: Action, to: str, **post: str) -> Any:
    address = f"/actions/{action.pk}/edit" + ("?as=json" if to == "json" else "")
    sent = {"digest": action.digest, "verdict": "edit", **post}
    return browser(user).post(address, sent, **HTMX, **{CARD: action.digest})


def value_of(page: str, name: str) -> str:
    """What stands in a field of a page; of the form to edit, where that is open."""
    if 'id="edit-form"' in page:
        page = page.partition('id="edit-form"')[2].partition("</form>")[0]
    area = re.search(rf'<textarea[^>]*name="{re.escape(name)}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    line = re.search(rf'<input(?=[^>]*name="{re.escape(name)}")[^>]*value="([^"]*)"', page)
    found = area or line
    assert found, name
    return unescape(found[1])


def test_every_argument_that_the_tool_takes_is_a_field_of_its_kind() -> None:
    form = drawn({"body": "Hello", "amount": 5})
    assert {name: field.form for name, field in form.items()} == {
        "to": "lines", "body": "text", "currency": "choice", "urgent": "choice", "amount": "number",
        "rate": "number", "code": "line", "due": "line", "parts": "json", "any": "json",
    }  # fmt: skip
    assert list(form)[:2] == ["body", "amount"] and form["amount"].required and not form["to"].required


def test_a_field_says_what_the_tool_says_of_it_and_what_the_browser_can_check() -> None:
    form = drawn({"body": "Hello", "amount": 5})
    assert (form["to"].title, form["body"].note) == ("Recipients", "What they read.")
    assert dict(form["amount"].checks) == {"min": "1", "max": "99", "step": "1", "required": "required"}
    assert dict(form["rate"].checks) == {"max": "1.5", "step": "any"}
    assert dict(form["code"].checks) == {"maxlength": "12", "pattern": "[A-Z]{2}-[0-9a-f\\-]+"}
    assert form["due"].type == "date"
    assert [label for _, label in form["currency"].options] == ["left out", "EUR", "CHF", "null"]


@pytest.mark.parametrize("pattern", ["(?i)a", "^(a+)+$", "^[[:alpha:]]+$", "^a*a*a*a*b$", "abc", "^\\pL$"])
def test_a_pattern_that_a_browser_may_read_otherwise_is_left_to_the_server(pattern: str) -> None:
    form = drawn({}, {"properties": {"a": {"type": "string", "pattern": pattern}}})
    assert (form["a"].form, form["a"].checks) == ("text", ())


@pytest.mark.parametrize(
    ("name", "value"),
    [("due", "soon"), ("code", "one\ntwo"), ("currency", "USD"), ("amount", "5"), ("urgent", 1)],
)
def test_a_value_that_its_field_could_not_show_has_another(name: str, value: Any) -> None:
    args = {"body": "b", "amount": 1, name: value}
    form = drawn(args)
    assert (form[name].form, form[name].type) != ("line", "date")
    assert editing.read(sent(form.values()), args, SCHEMA) == args


@given(
    st.fixed_dictionaries(
        {"body": st.text(max_size=9), "amount": LEAVES},
        optional={name: st.text(max_size=9) | LEAVES for name in ("to", "code", "due", "parts", "currency")},
    ),
    st.dictionaries(st.text(max_size=4), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3))),
)
@settings(max_examples=tries(100), deadline=None)
def test_untouched_every_argument_comes_back_and_none_is_added(
    args: dict[str, Any], more: dict[str, Any]
) -> None:
    whole = {**more, **args}
    assert editing.read(sent(editing.fields(whole, SCHEMA)), whole, SCHEMA) == whole


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ({"currency": '"CHF"'}, {"currency": "CHF"}), ({"currency": "null"}, {"currency": None}),
        ({"urgent": "true"}, {"urgent": True}), ({"amount": "7"}, {"amount": 7}),
        ({"to": "a@x.org\r\n\r\n b@x.org"}, {"to": ["a@x.org", "b@x.org"]}),
        ({"parts": '[{"n": 1}]'}, {"parts": [{"n": 1}]}), ({"code": "AB-1"}, {"code": "AB-1"}),
        ({"body": ""}, {"body": ""}),
    ],
)  # fmt: skip
def test_what_is_typed_is_read_as_what_the_tool_takes(typed: dict[str, str], read: dict[str, Any]) -> None:
    args = {"body": "b", "amount": 1}
    assert editing.read(sent(editing.fields(args, SCHEMA), **typed), args, SCHEMA) == {**args, **read}


def test_an_emptied_field_leaves_out_what_need_not_be_there() -> None:
    args = {"body": "b", "amount": 1, "to": ["a"], "rate": 1.5, "due": "2026-01-01"}
    post = sent(editing.fields(args, SCHEMA), to="", rate="", due="")
    assert editing.read(post, args, SCHEMA) == {"body": "b", "amount": 1}


def test_an_emptied_field_that_the_tool_needs_is_named() -> None:
    args = {"body": "b", "amount": 1}
    with pytest.raises(Refused) as refused:
        editing.read(sent(editing.fields(args, SCHEMA), amount=" "), args, SCHEMA)
    assert refused.value.extra["path"] == "/amount"


def test_a_draft_keeps_through_json_and_back_what_was_added_changed_and_taken_out() -> None:
    stored = {"body": "b", "amount": 1, "to": [], "extra": "x"}
    draft = {"body": "b", "amount": 1, "extra": 5, "new": "n"}
    post = sent(editing.fields(draft, SCHEMA, stored=stored))
    assert editing.read(post, stored, SCHEMA) == draft


# What was typed


def test_a_refused_edit_comes_back_with_the_error_beside_its_field(cast: Cast) -> None:
    action = cast.order()
    typed = {"arg.item": "pens & <ink>", "arg.amount": "1.5", "comment": "cheaper"}
    response = decide(cast.approver, action, "edit", **typed)
    page = text(response)
    assert response.status_code == 422 and 'id="edit-form"' in page
    assert [value_of(page, name) for name in typed] == list(typed.values())
    field = page[page.index('name="arg.amount"') :]
    assert field.index("must be of type") < field.index("</div>")
    assert re.search(r'name="arg.amount"[^>]*aria-invalid="true" autofocus', page)


def test_a_refused_edit_can_be_mended_and_sent(cast: Cast) -> None:
    action = cast.order()
    page = text(
        decide(cast.approver, action, "edit", **{"arg.amount": "x", "arg.item": "ink", "comment": "c"})
    )
    again = {name: value_of(page, name) for name in ("digest", "arg.item", "form.item", "comment")}
    decide(cast.approver, action, "edit", **(again | {"arg.amount": "7"}))
    action.refresh_from_db()
    assert action.args == {"supplier": "Acme", "item": "ink", "amount": 7}


@pytest.mark.parametrize(
    ("rule", "value", "said"),
    [
        ({"minimum": 1}, 0, "must be at least 1"), ({"exclusiveMaximum": 5}, 5, "must be less than 5"),
        ({"maxLength": 2}, "abc", "must have at most 2 characters"),
        ({"minItems": 1}, [], "must have at least 1 items"),
        ({"enum": ["a", "b"]}, "c", 'must be one of ["a", "b"]'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(rule: dict[str, Any], value: Any, said: str) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        check({"x": value}, {"properties": {"x": rule}})
    assert (refused.value.path, refused.value.why) == ("/x", said)


def test_a_place_inside_of_an_argument_is_told_beside_it(cast: Cast) -> None:
    action = cast.mass_mail()
    page = text(
        decide(cast.approver, action, "edit", **{"arg.to": '["a", 5]', "form.to": "json", "comment": "c"})
    )
    assert 'id="arg-1-wrong">1: must be of type "string"' in unescape(page)


def test_json_that_cannot_be_read_comes_back_as_it_was_typed(cast: Cast) -> None:
    action = cast.mass_mail()
    page = text(decide(cast.approver, action, "edit", args_json='{"to": [}', comment="fewer"))
    assert (value_of(page, "args_json"), value_of(page, "comment")) == ('{"to": [}', "fewer")
    assert 'id="args-wrong"' in page


def test_an_edit_that_policy_blocks_comes_back(cast: Cast) -> None:
    action = cast.order()
    page = text(decide(cast.approver, action, "edit", **{"arg.supplier": "casino", "comment": "fun"}))
    assert value_of(page, "arg.supplier") == "casino" and "policy blocks the edited call" in page


def test_a_wrong_confirmation_loses_no_edit(cast: Cast) -> None:
    action = cast.deploy("production")
    typed = {"arg.target": "staging", "confirm": "production", "comment": "safer"}
    page = text(decide(cast.approver, action, "edit", **typed))
    assert [value_of(page, name) for name in typed] == list(typed.values())
    assert 'id="edit-confirm-wrong"' in page


def test_a_character_that_cannot_be_kept_is_refused_and_nothing_else_is_lost(cast: Cast) -> None:
    action = cast.order()
    whole = '{"item": "a\\u0000b", "supplier": "A", "amount": 1}'
    response = decide(cast.approver, action, "edit", args_json=whole, comment="mine")
    assert response.status_code == 422 and "cannot be kept" in text(response)
    assert value_of(text(response), "comment") == "mine"


def test_a_refused_rejection_keeps_reason_and_advice(cast: Cast) -> None:
    action = cast.mass_mail()
    page = text(decide(cast.approver, action, "reject", comment="too many", advice="x" * 2_001))
    assert (value_of(page, "comment"), value_of(page, "advice")) == ("too many", "x" * 2_001)
    form = re.search(r'<form[^>]*id="reject-form"[^>]*>', page)
    assert form and " hidden" not in form[0] and 'id="advice-wrong"' in page


def test_a_refused_question_and_a_refused_hand_over_keep_their_words(cast: Cast) -> None:
    action, client = cast.mass_mail(), browser(cast.approver)
    shown = {**HTMX, CARD: action.digest}
    asked = text(client.post(f"/actions/{action.pk}/ask", {"text": "why? " * 500}, **shown))
    handed = {"group": "comms", "to": "nobody", "comment": "They know her"}
    told = text(client.post(f"/actions/{action.pk}/delegate", handed, **shown))
    assert value_of(asked, "text") == "why? " * 500
    assert 'id="ask-form"' in asked and "They know her" in told


def edited_by_another(cast: Cast) -> tuple[Action, str]:
    """An order that somebody changed after the approver had seen it, and the digest of what they saw."""
    action = cast.order()
    args = {**action.args, "amount": 600}
    decisions.edit(action_id=action.pk, user=cast.second, digest=action.digest, args=args, comment="more")
    seen = action.digest
    action.refresh_from_db()
    return action, seen


def test_what_was_written_about_other_arguments_is_shown_to_be_copied_and_bound_to_nothing(
    cast: Cast,
) -> None:
    action, seen = edited_by_another(cast)
    typed = {"digest": seen, "arg.item": "ink", "arg.supplier": "Acme", "comment": "wrong item"}
    response = decide(cast.approver, action, "edit", **typed)
    kept = text(response).partition('id="kept"')[2].partition("</section>")[0]
    assert response.status_code == 409 and 'id="edit-form"' not in text(response)
    assert "ink" in kept and "wrong item" in kept and "Acme" not in kept and "<input" not in kept


def test_what_was_written_when_somebody_else_decided_is_kept_to_be_copied(cast: Cast) -> None:
    action = cast.mass_mail()
    decisions.approve(action_id=action.pk, user=User.objects.get(username="ada"), digest=action.digest)
    response = decide(cast.approver, action, "reject", comment="too many", advice="Ask first")
    kept = text(response).partition('id="kept"')[2]
    assert response.status_code == 409 and "too many" in kept and "Ask first" in kept


@pytest.mark.parametrize("how", ["get", "post"])
def test_the_form_is_not_opened_for_arguments_that_were_not_seen(cast: Cast, how: str) -> None:
    action, seen = edited_by_another(cast)
    client: Client = browser(cast.approver)
    address = f"/actions/{action.pk}/edit"
    if how == "get":
        page = text(client.get(address, **HTMX, **{CARD: seen}))
    else:
        page = text(client.post(address, {"digest": seen, "arg.item": "ink"}, **HTMX, **{CARD: seen}))
        assert "ink" in page and "It was about other arguments" in page
    assert action.digest not in page and "<form" not in page and "The arguments changed" in page


def test_the_other_way_to_edit_takes_the_draft_along_and_decides_nothing(cast: Cast) -> None:
    action = cast.order()
    page = text(turn(cast.approver, action, "json", **{"arg.item": "ink", "comment": "cheaper"}))
    assert '"item": "ink"' in value_of(page, "args_json") and value_of(page, "comment") == "cheaper"
    page = text(turn(cast.approver, action, "fields", args_json='{"item": "pens"}', comment="c"))
    assert (value_of(page, "arg.item"), value_of(page, "arg.supplier")) == ("pens", "")
    action.refresh_from_db()
    assert (action.state, action.revision) == ("pending", 1)


def test_a_draft_that_cannot_be_turned_stays_with_its_error(cast: Cast) -> None:
    action = cast.order()
    page = text(turn(cast.approver, action, "fields", args_json="{", comment="c"))
    assert value_of(page, "args_json") == "{" and 'id="args-wrong"' in page


def test_the_form_follows_the_tool_as_it_was_when_it_was_called(cast: Cast) -> None:
    action = cast.order()
    page = text(browser(cast.approver).get(f"/actions/{action.pk}/edit", **HTMX, **{CARD: action.digest}))
    assert re.search(r'<input type="number"[^>]*name="arg.amount"', page)
    assert "Needed." in page and 'name="arg.item"' in page
