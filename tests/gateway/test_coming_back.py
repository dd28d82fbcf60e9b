"""An agent that lost its connection, or its memory, finds the same answer by whichever way it comes back."""

from __future__ import annotations

from approvals import decisions, execution, starting
from approvals.models import Action
from policies import world
from policies.models import Agent
from tests.cast import MANY
from tests.gateway.caller import MAIL
from tests.gateway.conftest import Door

MASS = {**MAIL, "to": MANY}


def finished(door: Door) -> tuple[str, str]:
    """The session and the id of a script that ran while its agent was away."""
    session = door.agent.session()
    _, told = door.agent.propose(
        "script.run", {"code": "print('done')"}, session=session, tool_call_id="call-1"
    )
    action = Action.objects.get(pk=told["id"])
    started = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(started, starting.Started)
    execution.finish(
        started.execution, execution.outputs.Output(True, "exited", {"stdout": "done\n"}, exit_status=0)
    )
    return session, str(told["id"])


def test_by_id_by_call_and_by_proposing_again_it_is_one_answer(door: Door) -> None:
    session, action = finished(door)
    ways = [
        door.agent.get(f"/actions/{action}"),
        door.agent.get(f"/actions/lookup?session={session}&tool_call_id=call-1"),
        door.agent.propose("script.run", {"code": "print('done')"}, session=session, tool_call_id="call-1"),
    ]
    assert ways[0] == ways[1] == ways[2]
    assert (ways[0][0], ways[0][1]["result"]["stdout"]) == (200, "done\n")
    assert Action.objects.count() == 1


def test_it_is_found_by_its_idempotency_key(door: Door) -> None:
    session = door.agent.session()
    _, told = door.agent.propose("email.send", MASS, session=session, idempotency_key="k-1")
    status, found = door.agent.get(f"/actions/lookup?session={session}&idempotency_key=k-1")
    assert (status, found["id"]) == (202, told["id"])


def test_a_call_looked_up_is_its_agents_alone(door: Door) -> None:
    session, _ = finished(door)
    assert door.other.get(f"/actions/lookup?session={session}&tool_call_id=call-1")[0] == 404
    assert door.approver.get(f"/actions/lookup?session={session}&tool_call_id=call-1")[0] == 403


def test_a_lookup_names_one_call(door: Door) -> None:
    session, _ = finished(door)
    for query in ("", "&tool_call_id=call-1&idempotency_key=k", "&tool_call_id=unknown"):
        assert door.agent.get(f"/actions/lookup?session={session}{query}")[0] in (404, 422)


def test_a_tool_that_was_declared_anew_meanwhile_changes_nothing_about_the_answer(door: Door) -> None:
    session, action = finished(door)
    world.apply("tools:\n  - {name: script.run, description: another}\n", by="tests")
    status, told = door.agent.propose(
        "script.run", {"code": "print('done')"}, session=session, tool_call_id="call-1"
    )
    assert (status, told["id"]) == (200, action)


def test_a_paused_agent_still_gets_its_answer(door: Door) -> None:
    session, action = finished(door)
    Agent.objects.filter(pk=door.cast.agent.pk).update(mode="paused")
    status, told = door.agent.propose(
        "script.run", {"code": "print('done')"}, session=session, tool_call_id="call-1"
    )
    assert (status, told["id"]) == (200, action)


def test_an_edited_call_proposed_again_is_the_edited_action(door: Door) -> None:
    session = door.agent.session()
    _, told = door.agent.propose("email.send", MASS, session=session, tool_call_id="call-2")
    decisions.edit(
        action_id=told["id"], user=door.cast.approver, digest=told["digest"],
        args={**MASS, "subject": "Better"}, channel="rest",
    )  # fmt: skip
    status, again = door.agent.propose("email.send", MASS, session=session, tool_call_id="call-2")
    assert (again["id"], again["args"]["subject"]) == (told["id"], "Better")


def test_a_different_call_under_the_same_id_is_refused(door: Door) -> None:
    session, _ = finished(door)
    assert door.agent.propose("script.run", {"code": "1"}, session=session, tool_call_id="call-1")[0] == 409
