"""Mail: three recipients go at once; 101, or an attachment, wait for the communications team."""

from __future__ import annotations

from typing import Any

from agentsec_site.demo.client import Client
from agentsec_site.demo.stage import Stage

FEW = ["ann@acme.example", "bob@acme.example", "cem@acme.example"]
SUBSCRIBERS = [f"subscriber{number:03}@customers.example" for number in range(1, 102)]


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("mail-bot"), stage.host("mail-bot")
    session = host.open_session(purpose="Monthly newsletter", user="kim@acme.example")
    asked = f"Tell {', '.join(FEW)} that the newsletter is out, then send it to: {', '.join(SUBSCRIBERS)}."
    host.say(session, "user_message", asked)
    few = {"to": FEW, "subject": "The newsletter is out", "body": "It goes to all subscribers today."}
    news = {
        "to": SUBSCRIBERS,
        "subject": "November at Acme",
        "body": "Hello,\n\nthis month: a new warehouse in Ghent, and longer opening hours.\n\nAcme",
    }
    table = few | {
        "subject": "Figures of the newsletter",
        "attachments": [{"name": "figures.csv", "text": "month,readers\nOctober,812\nNovember,931\n"}],
    }
    return {
        "session": session,
        "few": send(stage, agent, session, few, reason="A note to the team."),
        "many": send(stage, agent, session, news, reason="The user asked for the newsletter to go out."),
        "attachment": send(stage, agent, session, table, reason="The team wants the figures."),
    }


def send(stage: Stage, agent: Client, session: str, args: dict[str, Any], *, reason: str) -> dict[str, Any]:
    """Ask, wait if people must decide, send what was decided, report. What was edited is what is sent."""
    first = agent.propose(session, "email.send", args, reason=reason)
    action = stage.settle(agent, first)
    if "grant" in action:
        action = agent.report(action["id"], "succeeded", stage.send_mail(action["args"]))
    return {"id": action["id"], "first": first["state"], "state": action["state"], "last": action}
