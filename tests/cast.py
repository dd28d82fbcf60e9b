"""One cast everywhere: an agent, an approver, an auditor, and a stranger from another team.

The instance they live in is small and real: a published release with mail, scripts, a deploy and payments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group

from approvals import pipeline
from approvals.models import Action
from policies import agents, people, sessions, world
from policies.models import Agent, AgentKey, User
from tests.frozen import copied
from traces.models import Session

WORLD = """
agents:
  - {name: scout, team: finance, mode: standard, limits: {actions_per_minute: 1000, pending: 500}}
tools:
  - name: email.send
    runs: agent
    effect: write
    output: trusted
    sends: external
    authority: [to, cc, bcc]
    target: to
    summary: "Send “{subject}” to {to}"
    parameters:
      type: object
      properties:
        to: {type: array, items: {type: string}}
        cc: {type: array, items: {type: string}}
        bcc: {type: array, items: {type: string}}
        subject: {type: string}
        body: {type: string}
        attachments: {type: array}
      required: [to, subject, body]
  - name: script.run
    runs: python
    effect: write
    output: untrusted
    sends: none
    authority: []
    summary: "Run a script"
    parameters:
      type: object
      properties: {code: {type: string}, files: {type: object, additionalProperties: true}}
      required: [code]
  - name: deploy
    runs: shell
    effect: destructive
    output: trusted
    sends: internal
    authority: [target]
    target: target
    summary: "Deploy to {target}"
    argv: ["/bin/echo", "deployed {target}"]
    parameters: {type: object, properties: {target: {type: string}}, required: [target]}
  - name: order.place
    runs: agent
    effect: write
    output: trusted
    sends: external
    authority: [supplier, amount]
    target: supplier
    summary: "Order {item} for {amount} from {supplier}"
    parameters:
      type: object
      properties: {supplier: {type: string}, item: {type: string}, amount: {type: integer}}
      required: [supplier, amount]
  - name: notes.read
    runs: agent
    effect: read
    output: trusted
    sends: none
    authority: []
    parameters: {type: object, properties: {id: {type: integer}}}
rules:
  - {name: mail, effect: allow, tools: [email.send]}
  - name: mass-mail
    effect: ask
    tools: [email.send]
    when: recipients(args) > 100 || has(args.attachments)
    approvers: comms
    expires_after: 15m
  - {name: scripts, effect: allow, tools: [script.run]}
  - {name: risky, effect: ask, tools: [script.run], approvers: comms, when: "args.code.contains('ASK')"}
  - {name: deploys, effect: ask, tools: [deploy], approvers: comms}
  - {name: orders, effect: ask, tools: [order.place], approvers: finance, quorum: 2}
  - {name: dear-orders, effect: ask, tools: [order.place], approvers: comms, when: args.amount > 10000}
  - {name: reads, effect: allow, when: "tool.effect == 'read'"}
  - {name: no-gambling, effect: block, tools: [order.place], when: "args.supplier.contains('casino')"}
"""
MANY = [f"person{number}@example.com" for number in range(101)]


@dataclass
class Cast:
    """Everybody, and short ways to let them act."""

    agent: Agent
    key: AgentKey
    raw_key: str
    host_key: AgentKey
    raw_host_key: str
    approver: User
    second: User
    auditor: User
    stranger: User
    administrator: User

    def session(self, *, attested: bool = True, **about: Any) -> Session:
        key = self.host_key if attested else self.key
        told = {"purpose": "", "user": "", "external_id": "", "parent": None, **about}
        return sessions.open_session(agent=self.agent, key=key, **told)

    def propose(self, tool: str, args: dict[str, Any], session: Session | None = None, **more: Any) -> Action:
        chosen = session or self.session()
        return pipeline.propose(
            agent=self.agent, key=self.key, session_id=chosen.pk, tool=tool, args=args, **more
        )

    def mass_mail(self, session: Session | None = None, **more: Any) -> Action:
        """An action that waits for comms."""
        return self.propose(
            "email.send", {"to": MANY, "subject": "News", "body": "Hello"}, session=session, **more
        )

    def deploy(self, target: str = "production") -> Action:
        return self.propose("deploy", {"target": target})

    def order(self, amount: int = 500) -> Action:
        return self.propose("order.place", {"supplier": "Acme", "item": "paper", "amount": amount})


def person(name: str, *groups: str, roles: tuple[str, ...] = ("approver", "member")) -> User:
    """Somebody in groups, with roles; without a password, whose hashing would cost every test a second."""
    return people.create_user(name=name, groups=list(groups), roles=list(roles), by="tests").user


def make_cast() -> Cast:
    people.create_user(name="owner", groups=["finance"], roles=["member"], by="tests")
    world.apply(WORLD, by="tests")
    agent = Agent.objects.get(name="scout")
    raw_key = agents.issue_key(agent, ["act"], by="tests")
    raw_host_key = agents.issue_key(agent, ["act", "attest"], by="tests")
    Group.objects.get_or_create(name="elsewhere")
    return Cast(
        agent=agent,
        key=agents.authenticate_key(raw_key),
        raw_key=raw_key,
        host_key=agents.authenticate_key(raw_host_key),
        raw_host_key=raw_host_key,
        approver=person("ada", "comms", "finance"),
        second=person("ben", "finance"),
        auditor=person("olga", roles=("auditor",)),
        stranger=person("sam", "elsewhere"),
        administrator=person("root-admin", roles=("administrator",)),
    )


@pytest.fixture
def cast(db: None) -> Cast:
    """The cast inside a transaction that is rolled back."""
    return copied(make_cast)


@pytest.fixture
def committed_cast(transactional_db: None) -> Cast:
    """The cast with everything committed, for races and for other processes to see."""
    return copied(make_cast)
