"""`manage.py agent create|rotate|revoke NAME`: agents and their keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from agentsec_site.management.base import AgentsecCommand
from policies import agents, people
from policies.access import OPERATOR
from policies.models import Agent
from traces.problems import Refused

HOST = "it lets its holder say what the user said; keep it in the host application, away from the model"


class Command(AgentsecCommand):
    help = "Create an agent and its key, or another key for it; replace its keys; end them."

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="create|rotate|revoke")
        create = acts.add_parser("create", help="make the agent if there is none, and a key, printed last")
        create.add_argument("--scopes", default="act", help="act, attest, or both: act,attest (default: act)")
        create.add_argument("--team", default="", help="a new agent's team, made if missing")
        create.add_argument("--days", type=int, help="how long the key works (default: until it is revoked)")
        rotate = acts.add_parser("rotate", help="print a new key; the old one ends after an overlap")
        rotate.add_argument("--overlap", type=int, default=60, metavar="MINUTES", help="default: 60")
        rotate.add_argument("--days", type=int, help="how long the new key works (default: as the old one)")
        revoke = acts.add_parser("revoke", help="end the agent's keys at once")
        for act in (rotate, revoke):
            act.add_argument("--key", default="", metavar="PREFIX", help="only the key that begins so")
        for act in (create, rotate, revoke):
            act.add_argument("name", metavar="NAME")
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        ACTS[options["act"]](self, options)

    def create(self, options: dict[str, Any]) -> None:
        scopes = people.listed(options["scopes"])
        expires_at = people.in_days(options["days"]) if options["days"] is not None else None
        with transaction.atomic():
            agent, created = _made(options["name"], options["team"])
            raw = agents.issue_key(agent, scopes, by=OPERATOR, expires_at=expires_at)
        if created:
            self.stdout.write(f"Agent {agent.name} created; it may only read until its mode is standard.")
        if "attest" in scopes:
            self.stdout.write(f"This key attests: {HOST}.")
        self.stdout.write(f"Key of {agent.name}, shown this once: {raw}")

    def rotate(self, options: dict[str, Any]) -> None:
        overlap = timedelta(minutes=options["overlap"])
        agent = _agent(options["name"])
        ends = people.in_days(options["days"]) if options["days"] is not None else None
        raw = agents.rotate(agent=agent, by=OPERATOR, prefix=options["key"], overlap=overlap, expires_at=ends)
        self.stdout.write(f"The old key ends in {options['overlap']} minutes.")
        self.stdout.write(f"New key of {agent.name}, shown this once: {raw}")

    def revoke(self, options: dict[str, Any]) -> None:
        agent = _agent(options["name"])
        ended = agents.revoke(agent=agent, by=OPERATOR, prefix=options["key"])
        self.stdout.write(f"{ended} key{'s' if ended != 1 else ''} of {agent.name} ended.")


ACTS: dict[str, Callable[[Command, dict[str, Any]], None]] = {
    "create": Command.create,
    "rotate": Command.rotate,
    "revoke": Command.revoke,
}


def _made(name: str, team: str) -> tuple[Agent, bool]:
    agent = Agent.objects.filter(name=name).first()
    if agent is not None:
        return agent, False
    group = people.ensure_group(name=team, by=OPERATOR)[0] if team else None
    return agents.create_agent(name=name, team=group, by=OPERATOR), True


def _agent(name: str) -> Agent:
    agent = Agent.objects.filter(name=name).first()
    if agent is None:
        raise Refused("not_found", f"There is no agent called {name}.")
    return agent
