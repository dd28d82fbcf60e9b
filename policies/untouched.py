"""Which tools a draft does not touch: their calls come out as they did, so that nobody need judge them again.

What is said of a call depends on its facts, on its tool's definition and on the rules whose globs fit its
tool. Where those are the same in the draft as in the release that judged, the same comes out. Agents are
left aside: a rule for another agent counts as one for this, so that a changed one is never overlooked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies import engine
from policies.arguments import canonical
from policies.rules import RuleSpec
from policies.tooling import ToolDef

_WORDS = frozenset({"id", "name", "description", "expires_after"})
Rules = Sequence[RuleSpec]
Tools = Mapping[str, ToolDef]


class Untouched:
    """The tools of one release that a draft leaves as they were."""

    def __init__(self, *, before: tuple[Rules, Tools], after: tuple[Rules, Tools]) -> None:
        self._before, self._after = before, after
        self._known: dict[str, bool] = {}

    def holds(self, tool: str) -> bool:
        """Whether this tool is one of them."""
        known = self._known.get(tool)
        if known is None:
            known = self._known[tool] = _said(tool, *self._before) == _said(tool, *self._after)
        return known


def _said(tool: str, rules: Rules, tools: Tools) -> Any:
    """All that the effect for a tool's calls and whom they ask depend on, facts aside."""
    defined = (tools.get(tool) or ToolDef.undeclared(tool)).facts()
    fitting = (rule for rule in rules if rule.enabled and rule.mode == "live")
    return defined, sorted(_decides(rule) for rule in fitting if engine.fits(rule.tools, tool))


def _decides(rule: RuleSpec) -> str:
    """What of a rule can change an effect: all but words and patience, so no later field is forgotten."""
    decisive = {name: value for name, value in rule.to_json().items() if name not in _WORDS}
    return canonical(decisive | {"approvers": rule.approvers.strip()}).decode()
