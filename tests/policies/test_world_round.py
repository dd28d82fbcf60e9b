"""Any world at all, published, dumped and applied elsewhere, is the same there: one digest, the same rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from django.forms.models import model_to_dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import releases, world
from policies.models import Agent, Case, Release, Rule, Tool
from policies.provenance import WORST_FIRST

pytestmark = pytest.mark.django_db

# Whatever a browser can send into a text field, signs that YAML, CEL and people trip over among it.
SIGNS = st.one_of(
    st.characters(codec="utf-8", exclude_characters="\x00"),
    st.sampled_from("\n\t\r \u00a0\u0085\u2028\u2029\ufeff\u202e'\"\\#:-|>&*!%@`{}[],?~\x07\x7f😀é"),
)
TEXT = st.text(SIGNS, max_size=40)
WORD = st.text(SIGNS.filter(lambda sign: sign not in "\r\n"), min_size=1, max_size=20).filter(str.strip)
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._@-]{0,12}\Z").filter(lambda name: name != "absent")
GLOBS = st.from_regex(r"\A[A-Za-z0-9*?][A-Za-z0-9._@*?-]{0,8}\Z")
LABELS = st.lists(st.from_regex(r"\A[a-z][a-z0-9_:.-]{0,8}\Z"), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
COMMENT = st.text(SIGNS.filter(lambda sign: sign not in "\n\r\u0085\u2028\u2029"), max_size=12)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """CEL over several lines, with comments, blanks and texts in any letters."""
    said = draw(st.text(st.characters(codec="utf-8", categories=["L", "N", "S"]), max_size=8))
    blank = draw(st.sampled_from([" ", "\n", "\n\n  ", "\t", " \n "]))
    comment = draw(COMMENT)
    return draw(
        st.sampled_from(
            [
                "", "true", f"args.x =={blank}'{said}'", f"// {comment}\ntrue",
                f"true{blank}&& // {comment}\n true",
                f"{blank}true{blank}", f'args.x.matches("^{blank.strip()}a"){blank}|| !has(args.y)',
                f"args.x == '''{said}\n {said}'''", f"args.x == r'\\d'{blank}",
            ]
        )
    )  # fmt: skip


RULES = st.fixed_dictionaries(
    {"effect": st.sampled_from(["allow", "ask", "block"]), "when": conditions()},
    optional={
        "description": TEXT,
        "agents": st.lists(GLOBS, max_size=2),
        "tools": st.lists(GLOBS, max_size=2),
        "expires_after": st.integers(1, 2_592_000),
        "quorum": st.integers(1, 20),
        "step_up": st.booleans(),
        "egress": st.sampled_from([[], ["a.example"], ["GET https://a.example/v1/*", "*.b.example:8443"]]),
        "fallback": st.booleans(),
        "mode": st.sampled_from(["live", "shadow"]),
        "enabled": st.booleans(),
        "until": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    },
)
RULES = RULES.map(lambda rule: {k: v for k, v in rule.items() if k != "egress" or rule["effect"] != "block"})
PARAMETERS = st.fixed_dictionaries(
    {
        "type": st.just("object"),
        "properties": st.dictionaries(
            st.sampled_from(["to", "on", "größe", "a b"]),
            st.fixed_dictionaries(
                {}, optional={"type": st.just("string"), "description": TEXT, "default": JSON}
            ),
        ),
    },
    optional={"title": TEXT, "additionalProperties": st.just(True)},
)  # fmt: skip
DESTINATIONS = st.sampled_from(
    ["a.example", "*.a.example:8443", "GET,POST https://a.example/v1/*", "[::1]:80"]
)
CONFIGS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"code": TEXT, "limits": st.dictionaries(WORD, st.integers(0, 9), max_size=2)}),
    st.fixed_dictionaries(
        {"argv": st.lists(TEXT, min_size=1, max_size=3), "egress": st.lists(DESTINATIONS, max_size=2)}
    ),
    st.just({"egress": ["https://a.example/* with key in query"], "secrets": ["key"]}),
    st.just({"egress": ["https://a.example/"], "headers": {"X-A": "b"}}),
    st.fixed_dictionaries(
        {"issuer": st.just("postgres"), "source": NAMES, "tables": st.lists(WORD, max_size=2),
         "minutes": st.integers(1, 60)}
    ),
)  # fmt: skip
TOOLS = st.fixed_dictionaries(
    {"parameters": PARAMETERS.map(lambda schema: schema | {"additionalProperties": True})},
    optional={
        "description": TEXT,
        "runs": st.sampled_from(Tool.Runs.values),
        "effect": st.sampled_from(["read", "write", "destructive"]),
        "output": st.sampled_from(["trusted", "untrusted"]),
        "untrusted_fields": st.lists(WORD, max_size=2),
        "returns": st.lists(st.sampled_from(["private", "secret"]), unique=True, max_size=2),
        "sends": st.sampled_from(["none", "internal", "external"]),
        "idempotent": st.booleans(),
        "authority": st.lists(WORD, max_size=2),
        "target": WORD,
        "summary": TEXT,
        "labels": LABELS,
        "config": CONFIGS,
        "paused": st.booleans(),
    },
)
TOOLS = TOOLS.map(lambda tool: tool | ({"sends": "internal"} if "egress" in tool.get("config", {}) else {}))
CASES = st.fixed_dictionaries(
    {"tool": NAMES, "args": st.dictionaries(TEXT, JSON, max_size=3)},
    optional={
        "agent": NAMES,
        "labels": st.lists(st.sampled_from(["untrusted", "private"]), max_size=2),
        "origin": st.dictionaries(TEXT, st.sampled_from(WORST_FIRST), max_size=2),
    },
)
GROUPS = st.sampled_from(["comms", "Büro Süd", "on-call"])


def rows() -> list[dict[str, Any]]:
    """What a world file speaks of, without the keys of rows."""
    found = [row for model in (Rule, Tool, Case) for row in model.objects.order_by("name")]
    return [model_to_dict(row, exclude=["id"]) for row in found]


def settle(case: Case) -> None:
    """Give the case the effect that the rules give it, since a case that fails cannot be published."""
    for effect in ("allow", "ask", "block"):
        Case.objects.filter(pk=case.pk).update(expect=effect)
        if not [found for found in releases.problems(releases.draft_content()) if found.kind == "case"]:
            return
    raise AssertionError(case)


@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.dictionaries(NAMES, st.tuples(RULES, GROUPS), max_size=3),
    st.dictionaries(NAMES, TOOLS, max_size=2),
    st.dictionaries(WORD, CASES, max_size=1),
)
def test_publish_dump_apply_makes_the_same_world(
    rules: dict[str, tuple[dict[str, Any], str]],
    tools: dict[str, dict[str, Any]],
    cases: dict[str, dict[str, Any]],
) -> None:
    with transaction.atomic():
        for name, (rule, group) in rules.items():
            alone = rule.get("quorum", 1) == 1 and not rule.get("step_up")
            person = rule["effect"] == "ask" and alone and group == "comms"
            Rule.objects.create(name=name, approvers="@user" if person else group, **rule)
        for name, tool in tools.items():
            Tool.objects.create(name=name, **tool)
        for name, case in cases.items():
            settle(Case.objects.create(name=name, expect="block", **case))
        published, kept, text = releases.publish(by="ada").digest, rows(), world.dump()
        for model in (Case, Rule, Tool, Agent, Release):
            model.objects.all().delete()
        if text.strip() != "{}":
            world.apply(text, by="eve")
            assert releases.current().digest == published
        assert rows() == kept
        transaction.set_rollback(True)
