"""What travels through Redis: ids; and what someone who writes to Redis cannot make a worker do."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import zlib
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from agentsec_site.embedded import Services
from approvals import jobs
from approvals.jobs import RegisteredJob
from approvals.models import Action
from tests.cast import Cast
from traces import live


@pytest.fixture
def waiting(services: Services) -> Queue:
    queue = jobs.queue()
    queue.empty()
    # What another test planted.
    jobs.heal(queue.connection)
    queue.connection.delete("rq:suspended")
    return queue


def work(queue: Queue) -> None:
    worker = jobs.Worker([queue], connection=queue.connection)
    worker.work(burst=True, logging_level="CRITICAL")


def plant(queue: Queue, data: bytes, **more: bytes) -> str:
    """A job as an intruder in Redis would write it."""
    fields = {
        b"data": zlib.compress(data),
        b"origin": b"actions",
        b"status": b"queued",
        **{k.encode(): v for k, v in more.items()},
    }
    fields[b"created_at"] = fields[b"enqueued_at"] = b"2026-01-01T00:00:00.000000Z"
    queue.connection.hset("rq:job:planted", mapping=fields)
    queue.connection.rpush(queue.key, "planted")
    return "planted"


def test_a_ready_script_is_run_by_a_worker(committed_cast: Cast, waiting: Queue) -> None:
    action = committed_cast.propose("script.run", {"code": "print('by a worker')"})
    work(waiting)
    action.refresh_from_db()
    assert (action.state, action.result["stdout"]) == ("succeeded", "by a worker\n")


def test_only_the_id_travels(committed_cast: Cast, waiting: Queue) -> None:
    action = committed_cast.propose("script.run", {"code": "print('a secret plan')"})
    job = RegisteredJob.fetch(str(action.pk), connection=waiting.connection)
    assert json.loads(job.data)[2] == [str(action.pk)]
    assert b"secret plan" not in job.data


def test_a_planted_job_can_at_most_start_what_is_ready(committed_cast: Cast, waiting: Queue) -> None:
    action = committed_cast.propose("script.run", {"code": "print('ready anyway')"})
    asked = committed_cast.mass_mail()
    for wanted in (action, asked):
        waiting.empty()
        plant(waiting, json.dumps(["approvals.jobs.execute", None, [str(wanted.pk)], {}]).encode())
        work(waiting)
        wanted.refresh_from_db()
    assert (action.state, asked.state) == ("succeeded", "pending")


def test_a_pickle_is_never_loaded(waiting: Queue, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (trap,))  # type: ignore[return-value]

    plant(waiting, pickle.dumps(("approvals.jobs.execute", None, (Trap(),), {})))
    work(waiting)
    assert not trap.exists()


def test_a_function_that_is_not_registered_is_not_run(waiting: Queue, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plant(waiting, json.dumps(["os.mkdir", None, [str(trap)], {}]).encode())
    work(waiting)
    assert not trap.exists()


@pytest.mark.parametrize(
    "callback", ["success_callback_name", "failure_callback_name", "stopped_callback_name"]
)
def test_no_callback_is_run(waiting: Queue, callback: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = json.dumps(["approvals.jobs.execute", None, ["00000000-0000-0000-0000-000000000000"], {}]).encode()
    plant(waiting, data, **{callback: b"builtins.print"})
    work(waiting)
    assert "Job" not in capfd.readouterr().out


def test_a_lost_redis_costs_no_action(committed_cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Queue:
        return Queue("actions", connection=Redis(port=1), job_class=RegisteredJob)

    monkeypatch.setattr(jobs, "queue", refuse)
    monkeypatch.setattr(live, "announce", lambda topics, message: None)
    action = committed_cast.propose("script.run", {"code": "pass"})
    assert Action.objects.get(pk=action.pk).state == "ready"


def test_a_worker_takes_no_orders_from_redis(services: Services, waiting: Queue) -> None:
    """rq shuts a worker down, or stops its job, for whoever publishes a word on its channel."""
    worker = jobs.Worker([waiting], connection=waiting.connection)
    worker.subscribe()
    order = json.dumps({"command": "shutdown"})
    try:
        assert waiting.connection.publish(worker.pubsub_channel_name, order) == 0
    finally:
        worker.unsubscribe()


def test_garbage_in_the_queue_keeps_nobody_from_proposing(committed_cast: Cast, waiting: Queue) -> None:
    waiting.connection.rpush(waiting.key, b"\xff\x00", b"no-such-job")
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    assert waiting.connection.lpos(waiting.key, str(action.pk)) is not None


def test_a_queue_that_is_none_any_more_is_made_anew(committed_cast: Cast, waiting: Queue) -> None:
    waiting.connection.set(waiting.key, b"garbage")
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    assert waiting.connection.lpos(waiting.key, str(action.pk)) == 0


def test_a_job_that_is_none_is_made_anew(committed_cast: Cast, waiting: Queue) -> None:
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    waiting.empty()
    waiting.connection.set(f"rq:job:{action.pk}", b"garbage")
    jobs.enqueue(action)
    assert waiting.connection.lpos(waiting.key, str(action.pk)) == 0


def test_a_worker_starts_whatever_stands_under_its_keys(waiting: Queue) -> None:
    for key in jobs.KEYS:
        waiting.connection.delete(key)
        waiting.connection.set(key, b"garbage")
    assert jobs.heal(waiting.connection) == len(jobs.KEYS)
    work(waiting)


@pytest.mark.parametrize("key", [*jobs.OF_A_JOB, "rq:suspended"])
def test_a_key_that_is_none_of_rq_s_keeps_no_action_from_running(
    committed_cast: Cast, waiting: Queue, key: str
) -> None:
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    waiting.connection.delete(key.format(action.pk))
    waiting.connection.set(key.format(action.pk), b"garbage")
    jobs.work(burst=True)
    jobs.enqueue(action)
    jobs.work(burst=True)
    action.refresh_from_db()
    assert action.state == "succeeded"


def test_what_is_no_job_costs_no_worker(committed_cast: Cast, waiting: Queue) -> None:
    waiting.connection.rpush(waiting.key, b"\xff\x00")
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    jobs.work(burst=True)
    action.refresh_from_db()
    assert action.state == "succeeded"


def test_a_worker_that_is_told_to_end_ends_whatever_became_of_its_keys_meanwhile(
    committed_cast: Cast, waiting: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = committed_cast.propose("script.run", {"code": "print(1)"})

    def end(action_id: str) -> str:
        for key in (f"rq:executions:{action_id}", *waiting.connection.keys("rq:worker:*")):
            waiting.connection.delete(key)
            waiting.connection.set(key, b"garbage")
        os.kill(os.getpid(), signal.SIGTERM)
        return "told"

    monkeypatch.setitem(jobs.REGISTRY, "approvals.jobs.execute", end)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    # Who does not end by itself is told again, and is late.
    again = threading.Timer(20, os.kill, [os.getpid(), signal.SIGTERM])
    again.start()
    try:
        jobs.work()
        assert again.is_alive()
    finally:
        again.cancel()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    told.refresh_from_db()
    assert told.state == "ready"


def test_an_action_is_in_the_queue_once(committed_cast: Cast, waiting: Queue) -> None:
    action = committed_cast.propose("script.run", {"code": "print(1)"})
    jobs.enqueue(action)
    assert waiting.count == 1
