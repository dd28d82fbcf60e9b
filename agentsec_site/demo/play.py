"""Playing the scenes: each on a thread of its own, so that one that waits for people holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from agentsec_site.demo import mailbox
from agentsec_site.demo.client import Client, Problem
from agentsec_site.demo.people import COLLEAGUE
from agentsec_site.demo.scenes import SCENES, Scene
from agentsec_site.demo.stage import Stage

PAUSE = 1.5
CHATTER = 45.0


def play(base: str, keys: Mapping[str, str], folder: Path, stop: threading.Event) -> None:
    """Play every scene once, then let the agents go on with small work until told to stop."""
    with mailbox.running(folder) as smtp:
        stage = Stage(base=base, keys=keys, smtp=smtp, stop=stop)
        threads = [threading.Thread(target=_colleague, args=(stage,), daemon=True)]
        threads += [
            threading.Thread(target=_scene, args=(stage, name, scene), daemon=True)
            for name, scene in SCENES.items()
        ]
        for thread in threads:
            thread.start()
            stop.wait(PAUSE)
        while not stop.wait(CHATTER):
            _chatter(stage)


def _scene(stage: Stage, name: str, scene: Scene) -> None:
    try:
        scene(stage)
    except (Problem, OSError) as error:
        # The site ends a moment before its agents are told to; that is nothing to report.
        if not stage.stop.wait(2):
            stage.say(f"scene {name}: {error}")


def _colleague(stage: Stage) -> None:
    """The second person of the finance team agrees to an order once the visitor could have seen it wait."""
    colleague = Client(stage.base, stage.keys[COLLEAGUE])
    while not stage.stop.wait(10):
        try:
            for item in colleague.call("GET", "/inbox")["actions"]:
                body = {
                    "verdict": "approve",
                    "digest": item["digest"],
                    "comment": "Within the budget for Ghent.",
                }
                if item["tool"] == "order.place":
                    colleague.call("POST", f"/actions/{item['id']}/decision", body)
        except Problem as problem:
            if problem.status != 409:  # voted already, or somebody else was first
                stage.say(f"colleague: {problem}")
        except OSError as error:
            if not stage.stop.wait(2):
                stage.say(f"colleague: {error}")


def _chatter(stage: Stage) -> None:
    """A reading that nobody needs to be asked about, so that the traces show a company at work."""
    agent = stage.agent("mail-bot")
    try:
        session = agent.open_session(purpose="Look something up")
        action = agent.propose(session, "notes.read", {"id": 7}, reason="The opening hours are in note 7.")
        if "grant" in action:
            agent.report(action["id"], "succeeded", "Open from 9 to 18.")
    except (Problem, OSError) as error:
        stage.say(f"mail-bot: {error}")
