"""Why a call was judged as it was: each rule of the release, each piece of its condition, what it saw."""

from __future__ import annotations

import pytest
from django.test import Client

from approvals import explain
from policies import celpieces, world
from tests.cast import Cast

BACKEND = "django.contrib.auth.backends.ModelBackend"
RULES = """
rules:
  - {name: turned-off, effect: block, tools: [order.place], enabled: false}
  - {name: others, effect: block, agents: [nobody-*], tools: [order.place]}
  - name: pieces
    effect: ask
    tools: [order.place]
    when: >-
      size(args.supplier) > 100 || (args.amount > 100 && args.item.contains('<b>')) ||
      args.missing == 1
    approvers: comms
  - {name: ended, effect: block, tools: [order.place], until: 2001-01-01T00:00:00Z}
  - {name: last, effect: block, fallback: true}
"""


@pytest.mark.django_db
def test_every_rule_of_the_release_is_there_with_its_reason(cast: Cast) -> None:
    world.apply(RULES, by="tests")
    told = explain.of_action(cast.order(500))
    outcomes = {line.name: line.outcome for line in told.lines}
    assert (outcomes["ended"], outcomes["last"], outcomes["orders"]) == ("ended", "not needed", "matched")
    why = {rule.name: rule.why for rule in told.elsewhere}
    assert why["turned-off"] == "It is switched off."
    assert why["others"] == "It is about other agents: nobody-*."
    assert why["mail"] == "It is about other tools: email.send."
    names = [line.name for line in told.lines] + [rule.name for rule in told.elsewhere]
    assert len(names) == len(set(names)) == 14


@pytest.mark.django_db
def test_a_condition_is_shown_piece_by_piece_with_what_its_functions_gave(cast: Cast) -> None:
    world.apply(RULES, by="tests")
    action = cast.order(500)
    [line] = [line for line in explain.of_action(action).lines if line.name == "pieces"]
    said = {part.text: part.said for part in line.parts}
    assert said["size(args.supplier) > 100"] == "false"
    assert (said["args.amount > 100"], said["args.item.contains('<b>')"]) == ("true", "false")
    assert said["args.missing == 1"] == "neither"
    assert {saw.name: saw.plain for saw in line.saw}["size(args.supplier)"] == len("Acme")


@pytest.mark.django_db
def test_the_page_shows_pieces_as_text(client: Client, cast: Cast) -> None:
    world.apply(RULES, by="tests")
    action = cast.order(500)
    client.force_login(cast.auditor, backend=BACKEND)
    body = client.get(f"/actions/{action.pk}/why").content.decode()
    assert "contains(&#x27;&lt;b&gt;&#x27;)" in body and "<b>')" not in body
    assert "It is switched off." in body and "were not asked" in body


@pytest.mark.django_db
def test_an_undeclared_tool_is_told_why_no_pattern_allows_it(cast: Cast) -> None:
    world.apply("rules:\n  - {name: free, effect: allow, tools: ['*']}\n", by="tests")
    told = explain.of_action(cast.propose("nobody.knows", {"x": 1}))
    assert "by a pattern" in {rule.name: rule.why for rule in told.elsewhere}["free"]


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("a", ["a"]),
        ("a && b", ["a", "b"]),
        ("((a || b) && c) // why", ["a", "b", "c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ("(a ? b : c) && d", ["a ? b : c", "d"]),
        ("!(a && b) || x.all(y, y && z)", ["!(a && b)", "x.all(y, y && z)"]),
        ("'a && b' == c", ["'a && b' == c"]),
        ("a &&\n  b // && c", ["a", "b"]),
        ("r'\\' == a && b", ["r'\\' == a && b"]),
        ('a in ["user"] && b == br"x"', ['a in ["user"]', 'b == br"x"']),
    ],
)
def test_the_pieces_of_a_condition(condition: str, parts: list[str]) -> None:
    assert celpieces.parts(condition) == parts
