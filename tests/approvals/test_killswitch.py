"""The kill switch: what it names stops at once, what waits stays, and nothing goes on before it is lifted."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connections

from approvals import clock, decisions, execution, handout, killswitch, starting
from approvals.models import Action, Execution
from policies import limits
from policies.models import Grant, Switch
from tests.cast import Cast
from traces.models import Entry
from traces.problems import Refused

SCOPES = ("all", "agent:scout", "group:finance", "tool:email.send")
SLOW = "import time\nprint('started', flush=True)\ntime.sleep(60)\n"


def mail(cast: Cast) -> Action:
    return cast.propose("email.send", {"to": ["a@example.com"], "subject": "Hi", "body": "x"})


def throw(scope: str, reason: str = "a drill") -> Switch:
    return killswitch.throw(scope=scope, reason=reason, by="tests")


@pytest.mark.parametrize("scope", SCOPES)
def test_nothing_more_comes_in(cast: Cast, scope: str) -> None:
    throw(scope)
    with pytest.raises(Refused) as caught:
        mail(cast)
    assert caught.value.code == "forbidden" and "a drill" in caught.value.detail


def test_others_go_on(cast: Cast) -> None:
    throw("tool:deploy")
    assert mail(cast).state == "ready"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_grant_that_was_handed_out_is_taken_back(cast: Cast, scope: str) -> None:
    action = mail(cast)
    handed = handout.take(action.pk, agent=cast.agent)
    assert handed is not None
    throw(scope)
    action.refresh_from_db()
    assert (Grant.objects.get().state, action.state) == ("revoked", "interrupted")


def test_the_grant_of_another_tool_stays(cast: Cast) -> None:
    handout.take(mail(cast).pk, agent=cast.agent)
    throw("tool:deploy")
    assert Grant.objects.get().state == "active"


def test_what_was_ready_starts_only_after_the_switch_is_lifted(cast: Cast) -> None:
    action = mail(cast)
    throw("group:finance")
    assert handout.take(action.pk, agent=cast.agent) is None
    limits.lift(scope="group:finance", by="tests")
    assert handout.take(action.pk, agent=cast.agent) is not None


def test_a_pending_action_is_approved_and_still_held(cast: Cast) -> None:
    action = cast.mass_mail()
    throw("all")
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, channel="rest")
    action.refresh_from_db()
    held = starting.start(action_id=action.pk, worker="tests")
    assert action.state == "ready" and isinstance(held, starting.Held) and "a drill" in held.why


def test_a_held_action_expires_as_any_other(cast: Cast) -> None:
    action = cast.mass_mail()
    throw("all")
    Action.objects.update(deadline=action.created_at)
    clock.tick()
    action.refresh_from_db()
    assert action.state == "expired"


@pytest.mark.parametrize(
    ("scope", "code"),
    [("agent:scuot", "not_found"), ("group:nobody", "not_found"), ("everything", "invalid"), ("", "invalid"),
     ("group:", "invalid"), ("tool:" + "x" * 300, "invalid")],
)  # fmt: skip
def test_a_misspelt_scope_is_no_silent_yes(cast: Cast, scope: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        throw(scope)
    assert caught.value.code == code and not Switch.objects.exists()


def test_a_switch_has_a_reason(cast: Cast) -> None:
    with pytest.raises(Refused, match="why"):
        throw("all", "  ")


def test_throwing_and_lifting_are_in_the_log(cast: Cast) -> None:
    throw("all")
    limits.lift(scope="all", by="tests")
    kinds = Entry.objects.filter(kind__startswith="switch.").values_list("kind", flat=True)
    assert sorted(kinds) == ["switch.lifted", "switch.thrown"]


def test_a_switch_thrown_in_the_admin_ends_grants_by_the_clock(cast: Cast) -> None:
    handout.take(mail(cast).pk, agent=cast.agent)
    limits.stop(scope="all", reason="", by="tests")
    clock.tick()
    assert Grant.objects.get().state == "revoked"


def running(cast: Cast) -> tuple[Action, threading.Thread]:
    """A job of a minute, under way in its own worker."""
    action = cast.propose("script.run", {"code": SLOW})

    def work() -> None:
        execution.run(action_id=action.pk, worker="tests")
        connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    until = time.monotonic() + 20
    while not Execution.objects.filter(stdout__contains="started").exists():
        assert time.monotonic() < until, "the job never started"
        time.sleep(0.02)
    return action, worker


def stopped(action: Action, worker: threading.Thread) -> float:
    """Seconds until the worker was done."""
    began = time.monotonic()
    worker.join(20)
    action.refresh_from_db()
    assert not worker.is_alive() and action.state == "failed"
    return time.monotonic() - began


def test_a_running_job_is_stopped_within_a_second(committed_cast: Cast) -> None:
    action, worker = running(committed_cast)
    throw("group:finance", "it runs wild")
    assert stopped(action, worker) < 1
    assert action.error == "the kill switch stops group finance: it runs wild"


def test_a_worker_finds_a_switch_that_nobody_told_it_of(committed_cast: Cast) -> None:
    action, worker = running(committed_cast)
    limits.stop(scope="agent:scout", reason="", by="tests")
    assert stopped(action, worker) < 1


def test_a_job_outside_the_scope_runs_on(committed_cast: Cast) -> None:
    action, worker = running(committed_cast)
    throw("tool:deploy")
    worker.join(0.8)
    assert worker.is_alive()
    throw("all")
    stopped(action, worker)
