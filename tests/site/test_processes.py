"""Children are watched, their words kept, and nothing of them outlives the instance."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agentsec_site import processes
from agentsec_site.embedded import REPOSITORY
from agentsec_site.home import SetupError
from agentsec_site.processes import Child, Processes

FOREVER = "import time\nwhile True: time.sleep(60)"
STUBBORN = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\n" + FOREVER
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}], start_new_session=len(sys.argv) > 1)
print(f"INFO {{child.pid}}", flush=True)
{FOREVER}
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Processes]]:
    """Starts one child with the given Python source."""
    started: list[Processes] = []

    def start(source: str, *words: str, once: bool = False) -> Processes:
        command = [sys.executable, "-c", source, *words]
        group = Processes([Child("child", command, os.environ, once=once)], logs=tmp_path, say=said.append)
        group.start()
        started.append(group)
        return group

    yield start
    for group in started:
        group.stop()


def wait(group: Processes, what: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        group.step(0.02)


def log(tmp_path: Path) -> str:
    return (tmp_path / "child.log").read_text()


def test_a_crashed_child_is_started_again_and_it_is_said(
    run: Callable[..., Processes], said: list[str], tmp_path: Path
) -> None:
    group = run("import sys; print('INFO here', flush=True); sys.exit('it broke')")
    wait(group, lambda: log(tmp_path).count("here") == 2)
    assert "child ended with status 1 (it broke); starting it again in 0.1 s" in said


def test_the_pause_grows_from_crash_to_crash(run: Callable[..., Processes], said: list[str]) -> None:
    group = run("raise SystemExit(3)")
    wait(group, lambda: len(said) == 2)
    assert said[1].endswith("in 0.2 s")


def test_a_child_that_was_to_run_once_may_end(run: Callable[..., Processes], said: list[str]) -> None:
    group = run("", once=True)
    wait(group, lambda: group.children[0].process is None)
    group.step(0.1)
    assert said == []


def test_a_warning_reaches_the_terminal_and_information_only_the_log(
    run: Callable[..., Processes], said: list[str], tmp_path: Path
) -> None:
    group = run("print('x INFO y: calm'); print('x WARNING y: look', flush=True)\n" + FOREVER)
    wait(group, lambda: said)
    assert said == ["child      | x WARNING y: look"]
    assert "calm" in log(tmp_path)


def test_a_vital_child_that_never_starts_ends_the_start(run: Callable[..., Processes]) -> None:
    group = run("raise SystemExit('no such module')")
    wait(group, lambda: group.children[0].crashes)
    with pytest.raises(SetupError, match="child does not start: no such module"):
        processes.check_start(group.children[0], attempts=1)


def test_a_child_that_ignores_the_request_to_end_is_ended(
    run: Callable[..., Processes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.3)
    group = run(STUBBORN)
    wait(group, lambda: "ready" in log(tmp_path))
    process = group.children[0].process
    assert process is not None
    group.stop()
    assert process.poll() == -9


@pytest.mark.parametrize("words", [(), ("in a session of its own",)])
def test_grandchildren_end_with_the_instance(
    run: Callable[..., Processes], tmp_path: Path, words: tuple[str, ...]
) -> None:
    group = run(PARENT, *words)
    wait(group, lambda: "INFO" in log(tmp_path))
    grandchild = int(log(tmp_path).split()[1])
    group.stop()
    assert not lives(grandchild)


def test_grandchildren_of_a_crashed_child_end_with_it(run: Callable[..., Processes], tmp_path: Path) -> None:
    group = run(PARENT)
    wait(group, lambda: "INFO" in log(tmp_path))
    assert group.children[0].process is not None
    group.children[0].process.kill()
    wait(group, lambda: not lives(int(log(tmp_path).split()[1])))


def test_children_of_a_killed_instance_die_too(tmp_path: Path) -> None:
    source = f"""
import os, sys
from pathlib import Path
from agentsec_site.processes import Child, Processes
child = Child("child", [sys.executable, "-c", {PARENT!r}], os.environ)
group = Processes([child], logs=Path(sys.argv[1]), say=print)
group.start()
print(group.children[0].process.pid, flush=True)
while True: group.step(1)
"""
    command = [sys.executable, "-c", source, str(tmp_path)]
    instance = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert instance.stdout is not None
    child = int(instance.stdout.readline())
    instance.kill()
    instance.communicate()
    deadline = time.monotonic() + 5
    while lives(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not lives(child)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
