"""What holds an action that waits or is ready: a kill switch or a pause, and who threw it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from approvals.models import Action
from policies import limits
from policies.models import Agent, Switch, Tool, User

HELD = frozenset({Action.State.PENDING, Action.State.READY})


@dataclass(frozen=True)
class Holds:
    """Everything that holds anything now."""

    switches: Mapping[str, Switch]
    names: Mapping[str, str]
    paused: frozenset[str]

    @classmethod
    def none(cls) -> Holds:
        return cls({}, {}, frozenset())

    def of(self, action: Action) -> str:
        """Why nothing of this action would start now, as words after "held: "; empty where it would."""
        if action.state not in HELD:
            return ""
        agent = action.agent
        scopes = limits.scopes(agent, tool=action.tool) if self.switches else []
        switch = next((self.switches[scope] for scope in scopes if scope in self.switches), None)
        if switch is not None:
            why = f" ({switch.reason})" if switch.reason else ""
            return f"stopped by {self.names.get(switch.by, switch.by)}{why}"
        if agent.mode == Agent.Mode.PAUSED:
            return f"the agent {agent.name} is paused"
        return f"the tool {action.tool} is paused" if action.tool in self.paused else ""


def holds() -> Holds:
    """What holds now; a third query where a person threw a switch."""
    switches = {switch.scope: switch for switch in Switch.objects.order_by("scope")}
    paused = Tool.objects.filter(paused=True).values_list("name", flat=True)
    return Holds(switches, _names(switch.by for switch in switches.values()), frozenset(paused))


def held(action: Action) -> str:
    """The same for one action."""
    return holds().of(action) if action.state in HELD else ""


def _names(actors: Iterable[str]) -> dict[str, str]:
    """The people behind "user:7", as the rows of switches name them."""
    keys = [actor.partition(":")[2] for actor in actors if actor.startswith("user:")]
    if not keys:
        return {}
    found = User.objects.filter(pk__in=[key for key in keys if key.isdecimal()])
    return {f"user:{key}": name for key, name in found.values_list("pk", "username")}
