"""The demonstration's people and agents' keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from agentsec_site.home import SetupError
from approvals import decisions
from approvals.models import Action
from policies import agents, people, world
from policies.models import Agent, Role, User

VISITOR = "demo"
COLLEAGUE = "priya"
GROUPS = ("approvers", "comms", "data", "finance", "ops")
BY = "demo"
KEYS = "demo-agents.json"
WORLD = Path(__file__).with_name("world.yaml")


def prepare() -> None:
    """People, agents and rules, and new keys for the agents, in a file that only we can read."""
    _person(VISITOR, GROUPS, tuple(Role.values))
    _person(COLLEAGUE, ("finance",), people.DEFAULT_ROLES)
    world.apply("starter", by=BY)
    world.apply(WORLD.read_text(), by=BY)
    _clear_old_work()
    keys = {COLLEAGUE: people.issue_token(User.objects.get(username=COLLEAGUE), days=7, by=BY)}
    for agent in Agent.objects.filter(name__in=_names()):
        if agent.keys.usable(timezone.now()).exists():
            agents.revoke(agent=agent, by=BY)
        keys[agent.name] = agents.issue_key(agent, ["act"], by=BY)
        keys[f"{agent.name}+host"] = agents.issue_key(agent, ["act", "attest"], by=BY)
    _write(keys)


def link() -> str:
    """The link that signs the visitor in, on loopback, as often as it is opened."""
    return people.demo_link(user=User.objects.get(username=VISITOR)).url


def keys() -> dict[str, str]:
    """Agents' keys as `prepare` left them. Raises SetupError."""
    try:
        found: dict[str, str] = json.loads(_path().read_text())
    except OSError as error:
        raise SetupError(f"the demonstration was not prepared ({error.strerror}): `manage.py demo`") from None
    return found


def _person(name: str, groups: tuple[str, ...], roles: tuple[str, ...]) -> None:
    if not User.objects.filter(username=name).exists():
        people.create_user(name=name, groups=groups, roles=roles, by=BY, email=f"{name}@acme.example")


def _names() -> list[str]:
    return [name for name in Agent.objects.values_list("name", flat=True) if name.endswith("-bot")]


def _clear_old_work() -> None:
    """What an earlier run left waiting; its agents are gone, so nobody would act on a decision."""
    old = Action.objects.filter(
        agent__name__in=_names(), state__in=[Action.State.PENDING, Action.State.READY]
    )
    for action in old.select_related("agent"):
        decisions.cancel(action_id=action.pk, agent=action.agent)


def _path() -> Path:
    return settings.KEYS / KEYS


def _write(found: dict[str, str]) -> None:
    _path().unlink(missing_ok=True)
    descriptor = os.open(_path(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(found, file)
