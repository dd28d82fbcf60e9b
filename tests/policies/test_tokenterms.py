"""What a tool says of its tokens is read strictly, and the call's arguments fill it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from policies import tokenterms, worldfile

SITE = "https://payments.example"
TOOL = """
tools:
  - name: refund
    runs: {runs}
    issuer: {issuer}
    {token}
    parameters: {{type: object, properties: {{order: {{type: string}}, amount: {{type: integer}}}}}}
"""


def faults(token: str, *, issuer: str = "token", runs: str = "agent") -> list[str]:
    text = TOOL.format(token=token, issuer=issuer, runs=runs)
    return [f"{fault.field}: {fault.why}" for fault in worldfile.read(text).faults]


def test_a_tool_with_all_of_it_is_read() -> None:
    token = (
        "token: {audience: 'https://a', type: t, actions: [x], locations: [y], datatypes: [z], "
        "identifier: order, arguments: [amount]}"
    )
    assert faults(token) == []


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("", "tools[0].token: is missing"),
        ("token: {}", "tools[0].token.audience: is missing"),
        ("token: {audience: x, scope: y}", "tools[0].token.scope: is not a field"),
        ('token: {audience: "a\\tb"}', "tools[0].token.audience: must be a printable text"),
        ("token: {audience: [x]}", "tools[0].token.audience: must be a printable text"),
        ("token: {audience: ' x'}", "tools[0].token.audience: must be a printable text"),
        ("token: {audience: x, actions: y}", "tools[0].token.actions: must be a list"),
        ("token: {audience: x, actions: []}", "tools[0].token.actions: must be a list"),
        ("token: {audience: x, actions: [1]}", "tools[0].token.actions: must be a printable"),
        ("token: {audience: x, identifier: other}", "tools[0].token: names 'other'"),
        ("token: {audience: x, arguments: [amount, secret]}", "tools[0].token: names 'secret'"),
        ("token: {audience: x, bound_to: jkt}", "tools[0].token: names 'jkt'"),
        ("token: [x]", "tools[0].token: must be a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_field(token: str, told: str) -> None:
    found = faults(token)
    assert len(found) == 1 and found[0].startswith(told), found


def test_it_needs_the_issuer_and_a_way_to_hand_it_out() -> None:
    assert faults("token: {audience: x}", issuer="none")[0].endswith("without issuer: token")
    assert "is for runs: agent or credential" in faults("token: {audience: x}", runs="python")[0]


def test_details_say_what_is_granted() -> None:
    terms = tokenterms.read({"audience": SITE, "identifier": "order", "arguments": ["amount", "note"]})
    told = tokenterms.details(terms, args={"order": "A-17", "amount": 40})
    canonical = b'{"amount":40,"order":"A-17"}'
    assert told == {
        "type": "agentsec_action", "locations": [SITE], "identifier": "A-17", "arguments": {"amount": 40},
        "arguments_sha256": hashlib.sha256(canonical).hexdigest(),
    }  # fmt: skip


@pytest.mark.parametrize("value", [None, True, "", ["x"], {"a": 1}, "x" * 501, 1.5])
def test_an_identifier_that_names_nothing_is_refused(value: Any) -> None:
    terms = tokenterms.read({"audience": SITE, "identifier": "order"})
    with pytest.raises(tokenterms.TermsRefused, match="identifier"):
        tokenterms.details(terms, args={"order": value} if value is not None else {})


@pytest.mark.parametrize("value", [None, "", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "\n", 7])
def test_a_token_that_was_to_be_bound_is_never_made_unbound(value: Any) -> None:
    terms = tokenterms.read({"audience": SITE, "bound_to": "jkt"})
    with pytest.raises(tokenterms.TermsRefused, match="thumbprint"):
        tokenterms.confirmation(terms, args={"jkt": value} if value is not None else {})


def test_long_arguments_stand_in_no_token() -> None:
    terms = tokenterms.read({"audience": SITE, "arguments": ["note"]})
    with pytest.raises(tokenterms.TermsRefused, match="2048 bytes"):
        tokenterms.details(terms, args={"note": "x" * 3000})


@pytest.mark.parametrize("given", [None, [], "x", {"audience": "a\x00"}, {"audience": "\ud800"}, {1: 2}])
def test_what_was_written_past_the_forms_is_refused_too(given: Any) -> None:
    with pytest.raises(tokenterms.TermsRefused):
        tokenterms.read(given)
