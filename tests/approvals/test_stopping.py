"""A running action is stopped by who may, within a second, and the log says who it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Thread
from typing import Any

import psutil
import pytest
from django.db import connections

from approvals import clock, execution, handout, results, starting, states, stopping
from approvals.models import Action, Execution
from policies import grants, people, world
from policies.models import Grant
from tests.approvals.test_views import HTMX, browser
from tests.cast import Cast, cast, committed_cast
from tests.gateway.caller import Caller
from traces import record
from traces.models import Entry
from traces.problems import Refused

__all__ = ["cast", "committed_cast"]
SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n"
ASKED = "# ASK\n" + SLOW


def mail(cast: Cast) -> Action:
    return cast.propose("email.send", {"to": ["a@example.com"], "subject": "", "body": ""})


def until(seen: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := seen():
            return found
        time.sleep(0.02)
    raise AssertionError("it never happened")


def running_asked(cast: Cast) -> Action:
    """A running action that comms was asked about, as its row says; started without its votes."""
    action = cast.propose("script.run", {"code": ASKED})
    states.move(states.lock(action.pk), to="ready", actor="tests")
    execution = starting._begin(states.lock(action.pk), _tool(action), "tests")
    assert isinstance(execution, starting.Started)
    action.refresh_from_db()
    return action


def _tool(action: Action) -> Any:
    return starting.releases.current().tool(action.tool)


def sealed(action: Action, kind: str) -> dict[str, Any]:
    entry = Entry.objects.select_related("subject_key").get(action_id=str(action.pk), kind=kind)
    return dict(record.as_sealed(entry)[1])


@pytest.mark.parametrize(
    ("tool", "args", "name"),
    [
        ("script.run", {"code": SLOW}, "python3"),
        ("wait", {"seconds": "60"}, "sh"),
    ],
)
def test_a_running_job_ends_within_a_second_and_keeps_what_it_printed(
    committed_cast: Cast, tool: str, args: dict[str, Any], name: str
) -> None:
    world.apply(WAIT, by="tests")
    action = committed_cast.propose(tool, args)
    worker = Thread(target=_work, args=[action])
    worker.start()
    until(lambda: Execution.objects.filter(action=action, stdout__contains="begun").exists())
    began = time.monotonic()
    stopping.stop_own(action_id=action.pk, agent=committed_cast.agent, why="not needed any more")
    until(lambda: Action.objects.get(pk=action.pk).state == "failed", 5)
    took = time.monotonic() - began
    worker.join()
    action.refresh_from_db()
    print(f"{tool}: stopped in {took:.2f} s")
    assert took < 1.5
    assert action.error == "stopped by scout: not needed any more"
    assert action.result["stdout"].startswith("begun")
    assert not [p for p in psutil.Process().children(recursive=True) if p.name() == name]


WAIT = """
tools:
  - name: wait
    runs: shell
    effect: read
    output: trusted
    argv: ["/bin/sh", "-c", "echo begun; sleep {seconds}"]
    parameters: {type: object, properties: {seconds: {type: string}}, required: [seconds]}
"""


def _work(action: Action) -> None:
    try:
        execution.run(action_id=action.pk, worker="tests")
    finally:
        connections.close_all()


def test_the_log_holds_who_stopped_it_and_why(cast: Cast) -> None:
    action = running_asked(cast)
    stopping.stop(action_id=action.pk, user=cast.approver, why="wrong file")
    assert {"by": "ada", "why": "wrong file"}.items() <= sealed(action, "action.stopping").items()
    assert (
        Entry.objects.get(action_id=str(action.pk), kind="action.stopping").actor
        == f"user:{cast.approver.pk}"
    )


@pytest.mark.parametrize(
    ("who", "code"), [("auditor", "forbidden"), ("stranger", "not_found"), ("second", "not_found")]
)
def test_who_does_not_decide_it_does_not_stop_it(cast: Cast, who: str, code: str) -> None:
    action = running_asked(cast)
    with pytest.raises(Refused) as refused:
        stopping.stop(action_id=action.pk, user=getattr(cast, who))
    assert refused.value.code == code
    assert not Execution.objects.exclude(stop_requested="").exists()


def test_an_administrator_stops_what_nobody_was_asked_about(cast: Cast) -> None:
    action = cast.propose("script.run", {"code": SLOW})
    starting.start(action_id=action.pk, worker="tests")
    assert stopping.stop(action_id=action.pk, user=cast.administrator).effect == "stopping"


def test_of_two_who_stop_it_the_second_is_told(cast: Cast) -> None:
    action = running_asked(cast)
    stopping.stop(action_id=action.pk, user=cast.approver)
    with pytest.raises(Refused, match="already"):
        stopping.stop(action_id=action.pk, user=cast.approver)
    assert Entry.objects.filter(kind="action.stopping").count() == 1


def test_what_has_ended_is_not_stopped(cast: Cast) -> None:
    action = cast.mass_mail()
    states.move(states.lock(action.pk), to="rejected", actor="tests", decided_by="ada")
    with pytest.raises(Refused, match="Rejected by ada|rejected by ada"):
        stopping.stop(action_id=action.pk, user=cast.approver)


def test_what_waits_for_a_decision_is_rejected_and_not_stopped(cast: Cast) -> None:
    with pytest.raises(Refused, match="reject it"):
        stopping.stop(action_id=cast.mass_mail().pk, user=cast.approver)


def test_what_is_ready_never_starts(cast: Cast) -> None:
    action = cast.propose("script.run", {"code": SLOW})
    assert stopping.stop(action_id=action.pk, user=cast.administrator, why="no").effect == "cancelled"
    with pytest.raises(Refused):
        starting.start(action_id=action.pk, worker="tests")


def test_a_handed_out_privilege_is_taken_back(committed_cast: Cast) -> None:
    action = mail(committed_cast)
    handout.take(action.pk, agent=committed_cast.agent)
    stopping.stop(action_id=action.pk, user=committed_cast.administrator, why="wrong address")
    action.refresh_from_db()
    assert (action.state, action.error) == ("interrupted", "stopped by root-admin: wrong address")
    assert Grant.objects.get().state == "revoked"


def test_the_clock_ends_what_a_dying_process_only_marked(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = mail(committed_cast)
    handout.take(action.pk, agent=committed_cast.agent)
    with monkeypatch.context() as dying:
        dying.setattr(stopping, "_take_back", lambda action: None)
        stopping.stop(action_id=action.pk, user=committed_cast.administrator)
    assert Grant.objects.get().state == "active"
    clock.tick()
    action.refresh_from_db()
    assert (action.state, Grant.objects.get().state) == ("interrupted", "revoked")


def test_a_stopped_action_takes_no_result(committed_cast: Cast) -> None:
    action = mail(committed_cast)
    handed = handout.take(action.pk, agent=committed_cast.agent)
    assert handed is not None
    stopping.stop(action_id=action.pk, user=committed_cast.administrator)
    with pytest.raises(Refused):
        results.report(agent=committed_cast.agent, action_id=action.pk, status="succeeded", output="done")
    with pytest.raises(Refused):
        grants.use(action_id=action.pk, digest=action.digest, fence=action.fence)


def test_the_card_asks_before_it_stops_and_then_says_so(cast: Cast) -> None:
    action, page = running_asked(cast), browser(cast.approver)
    shown = page.get(f"/actions/{action.pk}").content.decode()
    assert "Stop it now" in shown and f'action="/actions/{action.pk}/stop"' in shown
    answer = page.post(f"/actions/{action.pk}/stop", {"why": "too slow"}, **HTMX)
    assert "Stopped by ada: too slow" in answer.content.decode()
    assert json.loads(answer["HX-Trigger-After-Settle"])["agentsec:said"]["message"] == "It is being stopped."


def test_an_auditor_is_offered_no_button(cast: Cast) -> None:
    action = running_asked(cast)
    assert "Stop it now" not in browser(cast.auditor).get(f"/actions/{action.pk}").content.decode()


def test_nothing_is_stopped_by_looking(cast: Cast) -> None:
    assert browser(cast.approver).get(f"/actions/{running_asked(cast).pk}/stop").status_code == 405


def test_over_rest_an_agent_stops_its_own_and_nobody_elses(cast: Cast) -> None:
    action, agent = running_asked(cast), Caller(cast.raw_key)
    status, told = agent.post(f"/actions/{action.pk}/stop", {"why": "changed my mind"})
    assert (status, told["effect"], told["state"]) == (200, "stopping", "running")
    world.apply("agents:\n  - {name: other, mode: standard}\n", by="tests")
    other = Caller(people.issue_token(cast.stranger))
    assert other.post(f"/actions/{action.pk}/stop")[0] == 404


def test_an_interrupted_action_is_put_before_people_again_over_rest(cast: Cast) -> None:
    action = running_asked(cast)
    execution.interrupt(action_id=action.pk, fence=action.fence, why="killed")
    reviewer = Caller(people.issue_token(cast.approver))
    status, told = reviewer.post(f"/actions/{action.pk}/again")
    assert (status, told["action"]["state"]) == (200, "pending")


def test_what_is_under_way_has_a_list_of_its_own(cast: Cast) -> None:
    action, page = running_asked(cast), browser(cast.approver)
    assert f"row-{action.pk}" in page.get("/?show=running").content.decode()
    states.move(states.lock(action.pk), to="failed", actor="tests")
    assert "Nothing is under way" in page.get("/?show=running").content.decode()
