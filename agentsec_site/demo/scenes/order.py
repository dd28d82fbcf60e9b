"""Purchase order: two people of the finance team must agree."""

from __future__ import annotations

from typing import Any

from agentsec_site.demo.stage import Stage


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("buyer-bot"), stage.host("buyer-bot")
    session = host.open_session(purpose="Office supplies for Ghent", user="ruth@acme.example")
    host.say(session, "user_message", "Order 40 desk lamps from Lumen Supplies, at most 2600 euros in all.")
    agent.say(session, "reasoning", "Lumen Supplies lists the lamp at 64.50; 40 of them cost 2580.")
    order = {
        "supplier": "Lumen Supplies",
        "item": "Desk lamp LX-2",
        "quantity": 40,
        "amount": 2580,
        "currency": "EUR",
    }
    action = agent.propose(session, "order.place", order, reason="Within the budget the user named.")
    first = action["state"]
    action = stage.settle(agent, action)
    if "grant" in action:
        action = agent.report(action["id"], "succeeded", {"order": "LS-20931", "confirmed": True})
    return {"session": session, "action": action["id"], "first": first, "state": action["state"]}
