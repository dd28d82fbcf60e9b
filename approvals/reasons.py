"""What the action's own release says: its rules read aloud, and what its tool would run."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals.models import Action
from policies import reach, releases
from policies import verdict as verdicts
from policies.models import Release
from policies.rules import RuleSpec, sentence
from policies.tooling import ToolDef
from traces.problems import Refused

NAMED = 8  # tools of a session's purpose on a card; its own page names all


@dataclass(frozen=True)
class Program:
    """What the tool's definition fixes of what will run. `stale`: it changed since, so nothing will run;
    `bounded`: rules leave of its egress what is told here.
    """

    description: str
    code: str
    argv: tuple[str, ...]
    limits: Mapping[str, Any]
    egress: tuple[str, ...]
    secrets: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    stale: bool
    declared: bool
    bounded: bool = False


def rule_texts(action: Action) -> Mapping[str, str]:
    """The rules of the release that judged it, each read aloud; empty where that release is gone."""
    frozen = _frozen(action.release)
    return frozen.sentences if frozen else {}


def outside(action: Action) -> str:
    """The tools that its session was opened for, where the one that is called is none of them."""
    covered = json.loads(action.facts_json)["session"].get("covers", True)
    named = action.session.tools
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return "" if covered else ", ".join(named[:NAMED]) + more


def program(action: Action) -> Program:
    """What the tool's frozen definition says about running it."""
    tool, bounds = tool_of(action), verdicts.lines(action.verdict)
    config = reach.confined(tool, bounds).config
    return Program(
        description=tool.description, code=str(config.get("code") or ""),
        argv=tuple(map(str, config.get("argv") or ())),
        limits=config.get("limits") or {}, egress=tuple(config.get("egress") or ()), declared=tool.declared,
        secrets=tuple(config.get("secrets") or ()), headers=tuple((config.get("headers") or {}).items()),
        stale=_stale(action), bounded=bounds is not None and tool.runs in reach.REACHING,
    )  # fmt: skip


def _stale(action: Action) -> bool:
    try:
        return releases.current().tool(action.tool).manifest != action.manifest
    except Refused:  # an altered release starts nothing, and people still have to read and reject
        return True


def tool_of(action: Action) -> ToolDef:
    """The tool as the action's release defines it; as an undeclared one where that is gone."""
    frozen = _frozen(action.release)
    return (frozen and frozen.tools.get(action.tool)) or ToolDef.undeclared(action.tool)


@dataclass(frozen=True)
class _Frozen:
    sentences: Mapping[str, str]
    tools: Mapping[str, ToolDef]


# A release never changes. One that was not found is not remembered: it may be there a moment later.
_remembered: OrderedDict[str, _Frozen] = OrderedDict()
REMEMBERED = 16


def _frozen(digest: str) -> _Frozen | None:
    if digest in _remembered:
        return _remembered[digest]
    text = Release.objects.filter(digest=digest).values_list("content", flat=True).first()
    if text is None:
        return None
    content = json.loads(text)
    sentences = {rule["name"]: sentence(RuleSpec.from_json(rule)) for rule in content["rules"]}
    frozen = _Frozen(sentences, {tool["name"]: ToolDef.from_json(tool) for tool in content["tools"]})
    _remembered[digest] = frozen
    while len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)
    return frozen
