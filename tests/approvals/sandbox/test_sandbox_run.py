"""A job as its caller sees it, under every tier that this host has."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, MiB, Outcome, SandboxUnavailable
from approvals.sandbox.backend import TIER_VARIABLE


@pytest.fixture(params=["cgroup", "poller"])
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(TIER_VARIABLE, request.param)
    status = sandbox.status()
    if not status.available:
        assert request.param == "cgroup", status.reason
        pytest.skip(status.reason)
    yield status.tier


def python(source: str, **rest: object) -> Outcome:
    return sandbox.run(Job(source=source, **rest))  # type: ignore[arg-type]


def test_a_script_turns_its_input_into_a_file(tier: str) -> None:
    source = "open('sum.txt', 'w').write(str(sum(map(int, open('/in/numbers.csv').read().split(',')))))"
    outcome = python(source, files={"numbers.csv": b"1,2,3"})
    assert (outcome.ended, outcome.status, outcome.tier) == ("exited", 0, tier)
    assert [(a.name, a.content) for a in outcome.artifacts] == [("sum.txt", b"6")]


def test_a_private_file_of_the_caller_can_be_handed_in(tier: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    private = tmp_path / "private.csv"
    private.write_text("for the job only")
    private.chmod(0o600)
    assert (
        python("print(open('/in/a/b.csv').read())", files={"a/b.csv": private}).stdout == "for the job only\n"
    )


def test_a_link_is_not_followed_as_input(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/shadow")
    with pytest.raises(OSError, match="symbolic"):
        python("pass", files={"x": tmp_path / "link"})


def test_a_pipe_as_input_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="regular"):
        python("pass", files={"x": tmp_path / "pipe"})


def test_input_cannot_be_changed(tier: str) -> None:
    source = """
import os, sys
def tries():
    yield lambda: open('/in/data', 'w')
    yield lambda: os.chmod('/in/data', 0o777)
    yield lambda: os.unlink('/in/data')
    yield lambda: os.rename('/in/data', '/in/other')
    yield lambda: open('/in/new', 'w')
    yield lambda: os.utime('/in/data')
    yield lambda: open('/proc/self/fd/0', 'w').write('x')
for attempt in tries():
    try: attempt()
    except OSError: continue
    sys.exit('changed')
"""
    assert python(source, files={"data": b"input"}, stdin=b"typed").status == 0


def test_there_is_no_network(tier: str) -> None:
    outcome = python("import urllib.request as u; u.urlopen('http://192.0.2.1/', timeout=2)")
    assert outcome.status == 1
    assert "Network is unreachable" in outcome.stderr


@pytest.mark.parametrize(
    "bomb",
    ["bytearray(1 << 30)", "a = []\nwhile True: a.append(bytearray(1 << 26))", "'x' * 10**10", "[0] * 10**9"],
)
def test_a_memory_bomb_ends_for_its_memory(tier: str, bomb: str) -> None:
    outcome = python(bomb)
    assert outcome.ended == "memory"
    # A poller can be late on a busy host; the kernel cannot.
    assert outcome.usage.max_rss_bytes < (1.1 if tier == "bwrap+cgroup" else 1.6) * 256 * MiB


def test_a_small_bomb_in_a_child_ends_the_job(tier: str) -> None:
    source = "import os, time\nif not os.fork(): bytearray(400 << 20)\ntime.sleep(5)"
    assert python(source).ended == "memory"


def test_pages_shared_by_fork_count_once(tier: str) -> None:
    source = """
import os, time
held = bytearray(120 << 20)
children = [os.fork() for _ in range(2)]
time.sleep(0.3)
"""
    assert python(source).ended == "exited"


def test_files_in_tmp_count_as_memory(tier: str) -> None:
    source = """
import time
for name in ('/tmp/a', '/out/a', '/dev/shm/a'):
    open(name, 'wb').write(bytes(60 << 20))
time.sleep(5)
"""
    assert python(source, limits=Limits(memory_bytes=128 * MiB)).ended == "memory"


def test_memory_cannot_hide_in_socket_buffers(tier: str) -> None:
    source = """
import os, socket
held = []
for child in range(12):
    if not os.fork():
        while True:
            for end in socket.socketpair():
                held.append(end); end.setblocking(False)
                try:
                    while True: end.send(bytes(65536))
                except BlockingIOError: pass
os.wait()
"""
    assert python(source, limits=Limits(memory_bytes=128 * MiB, wall_seconds=10)).ended == "memory"


def test_memory_cannot_hide_in_tcp_buffers(tier: str) -> None:
    source = """
import socket
listener = socket.create_server(('127.0.0.1', 0), backlog=999)
held, queued = [], 0
for _ in range(100):
    held += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    for end in held[-2:]:
        end.setblocking(False)
        try:
            while True: queued += end.send(bytes(65536))
        except BlockingIOError: pass
print(queued >> 20)
"""
    outcome = python(source, limits=Limits(memory_bytes=128 * MiB, wall_seconds=5))
    assert outcome.ended in ("memory", "wall") or int(outcome.stdout) < 128


def test_a_fork_bomb_stops_at_the_limit(tier: str) -> None:
    source = "import os, time\nfor n in range(200):\n  if not os.fork(): time.sleep(9)"
    outcome = python(source, limits=Limits(pids=20))
    assert (outcome.status, outcome.ended) == (1, "pids")


def test_threads_count_as_processes(tier: str) -> None:
    source = (
        "import threading, time\nfor n in range(200): threading.Thread(target=time.sleep, args=(9,)).start()"
    )
    outcome = python(source, limits=Limits(pids=20, wall_seconds=1))
    assert outcome.ended in ("pids", "wall")
    assert "can't start new thread" in outcome.stderr


def test_too_many_files_end_the_job(tier: str) -> None:
    source = "import time\nfor n in range(20000): open(f'/tmp/{n}', 'w')\ntime.sleep(9)"
    assert python(source, limits=Limits(inodes=500)).ended == "disk"


def test_a_full_disk_explains_a_failure(tier: str) -> None:
    source = "for n in range(9): open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))"
    outcome = python(source, limits=Limits(disk_bytes=4 * MiB))
    assert (outcome.ended, outcome.status) == ("disk", 1)


def test_short_children_that_nobody_waits_for_are_not_free(tier: str) -> None:
    source = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if not os.fork():
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
        os._exit(0)
    time.sleep(0.2)
"""
    assert python(source, limits=Limits(cpu_seconds=1)).ended == "cpu"


def test_ignoring_the_signal_does_not_buy_cpu_time(tier: str) -> None:
    source = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    outcome = python(source, limits=Limits(cpu_seconds=1))
    assert outcome.ended == "cpu"
    assert 1 <= outcome.usage.cpu_seconds < 1.5


def test_privileges_are_gone(tier: str) -> None:
    lines = python("print(open('/proc/self/status').read())").stdout.splitlines()
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {facts[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    # Who is not root cannot give up its own group, which is 1000 inside.
    assert set(facts["Groups"].split()) <= ({"1000"} if os.getuid() else set())


def test_a_sleeper_ends_on_time(tier: str) -> None:
    outcome = python(
        "import time; print('here', flush=True); time.sleep(60)", limits=Limits(wall_seconds=0.4)
    )
    assert (outcome.ended, outcome.stdout) == ("wall", "here\n")
    assert 0.4 <= outcome.usage.wall_seconds < 2


def test_a_job_can_be_stopped_while_it_runs(tier: str) -> None:
    stop = threading.Event()
    job = Job(source="print('working'); import time; time.sleep(60)")
    outcome = sandbox.run(job, stop=stop, on_output=lambda stream, text: stop.set())
    assert (outcome.ended, outcome.stdout.strip()) == ("stopped", "working")
    assert outcome.usage.wall_seconds < 5


def test_output_arrives_while_the_job_runs(tier: str) -> None:
    seen: list[tuple[str, str, float]] = []
    source = "import os, time\nos.write(1, b'one')\ntime.sleep(0.5)\nos.write(2, b'two')"
    sandbox.run(Job(source=source), on_output=lambda name, text: seen.append((name, text, time.monotonic())))
    assert [(name, text) for name, text, _ in seen] == [("stdout", "one"), ("stderr", "two")]
    assert seen[1][2] - seen[0][2] > 0.3


def test_a_listener_that_fails_ends_the_job(tier: str) -> None:
    pids: list[int] = []

    def broken(name: str, text: str) -> None:
        raise RuntimeError("listener")

    job = Job(source="print(1); import time; time.sleep(60)")
    with pytest.raises(RuntimeError, match="listener"):
        sandbox.run(job, on_output=broken, on_start=pids.append)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_a_flood_of_output_is_ended(tier: str) -> None:
    outcome = sandbox.run(Job(argv=("/usr/bin/yes",), limits=Limits(output_bytes=10_000)))
    assert (outcome.ended, len(outcome.stdout), outcome.stdout_truncated) == ("output", 10_000, True)


def test_a_cut_in_the_middle_of_a_character_is_no_error(tier: str) -> None:
    outcome = python("print('é' * 100)", limits=Limits(output_bytes=11))
    assert outcome.stdout == "ééééé\ufffd"


def test_unicode_passes_and_control_characters_do_not(tier: str) -> None:
    source = r"print('Grüße, 世界 🙂\x1b[31m\r\x00\u202e\ufeff\x85|')"
    assert python(source).stdout == "Grüße, 世界 🙂\\x1b[31m\\x0d\\x00\\u202e\\ufeff\\x85|\n"


def test_standard_input_and_arguments_arrive(tier: str) -> None:
    job = Job(
        argv=("/bin/sh", "-c", 'cat; printf "%s|" "$@" >/dev/stderr', "sh", "", "two words", "ü"), stdin=b"in"
    )
    outcome = sandbox.run(job)
    assert (outcome.stdout, outcome.stderr) == ("in", "|two words|ü|")


def test_large_input_and_standard_input_arrive(tier: str) -> None:
    source = "import sys; print(len(sys.stdin.buffer.read()), len(open('/in/big','rb').read()))"
    assert (
        python(source, stdin=bytes(3 * MiB), files={"big": bytes(9 * MiB)}).stdout == f"{3 * MiB} {9 * MiB}\n"
    )


def test_a_program_that_is_not_there(tier: str) -> None:
    outcome = sandbox.run(Job(argv=("/usr/bin/no-such-program",)))
    assert (outcome.status, outcome.ended) == (127, "exited")
    assert "No such file" in outcome.stderr


def test_a_signal_is_told_apart_from_an_exit(tier: str) -> None:
    outcome = sandbox.run(Job(argv=("/bin/sh", "-c", "kill -TERM $$")))
    assert (outcome.status, outcome.signal, outcome.ended) == (None, 15, "signalled")


def test_the_init_cannot_be_harmed(tier: str) -> None:
    source = """
import os, resource, sys
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
for attempt in (lambda: open('/proc/1/mem', 'r+b'), lambda: os.listdir('/proc/1/fd'),
                lambda: open('/proc/1/environ').read(),
                lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)),
                lambda: os.sched_setaffinity(1, {0}), lambda: os.setpriority(os.PRIO_PROCESS, 1, 19)):
    try: attempt()
    except OSError: continue
    sys.exit('reached the init')
open('/out/done', 'w')
"""
    outcome = python(source)
    assert (outcome.status, outcome.stderr, len(outcome.artifacts)) == (0, "", 1)


def test_a_job_that_kills_all_it_can_reaches_its_own_only(tier: str) -> None:
    source = (
        "import os, time\nif not os.fork(): time.sleep(9)\nos.kill(-1, 9); print(os.wait()[1]); os.kill(0, 9)"
    )
    outcome = python(source)
    assert (outcome.ended, outcome.signal, outcome.stdout) == ("signalled", 9, "9\n")


def test_the_workers_environment_is_nowhere_inside(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://a-secret-password@host")
    source = """
import glob, os
for path in glob.glob('/proc/[0-9]*/*') + glob.glob('/proc/[0-9]*/task/*/*'):
    try: text = open(path, errors='replace').read()
    except OSError: continue
    if 'a-secret' + '-password' in text: print(path)
print(sorted(os.environ))
"""
    outcome = python(source)
    assert outcome.stdout == "['HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'TMPDIR']\n"


def test_no_job_sees_another(tier: str) -> None:
    python("open('/tmp/left', 'w'); open('/dev/shm/left', 'w')")
    assert python("import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'))").stdout == "[] []\n"


def test_usual_tools_work(tier: str) -> None:
    source = """
import asyncio, concurrent.futures, multiprocessing, subprocess, sqlite3, tempfile, pwd, os, socket
if __name__ == '__main__':
    with concurrent.futures.ProcessPoolExecutor(2) as pool: print(list(pool.map(abs, [-1, -2])))
    print(subprocess.check_output(['sh', '-c', 'ls / | sort | tail -1'], text=True).strip())
    print(pwd.getpwuid(os.getuid()).pw_name, asyncio.run(asyncio.sleep(0, 'slept')))
    with tempfile.NamedTemporaryFile() as f: print(f.name.startswith('/tmp'))
    print(sqlite3.connect('/out/x.db').execute('select 1').fetchone())
"""
    outcome = python(source)
    assert (outcome.stdout, outcome.stderr) == ("[1, 2]\nusr\nagent slept\nTrue\n(1,)\n", "")


def test_what_cannot_be_enforced_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="network"):
        python("pass", egress=("example.com:443",))
    with pytest.raises(SandboxUnavailable, match="secrets"):
        python("pass", secrets=("token",))


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("sh", "true"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not sandbox.status().available
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap") as refusal:
        python("pass")
    assert "\n" not in str(refusal.value)


def test_a_broken_bubblewrap_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Path("/tmp", f"fake-bwrap-{os.getpid()}")
    fake.mkdir(mode=0o755)
    try:
        (fake / "bwrap").write_text("#!/bin/sh\necho 'bwrap: no user namespaces' >&2; exit 1\n")
        (fake / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake}:/usr/bin")
        assert "no user namespaces" in sandbox.status().reason
        with pytest.raises(SandboxUnavailable, match="no user namespaces"):
            python("pass")
    finally:
        (fake / "bwrap").unlink()
        fake.rmdir()


def test_an_unknown_tier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER_VARIABLE, "none")
    assert "must be one of" in sandbox.status().reason


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../b", "a//b", "a\nb", "a\0b", ".", "x" * 201])
def test_input_names_stay_in_their_folder(name: str) -> None:
    with pytest.raises(ValueError, match="input file name"):
        Job(source="pass", files={name: b""})


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"argv": ("a",), "source": "b"},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"argv": ("a", "x" * 100_000)},
    ],
)
def test_a_job_that_no_sandbox_could_run_is_not_a_job(job: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="argv|argument"):
        Job(**job)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_limits_are_positive_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="wall_seconds"):
        Limits(wall_seconds=value)  # type: ignore[arg-type]
