"""Production deploy: destructive, so the reviewer types the name of the target."""

from __future__ import annotations

from typing import Any

from agentsec_site.demo.stage import Stage


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("deploy-bot"), stage.host("deploy-bot")
    session = host.open_session(purpose="Release 4.2", user="lee@acme.example")
    host.say(session, "user_message", "Release 4.2 passed on staging. Deploy it to production.")
    action = agent.propose(
        session,
        "deploy.run",
        {"target": "production", "version": "4.2"},
        reason="Staging is green since noon.",
    )
    first = action["state"]
    action = stage.settle(agent, action)
    return {
        "session": session,
        "action": action["id"],
        "first": first,
        "state": action["state"],
        "last": action,
    }
