"""What an approved action does: started once, in the sandbox, seen outside, ended by agentsec."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from approvals import clock, decisions, execution, files, handout, results, starting
from approvals.journey import journey
from approvals.models import Action, Artifact, Execution
from policies import world
from policies.models import Agent, Grant
from tests.cast import Cast
from traces import sequencer
from traces.models import Entry
from traces.problems import Refused


def integrate(sequencer_dsn: str) -> None:
    with psycopg.connect(sequencer_dsn) as connection:
        while sequencer.integrate_once(connection):
            pass


def script(cast: Cast, code: str, **more: object) -> Action:
    return cast.propose("script.run", {"code": code, **more})


def run(action: Action) -> Action:
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action


def test_a_script_turns_a_file_into_an_artifact(committed_cast: Cast) -> None:
    blob = files.store(content=b"name,amount\na,2\nb,3\n", agent=committed_cast.agent)
    code = (
        "import csv, json\n"
        "rows = list(csv.DictReader(open('/in/data.csv')))\n"
        "json.dump({'total': sum(int(r['amount']) for r in rows)}, open('summary.json', 'w'))\n"
        "print(len(rows), 'rows')\n"
    )
    action = run(script(committed_cast, code, files={"data.csv": {"$file": blob.sha256}}))
    assert (action.state, action.result["stdout"]) == ("succeeded", "2 rows\n")
    artifact = Artifact.objects.get()
    assert (artifact.name, json.loads(bytes(artifact.blob.content))) == ("summary.json", {"total": 5})


def test_a_page_that_follows_an_action_does_not_read_its_artifacts(committed_cast: Cast) -> None:
    action = run(script(committed_cast, "open('/out/big', 'w').write('x')"))
    [artifact] = journey(action).executions[0].artifacts.all()
    assert (artifact.blob.size, artifact.blob.get_deferred_fields()) == (1, {"content"})


def test_writes_to_the_input_and_the_network_fail_inside(committed_cast: Cast) -> None:
    code = (
        "import socket\n"
        "def write(): open('/in/args.json', 'w')\n"
        "def call(): socket.create_connection(('127.0.0.1', 80), 2)\n"
        "for attempt in (write, call):\n"
        "    try:\n"
        "        attempt(); print('ESCAPED')\n"
        "    except OSError as error:\n"
        "        print('refused')\n"
    )
    assert run(script(committed_cast, code)).result["stdout"] == "refused\nrefused\n"


def test_a_memory_bomb_ends_inside_and_is_seen_outside(committed_cast: Cast) -> None:
    action = run(script(committed_cast, "x = []\nwhile True: x.append(bytearray(1 << 20))"))
    assert action.state == "failed"
    assert action.result["ended"] in ("memory", "exited", "signalled")
    assert "emory" in action.error + action.result["stderr"]


def test_the_grant_is_used_once_and_gone_afterwards(committed_cast: Cast) -> None:
    run(script(committed_cast, "print(1)"))
    grant = Grant.objects.get()
    assert (grant.state, grant.used_at is not None) == ("revoked", True)


def test_a_secret_that_a_script_prints_is_masked_everywhere(committed_cast: Cast) -> None:
    secret = "AKIA" + "Q" * 16
    action = run(script(committed_cast, "print('A' + 'KIA' + 'Q' * 16, end=' end')"))
    assert secret not in action.result["stdout"]
    assert secret not in Execution.objects.get().stdout


def test_an_untrusted_output_labels_the_session_when_it_starts(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    starting.start(action_id=action.pk, worker="tests")
    action.session.refresh_from_db()
    assert action.session.labels == ["untrusted"]


def test_without_a_sandbox_it_fails_and_says_so(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTSEC_SANDBOX_TIER", "no-such-tier")
    action = run(script(committed_cast, "print(1)"))
    assert action.state == "failed"
    assert action.error


def test_an_asked_action_waits_for_its_votes_to_stand_under_a_checkpoint(
    committed_cast: Cast, sequencer_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "COVER_SECONDS", 0.1)
    action = script(committed_cast, "print('ASK')")
    decisions.approve(action_id=action.pk, user=committed_cast.approver, digest=action.digest, channel="rest")
    assert run(action).state == "ready"
    integrate(sequencer_dsn)
    assert run(action).state == "succeeded"


def test_of_many_starters_exactly_one_starts(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    barrier = Barrier(12)

    def start(_: int) -> str:
        barrier.wait()
        try:
            return type(starting.start(action_id=action.pk, worker="racer")).__name__
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(start, range(12)))
    assert sorted(outcomes) == ["Started"] + ["conflict"] * 11
    assert Execution.objects.count() == Grant.objects.count() == 1


def test_a_paused_agent_starts_nothing_until_it_is_resumed(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    Agent.objects.update(mode="paused")
    assert run(action).state == "ready"
    Agent.objects.update(mode="standard")
    assert run(action).state == "succeeded"


def test_a_changed_tool_definition_stops_what_was_judged_before(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    world.apply("tools:\n  - {name: script.run, description: other}\n", by="tests")
    assert run(action).state == "cancelled"
    assert "definition changed" in action.decision_reason


def test_a_release_that_blocks_it_meanwhile_wins(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    world.apply("rules:\n  - {name: stop, effect: block, tools: [script.run]}\n", by="tests")
    assert run(action).state == "cancelled"


def test_arguments_altered_in_the_database_never_run(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    Action.objects.update(args_json='{"code":"print(\'owned\')"}')
    assert run(action).state == "cancelled"
    assert "altered" in action.decision_reason


def test_a_voter_who_left_the_group_carries_nothing(committed_cast: Cast, sequencer_dsn: str) -> None:
    action = script(committed_cast, "print('ASK')")
    decisions.approve(action_id=action.pk, user=committed_cast.approver, digest=action.digest, channel="rest")
    integrate(sequencer_dsn)
    committed_cast.approver.groups.clear()
    assert run(action).state == "pending"
    assert not action.votes.filter(void=False).exists()


def test_a_dead_worker_leaves_an_interrupted_action_and_no_grant(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    starting.start(action_id=action.pk, worker="soon dead")
    Execution.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    Grant.objects.update(minted_at=timezone.now() - timedelta(minutes=1))
    clock.tick()
    action.refresh_from_db()
    assert action.state == "interrupted"
    assert Grant.objects.get().state == "revoked"


def test_a_worker_that_wakes_up_after_its_death_changes_nothing(committed_cast: Cast) -> None:
    action = script(committed_cast, "print(1)")
    begun = starting.start(action_id=action.pk, worker="frozen")
    assert isinstance(begun, starting.Started)
    execution.interrupt(action_id=action.pk, fence=begun.execution.fence, why="thought dead")
    assert "over" in execution._run(begun)
    action.refresh_from_db()
    assert action.state == "interrupted"


def test_an_interrupted_action_runs_again_only_after_new_votes(
    committed_cast: Cast, sequencer_dsn: str
) -> None:
    action = script(committed_cast, "print('ASK')")
    vote = {
        "action_id": action.pk,
        "user": committed_cast.approver,
        "digest": action.digest,
        "channel": "rest",
    }
    decisions.approve(**vote)
    integrate(sequencer_dsn)
    begun = starting.start(action_id=action.pk, worker="dead")
    assert isinstance(begun, starting.Started)
    execution.interrupt(action_id=action.pk, fence=begun.execution.fence, why="killed")
    Grant.objects.update(state="revoked")
    decisions.run_again(action_id=action.pk, user=committed_cast.approver)
    decisions.approve(**vote)
    integrate(sequencer_dsn)
    assert run(action).state == "succeeded"


def test_an_agents_own_action_hands_out_a_grant_and_takes_a_result(committed_cast: Cast) -> None:
    action = committed_cast.propose("email.send", {"to": ["a@example.com"], "subject": "", "body": ""})
    handed = handout.take(action.pk, agent=committed_cast.agent)
    assert handed is not None
    done = results.report(
        agent=committed_cast.agent,
        action_id=action.pk,
        status="succeeded",
        output="250 ok",
        grant=handed.grant.pk,
    )
    assert (done.state, done.result["output"]) == ("succeeded", "250 ok")
    assert Grant.objects.get().state == "revoked"


def test_no_result_by_the_grants_end_is_interrupted(committed_cast: Cast) -> None:
    action = committed_cast.propose("email.send", {"to": ["a@example.com"], "subject": "", "body": ""})
    handout.take(action.pk, agent=committed_cast.agent)
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.update(minted_at=past - timedelta(minutes=5), expires_at=past)
    clock.tick()
    action.refresh_from_db()
    assert action.state == "interrupted"
    with pytest.raises(Refused):
        results.report(agent=committed_cast.agent, action_id=action.pk, status="succeeded", output="late")


def test_what_waited_too_long_expires(committed_cast: Cast) -> None:
    action = committed_cast.mass_mail()
    Action.objects.update(deadline=timezone.now())
    clock.tick()
    action.refresh_from_db()
    assert action.state == "expired"
    assert Entry.objects.about(str(action.pk)).filter(kind="action.expired").count() == 1


def test_a_script_that_prints_much_is_not_held_up_by_who_looks_on(committed_cast: Cast) -> None:
    """Each look at a mebibyte took seconds, in which nobody drained the job: it died of its time limit."""
    code = "import sys\nfor n in range(20_000): print('line', n, '\\x01' * 20)"
    action = run(script(committed_cast, code))
    assert action.state == "succeeded"
    assert action.result["usage"]["wall_seconds"] < 10


def test_half_a_line_is_not_shown_before_it_is_whole() -> None:
    """A secret of which the end is not there yet is not recognised."""
    progress = execution._Progress(Execution())
    progress.add("stdout", "ready\nthe key is ghp_a1B2c3D4e5")
    assert execution._whole_lines(progress.texts["stdout"]) == "ready\n"
    progress.add("stdout", "x" * execution.LIVE_CHARACTERS + "\nend\n")
    assert execution._whole_lines(progress.texts["stdout"]) == "end\n"
