"""A company's last month, made up: tools, rules and any number of stored calls as an instance keeps them.

Every row is as proposing it would have left it: its facts are checked and built as the pipeline builds them,
its verdict is what the published release says of them, and what people made of it follows. The dice are
thrown from one seed, so the same history comes out each time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import yaml
from django.utils import timezone

from approvals import judging
from approvals.models import Action
from policies import agents, engine, facts, releases, sessions, world
from policies.arguments import canonical
from policies.facts import Facts, SessionFacts, UsageFacts
from policies.models import Agent
from policies.releases import Active
from policies.tooling import ToolDef
from traces.models import Session

BATCH = 1000
DAYS = 29
KINDS = ("mail", "pay", "file", "crm", "deploy", "web", "chat", "sql")
VERBS = ("read", "send", "change", "wipe", "list")
EFFECTS = {"read": "read", "list": "read", "send": "write", "change": "write", "wipe": "destructive"}
TEAMS = ("finance", "support", "news", "platform")
ORIGINS = ("user", "user", "named", "trusted", "agent", "untrusted")
LABELS = ("untrusted", "private", "secret", "injection")
WORDS = (
    "report", "invoice", "meeting", "budget", "order", "customer", "refund", "contract", "shipment", "please",
    "release", "invoice-4711", "account", "send", "confirm", "update", "before", "friday", "totals", "team",
)  # fmt: skip
# What the rules of the company look like: mostly comparisons of facts, now and then a function.
CONDITIONS = (
    "size(args.to) > {n}",
    "args.amount > {n}00",
    "has(args.amount) && args.amount > {n}000 && 'untrusted' in session.labels",
    "recipients(args) > {n} || (has(args.attachments) && size(args.attachments) > 0)",
    "!args.to.all(mail, domain(mail) in ['example.com', 'd{n}.example'])",
    "authority.exists(name, authority[name] == 'untrusted') && usage.minute > {n}",
    "session.calls > {n} && agent.team == 'support'",
    "has(args.text) && args.text.contains('invoice-{n}')",
    "findings.exists(f, f.severity == 'high')",
    "has(args.path) && args.path.startsWith('/srv/{n}/')",
    "now.getHours('UTC') >= {n} && tool.effect != 'read'",
    "",
)


def found_company(rules: int = 100, bots: int = 20) -> Active:
    """Declare the company and publish its rules, the starter set among them."""
    world.apply(world.STARTER, by="bench")
    made = {
        "agents": [agent(number) for number in range(bots)],
        "tools": [tool(kind, verb) for kind in KINDS for verb in VERBS],
        "rules": [rule(number) for number in range(rules)],
    }
    world.apply(yaml.safe_dump(made), by="bench")
    return releases.current()


def agent(number: int) -> dict[str, Any]:
    labels = ["trial"] if number % 5 == 0 else []
    return {
        "name": f"bot-{number}",
        "team": TEAMS[number % len(TEAMS)],
        "mode": "standard" if number % 10 else "read_only",
        "labels": labels,
    }


def tool(kind: str, verb: str) -> dict[str, Any]:
    return {
        "name": f"{kind}.{verb}", "effect": EFFECTS[verb],
        "output": "untrusted" if kind == "web" else "trusted",
        "sends": "external" if kind in ("mail", "web", "pay") else "internal", "authority": ["to", "path"],
        "parameters": {"type": "object", "additionalProperties": True},
    }  # fmt: skip


def rule(number: int, *, shift: int = 0) -> dict[str, Any]:
    """One of the company's rules; `shift` moves its thresholds, which makes it another rule."""
    kind = KINDS[number % len(KINDS)]
    effect = ("ask", "allow", "allow", "block")[number % 4]
    # Half by name and half by pattern, which take different ways through the index.
    glob = f"{kind}.*" if number % 2 else f"{kind}.{VERBS[number // 8 % len(VERBS)]}"
    # A block that always applies would leave nothing to decide.
    when = CONDITIONS[number % len(CONDITIONS)] or ("args.amount > 90{n}" if effect == "block" else "")
    made = {"name": f"rule-{number:03}", "effect": effect, "tools": [glob]}
    made["when"] = when.format(n=number % 7 * 3 + 4 + shift)
    return made | ({"approvers": f"{TEAMS[number % 4]}-leads"} if effect == "ask" else {})


@dataclass
class History:
    """The calls of the last month, one after the other."""

    active: Active
    dice: random.Random
    bots: list[Agent]
    sessions: dict[int, list[Session]]

    def actions(self, count: int) -> Iterator[Action]:
        until = timezone.now() - timedelta(minutes=5)
        for number in range(count):
            yield self.action(number, until - timedelta(days=DAYS) * ((count - number) / count))

    def action(self, number: int, at: datetime) -> Action:
        bot = self.dice.choice(self.bots)
        made = self.active.tool(self.name())
        args = arguments(self.dice, number)
        session = self.dice.choice(self.sessions[bot.pk])
        seen = facts.build(
            args=args, tool=made.facts(), agent=judging.agent_facts(bot), session=self.met(session),
            origin={name: self.dice.choice(ORIGINS) for name in args}, findings=self.findings(),
            usage=UsageFacts(*(self.dice.randrange(most) for most in (12, 900, 6))), now=at,
        )  # fmt: skip
        said = engine.decide(seen, self.active.compiled)
        verdict = judging.with_built_in(said, bot, made, [], args)
        return self.row(bot, session, made, seen, verdict)

    def name(self) -> str:
        """A tool, some far busier than others, one in fifty that nobody declared."""
        if self.dice.random() < 0.02:
            return f"unknown.{self.dice.randrange(30)}"
        kind = KINDS[min(int(self.dice.expovariate(0.5)), len(KINDS) - 1)]
        return f"{kind}.{self.dice.choice(VERBS)}"

    def met(self, session: Session) -> SessionFacts:
        labels = tuple(sorted(label for label in LABELS if self.dice.random() < 0.25))
        age, calls = self.dice.randrange(7200), self.dice.randrange(60)
        return SessionFacts(labels, age=age, calls=calls, user=session.user, attested=True)

    def findings(self) -> list[dict[str, str]]:
        if self.dice.random() > 0.05:
            return []
        severity = self.dice.choice(["low", "medium", "high"])
        return [{"detector": "secrets", "severity": severity, "why": "looks like a key"}]

    def row(
        self, bot: Agent, session: Session, made: ToolDef, seen: Facts, verdict: engine.Verdict
    ) -> Action:
        args = canonical(seen.args).decode()
        called = sha256(args.encode()).hexdigest()
        return Action(
            session=session, agent=bot, team=bot.team.name if bot.team else "", tool=made.name,
            runs=made.runs, effect=made.effect, manifest=made.manifest, args_json=args,
            call_digest=called, digest=called,
            summary=f"Call {made.name}", state=self.state(verdict.effect), release=verdict.release,
            verdict_json=json.dumps(verdict.to_json()), facts_json=json.dumps(seen.to_json()),
            approvals_json=json.dumps([asdict(item) for item in verdict.approvals]),
            groups=sorted({item.group for item in verdict.approvals}),
            deadline=seen.now + timedelta(minutes=15), created_at=seen.now, changed_at=seen.now,
        )  # fmt: skip

    def state(self, effect: str) -> str:
        if effect == "block":
            return Action.State.BLOCKED
        if effect == "ask" and self.dice.random() < 0.15:
            return Action.State.REJECTED
        return self.dice.choice([Action.State.SUCCEEDED, Action.State.SUCCEEDED, Action.State.EXPIRED])


def arguments(dice: random.Random, number: int) -> dict[str, Any]:
    """Of all sizes: mostly a line or two, now and then a long letter or a long list."""
    args: dict[str, Any] = {
        "to": [f"person{dice.randrange(5000)}@d{dice.randrange(40)}.example" for _ in range(people(dice))],
        "subject": " ".join(dice.choices(WORDS, k=4)),
        "number": number,
    }
    if dice.random() < 0.5:
        args["amount"] = dice.randrange(100_000) if dice.random() < 0.7 else round(dice.uniform(1, 5000), 2)
    if dice.random() < 0.7:
        args["text"] = " ".join(dice.choices(WORDS, k=min(4000, int(dice.lognormvariate(3.5, 1.2)))))
    if dice.random() < 0.3:
        args["path"] = f"/srv/{dice.randrange(20)}/{dice.choice(WORDS)}.txt"
    if dice.random() < 0.1:
        args["attachments"] = [{"name": f"{dice.choice(WORDS)}.csv", "size": dice.randrange(1 << 20)}]
    return args


def people(dice: random.Random) -> int:
    return min(300, int(dice.lognormvariate(0.5, 1)) or 1)


def write(count: int, *, active: Active, seed: int = 4411) -> int:
    """Store so many calls of the last 29 days; how many characters of facts and verdicts they hold."""
    bots = list(Agent.objects.select_related("team").filter(name__startswith="bot-"))
    past = History(active, random.Random(seed), bots, {bot.pk: opened(bot) for bot in bots})
    written, batch = 0, []
    for action in past.actions(count):
        batch.append(action)
        written += len(action.facts_json) + len(action.verdict_json)
        if len(batch) == BATCH:
            Action.objects.bulk_create(batch)
            batch.clear()
    Action.objects.bulk_create(batch)
    return written


def opened(bot: Agent) -> list[Session]:
    key = agents.authenticate_key(agents.issue_key(bot, ["act", "attest"], by="bench"))
    assert key is not None
    return [sessions.open_session(agent=bot, key=key, user=f"user{number}") for number in range(5)]


def shifted(active: Active, *, every: int) -> list[dict[str, Any]]:
    """The company's rules with the threshold of each `every`-th moved."""
    numbers = [int(rule.name[5:]) for rule in active.compiled.rules if rule.name.startswith("rule-")]
    return [rule(number, shift=9) for number in numbers if number % every == 0]
