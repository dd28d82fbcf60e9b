"""What a job opens, executes and connects to is seen while it does, and seeing never hurts."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, Outcome, SandboxUnavailable, Watched, seccomp, watching
from approvals.sandbox.syscalls import numbers

ALLOW, TELL = 0x7FFF0000, 0x7FC00000
MACHINES = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
LINK = watching.OUT_OF_REACH
DIRECTORY = {"x86_64": 0o200000, "aarch64": 0o40000}
READ, WRITE, CREATE = 0, 1, 0o101


def run(source: str, on_watched: Callable[[Watched], None] | None = None, **limits: float) -> Outcome:
    return sandbox.run(Job(source=source, limits=Limits(**limits)), on_watched=on_watched)


@pytest.fixture(scope="module")
def busy() -> Outcome:
    """One job that does a little of everything."""
    outcome = run("""
import ctypes, os, socket, subprocess
os.chdir('/tmp')
def tried(what, *given, **more):
    try: return what(*given, **more)
    except OSError: return None
tried(open, '/etc/shadow'); tried(open, '/usr/../etc/passwd'); tried(open, '/usr/lib/os-release')
for _ in range(3): open('mine', 'w').close()
folder = os.open('/in', os.O_RDONLY)
tried(os.open, 'relative', os.O_RDONLY, dir_fd=folder); os.listdir('/')
tried(open, '\\x1b[31mred\\nline\\u202e'); tried(open, b'/bytes\\xff'); tried(open, '/' + 'long/' * 300)
subprocess.run(['/bin/echo', 'two words', '$(id)']); tried(os.execv, '/no/such', ['liar', 'x'])
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
tried(tcp.connect, ('192.0.2.1', 443)); tried(udp.sendto, b'x', ('192.0.2.2', 53))
tried(udp.sendmsg, [b'x'], [], 0, ('192.0.2.3', 53))
tried(socket.socket(socket.AF_INET6).connect, ('2001:db8::1', 80))
unix = socket.socket(socket.AF_UNIX)
tried(unix.connect, '\\0abstract'); tried(unix.connect, '/run/socket')
one, other = socket.socketpair(); one.send(b'x'); one.sendmsg([b'x'])
libc = ctypes.CDLL(None)
libc.open(1, 0); libc.open(-1, 0); libc.connect(tcp.fileno(), 0, 16)
libc.execve(b'/no/vector', 0, 0)
""")
    assert outcome.status == 0, outcome.stderr
    return outcome


def test_files_are_listed_by_name_and_purpose(busy: Outcome) -> None:
    seen = {item.what: (item.how, item.times) for item in busy.watched.opened}
    assert seen["/etc/shadow"] == ("read", 1)
    assert seen["/tmp/mine"] == ("write", 3)
    assert seen["/in/relative"] == ("read", 1)


def test_the_systems_own_files_are_counted_and_a_way_round_that_is_listed(busy: Outcome) -> None:
    assert "/usr/lib/os-release" not in busy.opened
    assert busy.watched.library_reads > 0
    assert "/usr/../etc/passwd" in busy.opened


def test_names_are_safe_to_show(busy: Outcome) -> None:
    assert "/tmp/\\x1b[31mred\\nline\\u202e" in busy.opened
    assert "/bytes\\xff" in busy.opened
    assert max(map(len, busy.opened)) == 513


def test_commands_are_listed_with_their_words(busy: Outcome) -> None:
    assert busy.executed == ("/bin/echo 'two words' '$(id)'", "/no/such x", "/no/vector")


def test_connections_and_datagrams_are_listed_by_address(busy: Outcome) -> None:
    assert [(item.how, item.what) for item in busy.watched.connected] == [
        ("connect", "192.0.2.1:443"),
        ("send", "192.0.2.2:53"),
        ("send", "192.0.2.3:53"),
        ("connect", "[2001:db8::1]:80"),
        ("connect", "unix:@abstract"),
        ("connect", "unix:/run/socket"),
        ("connect", "call connect, address unreadable"),
    ]


def test_what_cannot_be_read_is_counted_and_listed_by_its_call(busy: Outcome) -> None:
    seen = {item.what: item.times for item in busy.watched.opened}
    assert (busy.watched.unread, seen["call openat, path unreadable"]) == (3, 2)


def test_it_is_seen_while_the_job_runs() -> None:
    seen: list[Watched] = []
    source = "import time\ntry: open('/early')\nexcept OSError: time.sleep(0.4)"
    run(source, on_watched=seen.append)
    assert [item.what for item in seen[0].opened] == ["/early"]


def test_a_flood_of_names_is_cut_and_said() -> None:
    source = "import os\nfor n in range(900):\n  try: os.open(f'/{n}' + 'x' * 200, 0)\n  except OSError: pass"
    watched = run(source).watched
    assert len(watched.opened) + watched.unlisted == 900
    assert sum(len(item.what) for item in watched.opened) <= watching.MAX_KEPT_BYTES


def test_a_flood_of_opens_does_not_hide_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_READ", 500)
    source = """
import os, socket
for n in range(600):
    try: os.open(f'/{n}' + 'x' * 400, 0)
    except OSError: pass
try: socket.socket().connect(('192.0.2.1', 443))
except OSError: pass
"""
    outcome = run(source)
    assert outcome.connected == ("192.0.2.1:443",)
    assert outcome.watched.unread > 100
    assert outcome.watched.opened[-1].times == outcome.watched.unread
    assert outcome.opened[-1] == "call openat, not read: too many before it"


def test_what_watching_costs_is_on_the_jobs_account() -> None:
    source = """
import os
for _ in range(8):
    if not os.fork(): break
while True:
    try: os.open('/x', 0)
    except OSError: pass
"""
    outcome = run(source, cpu_seconds=0.2, wall_seconds=10)
    assert outcome.ended == "cpu"


def test_threads_that_die_while_they_are_asked_about_hang_nobody() -> None:
    source = """
import os, threading, time
def knock():
    while True:
        try: os.open('/x', 0)
        except OSError: pass
for _ in range(40):
    child = os.fork()
    if not child:
        for _ in range(3): threading.Thread(target=knock).start()
        time.sleep(5)
    time.sleep(.003); os.kill(child, 9); os.waitpid(child, 0)
print('through')
"""
    assert run(source, wall_seconds=15).stdout == "through\n"


def test_a_job_can_take_neither_the_filter_nor_the_listener() -> None:
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
number = 317 if os.uname().machine == 'x86_64' else 277
print([libc.syscall(number, 1, flags, 0) for flags in (0, 8, 40)], libc.prctl(22, 2, 0))
print(sorted(os.listdir('/proc/self/fd')))
import resource, socket
for limit in (513, 1024):
    try: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)); print('raised')
    except (OSError, ValueError): pass
try: os.dup2(1, 512)
except OSError: print('out of reach')
"""
    assert run(source).stdout == "[-1, -1, -1] -1\n['0', '1', '2', '3']\nout of reach\n"


@pytest.mark.parametrize(("wish", "opened"), [("writes", ["/out/new"]), ("calls", []), ("off", [])])
def test_less_can_be_watched(monkeypatch: pytest.MonkeyPatch, wish: str, opened: list[str]) -> None:
    monkeypatch.setenv(watching.VARIABLE, wish)
    outcome = run("open('new', 'w'); open('/etc/passwd')")
    assert (list(outcome.opened), bool(outcome.watched.gap)) == (opened, wish == "off")


def test_a_wish_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(watching.VARIABLE, "some")
    with pytest.raises(
        SandboxUnavailable, match="AGENTSEC_SANDBOX_WATCH must be one of all, writes, calls, off"
    ):
        run("pass")


def decide(machine: str, name: str, *arguments: int, opens: seccomp.Opens = "all") -> int:
    """Run the reporting filter as the kernel would: classic BPF over struct seccomp_data."""
    code = list(struct.iter_unpack("=HBBI", seccomp.watching(machine=machine, opens=opens, link=LINK)))
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", numbers(machine=machine)[name], 0, 0, *padded)
    at = accumulator = 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif op == 0x54:
            accumulator &= k
        elif op in (0x15, 0x45):
            hit = accumulator == k if op == 0x15 else accumulator & k
            at += jump_true if hit else jump_false
        else:
            assert op == 0x06
            return k


@MACHINES
def test_the_filter_tells_of_what_matters_and_lets_all_through(machine: str) -> None:
    folder = DIRECTORY[machine]
    told = [
        ("execve", ()),
        ("execveat", ()),
        ("connect", ()),
        ("openat2", ()),
        ("openat", (0, 0, READ)),
        ("openat", (0, 0, WRITE | folder)),
        ("sendto", (3, 0, 0, 0, 1)),
        ("sendto", (3, 0, 0, 0, 1 << 40)),
        ("sendmsg", (3,)),
        ("sendmmsg", (LINK + 1,)),
    ]
    assert {decide(machine, name, *given) for name, given in told} == {TELL}
    left = [("read", ()), ("openat", (0, 0, folder)), ("sendto", (3, 9)), ("sendmsg", (LINK,)), ("fork", ())]
    calls = numbers(machine=machine)
    assert {decide(machine, name, *given) for name, given in left if name in calls} == {ALLOW}


@MACHINES
def test_the_filter_can_tell_of_writes_alone(machine: str) -> None:
    verdicts = [decide(machine, "openat", 0, 0, flags, opens="writes") for flags in (READ, WRITE, CREATE)]
    assert verdicts == [ALLOW, TELL, TELL]
    assert decide(machine, "openat", 0, 0, WRITE, opens="none") == ALLOW


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", "no address"),
        (struct.pack("=H", 40) + b"x" * 14, "address family 40"),
        (struct.pack("=H", 2) + b"\0", "address family 2"),
        (struct.pack("=H", 1) + b"/run/\x1b\n\0left", "unix:/run/\\x1b\\n"),
        (struct.pack("=H", 1), "unix:"),
    ],
)
def test_odd_addresses_are_named(raw: bytes, shown: str) -> None:
    assert watching._address(raw) == shown
