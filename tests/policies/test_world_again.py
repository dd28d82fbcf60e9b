"""A rule set published here, dumped and applied elsewhere is the same release there: the same digest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import releases, world
from policies.models import Agent, Case, Release, Rule, Tool

pytestmark = pytest.mark.django_db

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)
RULES = st.fixed_dictionaries(
    {"effect": st.sampled_from(["allow", "ask", "block"])},
    optional={
        "description": TEXT,
        "agents": st.lists(st.sampled_from(["a-*", "b?", "*", "no"]), max_size=2),
        "tools": st.lists(st.sampled_from(["email.send", "1.*", "*"]), max_size=2),
        "when": st.sampled_from(
            ["", "args.x == 'no'", "true // why", 'args.x == "\\u202e"', "true\n&& true"]
        ),
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
PARAMETERS = {"type": "object", "properties": {"to": {"type": "string"}, "on": {"type": "array"}}}
TOOLS = st.fixed_dictionaries(
    {"description": TEXT, "effect": st.sampled_from(["read", "write", "destructive"])},
    optional={
        "sends": st.sampled_from(["none", "internal", "external"]),
        "output": st.sampled_from(["trusted", "untrusted"]),
        "authority": st.lists(st.sampled_from(["to", "on"]), unique=True, max_size=2),
        "idempotent": st.booleans(),
    },
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(RULES, max_size=4), st.lists(TOOLS, max_size=2))
def test_publish_dump_apply_is_the_same_digest(
    rules: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    with transaction.atomic():
        for number, rule in enumerate(rules):
            Rule.objects.create(name=f"r{number}", approvers="comms", **rule)
        for number, tool in enumerate(tools):
            Tool.objects.create(name=f"tool{number}.run", runs="agent", parameters=PARAMETERS, **tool)
        # Something to say even where there are neither rules nor tools.
        Tool.objects.create(name="last", description="x", runs="agent")
        published, text = releases.publish(by="ada").digest, world.dump()
        for model in (Case, Rule, Tool, Agent, Release):
            model.objects.all().delete()
        world.apply(text, by="eve")
        assert releases.current().digest == published
        transaction.set_rollback(True)
