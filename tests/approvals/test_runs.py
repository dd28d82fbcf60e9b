"""What a tool may say about how it runs: what cannot run is blocked at once, not left to wait."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.executors import python
from policies import limits, releases, world
from policies.models import Tool
from policies.world import WorldRefused
from tests.cast import Cast
from traces.problems import Refused


def declare(**fields: Any) -> None:
    told = {"name": "it", "effect": "read", "sends": "none", "parameters": {"type": "object"}, **fields}
    world.apply(str({"tools": [told]}), by="tests")


@pytest.mark.parametrize("runs", ["mcp"])
def test_a_call_that_nothing_here_can_run_is_blocked_with_the_reason(cast: Cast, runs: str) -> None:
    declare(runs=runs)
    action = cast.propose("it", {})
    assert action.state == "blocked"
    assert f"it runs as {runs}, which this version of agentsec cannot do" in action.verdict["reasons"]


def test_a_world_file_fixes_a_tools_script(cast: Cast) -> None:
    declare(runs="python", code="print('fixed')")
    job = python.job({"code": "print('mine')"}, releases.current().tool("it"), str.encode)
    assert job.source == "print('fixed')"


def test_a_fixed_script_survives_dump_and_apply(cast: Cast) -> None:
    declare(runs="python", code="print('fixed')")
    assert world.apply(world.dump(), by="tests").changes == []


def test_hosts_in_egress_are_texts(cast: Cast) -> None:
    with pytest.raises(WorldRefused, match=r"tools\[0\].egress\[0\]: must be a text"):
        declare(runs="python", egress=[{"host": "example.com"}])


def test_a_script_that_names_a_host_is_judged_like_any_other(cast: Cast) -> None:
    declare(runs="python", egress=["example.com:443"], sends="internal")
    assert cast.propose("it", {"code": "pass"}).state == "ready"


def test_a_paused_tool_is_refused_at_the_door(cast: Cast) -> None:
    limits.pause_tool(tool=Tool.objects.get(name="notes.read"), paused=True, by="tests")
    with pytest.raises(Refused, match="The tool notes.read is paused"):
        cast.propose("notes.read", {"id": 1})


def test_the_kill_switch_of_a_tool_is_refused_at_the_door_with_its_reason(cast: Cast) -> None:
    limits.stop(scope="tool:notes.read", reason="leaks", by="tests")
    with pytest.raises(Refused, match="The kill switch stops tool notes.read: leaks"):
        cast.propose("notes.read", {"id": 1})
