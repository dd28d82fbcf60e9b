"""The private PostgreSQL and Valkey: shared, private, gone with their last user, and never stuck."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from agentsec_site import embedded, home
from agentsec_site.embedded import REPOSITORY
from agentsec_site.home import SetupError

USER = """
import sys, time
from pathlib import Path
from agentsec_site import embedded
with embedded.running(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty home that the services' account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="agentsec-home-"))
    folder.chmod(0o711)
    yield folder
    for process in processes(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(folder)


@pytest.fixture
def user(root: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts another process that uses the services of `root` until its stdin closes."""
    users: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", USER, str(root)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        users.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in users:
        process.kill()
        process.communicate()


def processes(root: Path) -> list[psutil.Process]:
    """Every process that serves this home: named in its command line, or working inside the cluster."""
    found = []
    for process in psutil.process_iter():
        try:
            words, folder, status = process.cmdline(), process.cwd(), process.status()
        except psutil.Error:
            continue
        serves = any(str(root) in word for word in words) and "-c" not in words[1:2]
        if status != psutil.STATUS_ZOMBIE and (serves or folder.startswith(str(root))):
            found.append(process)
    return found


def gone(root: Path, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while processes(root) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes(root)


def keeper(root: Path) -> psutil.Process:
    return next(p for p in processes(root) if "agentsec_site.keeper" in p.cmdline())


def postmaster(root: Path) -> psutil.Process:
    return next(p for p in keeper(root).children() if p.name() == "postgres")


def test_nothing_is_left_when_the_last_user_leaves(root: Path) -> None:
    with embedded.running(root) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert gone(root, seconds=1)


def test_what_was_written_is_there_at_the_next_start(root: Path) -> None:
    with embedded.running(root) as services, psycopg.connect(services.admin_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.running(root) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_services_stay_while_another_command_uses_them(
    root: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    other = user()
    with embedded.running(root):
        other.communicate("")
        time.sleep(0.3)
        assert postmaster(root).is_running()
    assert gone(root)


def test_a_command_that_leaves_does_not_wait_for_the_others(
    root: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    user()
    began = time.monotonic()
    with embedded.running(root):
        pass
    assert time.monotonic() - began < 1
    assert postmaster(root).is_running()


def test_nothing_survives_a_killed_user(root: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    user().kill()
    assert gone(root)


def test_nothing_survives_a_killed_keeper(root: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    user()
    keeper(root).kill()
    assert gone(root)


def test_a_killed_keeper_is_replaced_for_who_still_needs_it(root: Path) -> None:
    with embedded.running(root) as services:
        keeper(root).kill()
        assert gone(root)
        assert embedded.heal(services)
        with psycopg.connect(services.admin_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert gone(root)


def test_postgres_killed_beneath_its_users_comes_back(root: Path) -> None:
    with embedded.running(root) as services:
        postmaster(root).kill()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                psycopg.connect(services.admin_url).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        with psycopg.connect(services.admin_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_start_recovers_from_everything_killed_at_once(
    root: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    user()
    for process in processes(root):
        with contextlib.suppress(psutil.NoSuchProcess):  # one may take another with it
            process.kill()
    assert gone(root)
    with embedded.running(root) as services, redis.from_url(services.redis_url) as client:
        assert client.ping()


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(root: Path) -> None:
    with embedded.running(root):
        data = root / "services" / "postgres"
        text = (data / "postmaster.pid").read_text()
    lines = [str(os.getppid()), *text.splitlines()[1:]]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with embedded.running(root) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_interrupted_initdb_is_repeated(root: Path) -> None:
    place = home.prepare(root)
    draft = place.state / "draft-half" / "data"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with embedded.running(root) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not draft.parent.exists()


def test_ten_starts_at_once_share_one_cluster(root: Path, user: Callable[[], subprocess.Popen[str]]) -> None:
    command = [sys.executable, "-c", USER, str(root)]
    many = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for _ in range(10)
    ]
    assert [each.communicate(timeout=60)[0] for each in many] == ["in\n"] * 10
    assert gone(root)


def test_a_long_home_gets_a_short_socket_folder(root: Path) -> None:
    deep = root / ("long-" * 20) / ("name-" * 20)
    with embedded.running(deep) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert stat.S_IMODE(services.home.run.stat().st_mode) == 0o700
    shutil.rmtree(services.home.run)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stand for somebody else")
def test_a_socket_folder_that_somebody_else_made_is_refused(root: Path) -> None:
    place = home.prepare(root / ("long-" * 20) / ("name-" * 20))
    place.run.rmdir()
    place.run.symlink_to(root)
    try:
        with pytest.raises(SetupError, match="belongs to uid"):
            home.prepare(place.root)
    finally:
        place.run.unlink()


def test_a_wrong_password_opens_neither_service(root: Path) -> None:
    with embedded.running(root) as services:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(services.postgres_url(user="postgres", password="x", database="postgres"))
        with (
            pytest.raises(redis.AuthenticationError),
            redis.from_url(f"unix://:x@{services.home.run}/valkey.sock") as client,
        ):
            client.ping()


def test_neither_service_listens_on_a_port(root: Path) -> None:
    with embedded.running(root):
        kept = keeper(root)
        ports = [
            c for p in kept.children(recursive=True) for c in p.net_connections() if c.status == "LISTEN"
        ]
        assert ports == []


def test_no_password_stands_in_a_command_line_or_a_log(root: Path) -> None:
    with embedded.running(root) as services:
        secrets = [path.read_text().strip() for path in services.home.keys.iterdir()]
        lines = " ".join(word for p in processes(root) for word in p.cmdline())
        lines += (services.home.logs / "services.log").read_text()
        assert len(secrets) == 2
        assert not any(secret in lines for secret in secrets)


def test_keys_and_state_are_for_their_owner_alone(root: Path) -> None:
    with embedded.running(root) as services:
        place = services.home
        modes = [stat.S_IMODE(p.stat().st_mode) for p in (place.keys, place.logs, place.state, place.run)]
        assert modes == [0o700] * 4
        assert {stat.S_IMODE(p.stat().st_mode) for p in place.keys.iterdir()} == {0o600}


def test_a_file_where_the_home_should_be_is_named(root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(SetupError, match="--home"):
        home.prepare(root / "file")


def test_an_empty_password_file_is_named(root: Path) -> None:
    place = home.prepare(root)
    (place.keys / "postgres.password").touch()
    with pytest.raises(SetupError, match="postgres.password is empty"):
        embedded.plan(root)


def test_a_cluster_that_cannot_start_says_where_to_look(root: Path) -> None:
    with embedded.running(root):
        pass
    (root / "services" / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(SetupError, match="PostgreSQL ended while starting"), embedded.running(root):
        pass
    assert gone(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the services to another account")
def test_under_root_the_services_run_as_somebody_else(root: Path) -> None:
    with embedded.running(root):
        owners = {p.uids().real for p in keeper(root).children(recursive=True)}
        assert 0 not in owners


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the services to another account")
def test_under_root_a_closed_home_keeps_its_state_elsewhere(root: Path) -> None:
    closed = root / "closed"
    closed.mkdir(mode=0o700)
    with embedded.running(closed) as services, psycopg.connect(services.admin_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    try:
        assert services.home.state.parent == home.SYSTEM_STATE
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert processes(services.home.state) == []
    finally:
        shutil.rmtree(services.home.state)
    with pytest.raises(SetupError, match="which is gone"):
        embedded.plan(closed)


def test_only_one_of_the_services_may_be_the_operators(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded.running(root) as own:
        monkeypatch.setenv("DATABASE_URL", own.admin_url)
        with embedded.running(root / "second") as mixed:
            assert mixed.admin_url == own.admin_url
            assert [p.name() for p in keeper(root / "second").children()] == ["valkey-server"]


def test_terminating_the_keeper_stops_the_services_cleanly(
    root: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    user()
    keeper(root).send_signal(signal.SIGTERM)
    assert gone(root)
    assert "database system is shut down" in (root / "logs" / "services.log").read_text()
