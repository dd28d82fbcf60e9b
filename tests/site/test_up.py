"""`manage.py up` with real processes: it starts, says so, shares its home, ends whole, and recovers."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import time
from urllib.parse import urlsplit

import psutil
import pytest

from agentsec_site.embedded import REPOSITORY
from tests.live import Live, clean_environment, manage

pytestmark = pytest.mark.e2e


def healthz(live: Live) -> int:
    address = urlsplit(live.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        manage(*words),
        cwd=REPOSITORY,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_started_instance_answers_where_it_says(live_instance: Live) -> None:
    assert healthz(live_instance) == 200


def test_another_command_works_while_the_instance_runs(live_instance: Live) -> None:
    done = live_instance.manage("showmigrations", "--plan")
    assert "[X]  traces.0001_initial" in done.stdout
    assert healthz(live_instance) == 200


def test_the_sequencer_alone_has_the_sequencers_address(live_instance: Live) -> None:
    roles = {
        name: urlsplit(live_instance.child(name).environ()["AGENTSEC_DATABASE_URL"]).username
        for name in ("web", "worker-1", "worker-2", "clock", "sequencer")
    }
    assert set(roles.values()) == {"agentsec_app", "agentsec_sequencer"}
    assert [name for name, role in roles.items() if role == "agentsec_sequencer"] == ["sequencer"]


def test_no_process_of_the_site_is_told_the_administrators_password(live_instance: Live) -> None:
    password = (live_instance.home / "keys" / "postgres.password").read_text().strip()
    assert live_instance.process is not None
    children = psutil.Process(live_instance.process.pid).children(recursive=True)
    assert len(children) >= 5
    for child in children:
        # A sandbox that stands ready shows its environment to nobody, and began with none.
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            assert password not in child.environ().values()


def test_a_second_instance_on_the_same_home_is_refused_in_one_line(live_instance: Live) -> None:
    done = live_instance.manage("up", "--port", "0", check=False)
    assert done.returncode == 1
    assert "an instance already runs in" in done.stderr.splitlines()[-1]


def test_a_crashed_worker_is_replaced(live_instance: Live) -> None:
    worker = live_instance.child("worker-1")
    worker.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if live_instance.child("worker-1").pid != worker.pid:
                break
        except (AssertionError, psutil.Error):
            time.sleep(0.1)
    assert live_instance.child("worker-1").pid != worker.pid
    said = "worker-1 ended with status -9"
    while time.monotonic() < deadline and not any(said in line for line in list(live_instance.lines)):
        time.sleep(0.1)
    assert any(said in line for line in live_instance.lines)


def test_no_connection_is_refused_while_the_web_process_is_replaced(live_instance: Live) -> None:
    live_instance.child("web").kill()
    assert healthz(live_instance) == 200


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        began = time.monotonic()
        done = command("up", "--home", "/nonexistent/agentsec", "--port", port)
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - began < 5


def test_a_closed_standard_input_is_no_obstacle(own_instance: Live) -> None:
    shell = [
        "sh",
        "-c",
        'exec "$@" <&-',
        "sh",
        *manage("up"),
        "--home",
        str(own_instance.home),
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        shell,
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = next((line for line in process.stdout if "ready in" in line or "ended with" in line), "")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert "agentsec is ready" in said


def test_the_demo_refuses_a_host_that_others_can_reach() -> None:
    done = command("demo", "--host", "0.0.0.0")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "--host must be a loopback address" in done.stderr


def test_nothing_survives_an_instance_that_is_stopped_and_the_next_start_is_quick(own_instance: Live) -> None:
    for number in (signal.SIGHUP, signal.SIGTERM):
        own_instance.start("--workers", "1")
        assert own_instance.process is not None
        own_instance.process.send_signal(number)
        time.sleep(0.05)
        own_instance.stop(signal.SIGINT)  # an impatient second request changes nothing
        assert own_instance.gone(seconds=1)
    assert own_instance.seconds <= max(5, 4 * yardstick())


def yardstick() -> float:
    """Seconds that one bare Django start takes here and now: the machine may be busy with other work."""
    began = time.monotonic()
    command("check")
    return time.monotonic() - began


@pytest.mark.chaos
def test_nothing_survives_kill_9_and_the_next_start_recovers(own_instance: Live) -> None:
    own_instance.start("--workers", "1")
    own_instance.stop(signal.SIGKILL)
    assert own_instance.gone()
    own_instance.start("--workers", "1")
    assert healthz(own_instance) == 200


@pytest.mark.chaos
def test_stopping_in_the_middle_of_a_first_start_leaves_nothing_and_a_usable_home(
    first_instance: Live,
) -> None:
    for seconds in (0.5, 1.5, 3.0):
        words = [*manage("up"), "--home", str(first_instance.home), "--port", "0", "--workers", "1"]
        process = subprocess.Popen(
            words,
            cwd=REPOSITORY,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL if seconds < 1 else signal.SIGINT)
        process.wait(120)
        assert first_instance.gone()
    first_instance.start("--workers", "1")
    assert healthz(first_instance) == 200


def test_a_home_that_cannot_be_written_is_named() -> None:
    done = command("up", "--home", "/dev/null/agentsec", "--port", "0")
    assert done.returncode == 1
    assert "choose a folder you can write with --home" in done.stderr


@pytest.mark.parametrize(
    "words", [("up", "--help"), ("demo", "--help"), ("worker", "--help"), ("test", "--help")]
)
def test_help_starts_nothing_and_names_the_home(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.returncode == 0
    assert "--home DIR" in done.stdout
