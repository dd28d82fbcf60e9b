"""Parts of an instance die at bad moments: nothing is lost, nothing runs twice, nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import psycopg
import pytest
from redis import Redis

from agentsec_site import embedded
from agentsec_site.demo import mailbox
from agentsec_site.home import secret
from tests.e2e.company import Company, open_company
from tests.live import Live, made_home

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

SLOW = "import time\nprint('started', flush=True)\ntime.sleep(60)\n"


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company of its own, whose processes the tests kill."""
    folder = tmp_path_factory.mktemp("mail")
    live = Live(home=made_home(), command="demo")
    try:
        live.start("--idle")
        with mailbox.running(folder) as smtp:
            company = open_company(live, smtp, folder)
            yield company
            company.pool.shutdown()
    finally:
        live.remove()


def until(seen: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := seen():
            return found
        time.sleep(0.05)
    raise AssertionError(f"it never happened: {what}")


def script(company: Company, code: str) -> dict[str, Any]:
    """A script of the data agent, waiting for somebody who reads code."""
    host, agent = company.stage.host("data-bot"), company.stage.agent("data-bot")
    session = host.open_session(purpose="Something slow")
    return dict(agent.propose(session, "python.run", {"code": code}))


def state(company: Company, action: dict[str, Any]) -> str:
    return str(company.stage.agent("data-bot").call("GET", f"/actions/{action['id']}")["state"])


def entries(company: Company, action: dict[str, Any], kind: str) -> int:
    services = embedded.plan(company.live.home)
    password = secret(services.home, "postgres.password")
    with psycopg.connect(
        services.postgres_url(user="postgres", password=password, database="agentsec")
    ) as connection:
        query = "SELECT count(*) FROM traces_entry WHERE action_id = %s AND kind = %s"
        row = connection.execute(query, [action["id"], kind]).fetchone()
    return int(row[0]) if row else 0


def workers(company: Company) -> list[psutil.Process]:
    found = []
    for number in (1, 2):
        try:
            found.append(company.live.child(f"worker-{number}"))
        except AssertionError:
            continue
    return found


def jobs(company: Company) -> list[psutil.Process]:
    return [child for worker in workers(company) for child in worker.children(recursive=True)]


def test_a_killed_worker_leaves_no_process_and_an_interrupted_action(frail: Company) -> None:
    action = script(frail, SLOW)
    frail.decide(action)
    until(lambda: state(frail, action) == "running" and jobs(frail), "the job runs")
    left = jobs(frail)
    for worker in workers(frail):
        if worker.children():
            worker.kill()
    until(lambda: not any(_lives(process) for process in left), "the job's processes are gone", 5)
    until(lambda: state(frail, action) == "interrupted", "the action is interrupted")
    assert entries(frail, action, "action.running") == 1


def test_an_interrupted_action_waits_for_new_votes(frail: Company) -> None:
    action = script(frail, SLOW)
    frail.decide(action)
    until(lambda: jobs(frail), "the job runs")
    for worker in workers(frail):
        if worker.children():
            worker.kill()
    until(lambda: state(frail, action) == "interrupted", "the action is interrupted")
    time.sleep(3)
    assert state(frail, action) == "interrupted"
    assert entries(frail, action, "action.running") == 1


def test_a_flushed_redis_loses_no_waiting_action(frail: Company) -> None:
    waiting = [script(frail, f"print({number})") for number in range(5)]
    redis = Redis.from_url(embedded.plan(frail.live.home).redis_url)
    for action in waiting:
        redis.flushall()
        frail.decide(action)
        redis.flushall()
    redis.close()
    for action in waiting:
        until(lambda action=action: state(frail, action) == "succeeded", "it runs all the same")
        assert entries(frail, action, "action.running") == 1


@pytest.mark.parametrize("name", ["sequencer", "clock", "web"])
def test_any_process_may_die_and_work_goes_on(frail: Company, name: str) -> None:
    before = script(frail, "print('before')")
    frail.live.child(name).kill()
    until(lambda: _approved(frail, before), "it can be decided")
    until(lambda: state(frail, before) == "succeeded", "it runs")


def test_the_log_verifies_after_all_of_it(frail: Company) -> None:
    told = frail.live.manage("verify")
    assert told.returncode == 0
    assert "VERIFIED" in told.stdout


def _approved(company: Company, action: dict[str, Any]) -> bool:
    try:
        company.decide(action)
    except OSError:
        return False
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
