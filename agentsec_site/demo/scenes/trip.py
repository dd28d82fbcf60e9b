"""A journey: nobody but the traveller, whom the session serves, may say yes to it."""

from __future__ import annotations

from typing import Any

from agentsec_site.demo.stage import Stage

TRAVELLER = "demo"


def play(stage: Stage) -> dict[str, Any]:
    agent, host = stage.agent("travel-bot"), stage.host("travel-bot")
    session = host.open_session(purpose="A journey to Lyon", user=TRAVELLER)
    host.say(session, "user_message", "I have to be in Lyon on Friday. Please book me a train, second class.")
    journey = {"to": "Lyon", "day": "Friday", "class": "first", "price": 189}
    why = "Second class is sold out on Friday."
    action = agent.propose(session, "trip.book", journey, reason=why)
    first = action["state"]
    link = host.call("POST", f"/sessions/{session}/confirmation-link", {"minutes": 60})
    stage.say(
        f"  {TRAVELLER}, as the traveller of a session, is asked for a word of their own: {link['url']}"
    )
    action = stage.settle(agent, action)
    if "grant" in action:
        action = agent.report(action["id"], "succeeded", {"booking": "TGV-6607-B"})
    return {"session": session, "url": link["url"], "first": first, "state": action["state"]}
