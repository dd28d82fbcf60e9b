"""What a job could make the kernel hold, tell or forget, under every tier there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits, MiB, Outcome
from tests.approvals.sandbox.test_hostile import PRELUDE, TIERS, Hostile, ended
from tests.tiers import forced_tier

ROOMY = Limits(wall_seconds=10, cpu_seconds=8, memory_bytes=40 * MiB, pids=24)
MAPPING = """
libc.mmap.restype = ctypes.c_void_p
where, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
libc.mmap.argtypes = [where, size, number, number, number, ctypes.c_long]
libc.munmap.argtypes, libc.mprotect.argtypes = [where, size], [where, size, number]
NONE = ctypes.c_void_p(-1).value
"""
# Each ends when it is let, so that a machine is not left with what it took.
PROGRAMS = {
    "what the host does": Hostile("""
import fcntl
if libc.inotify_init1(0) >= 0 or libc.inotify_add_watch(0, b'/usr/bin', 0x21) >= 0: got('inotify')
if ctypes.get_errno() != errno.ENOSYS: got(ctypes.get_errno())
folder = os.open('/usr/bin', os.O_RDONLY)
for command in (1024, 1026): attempt(fcntl.fcntl, folder, command, 0x8000003F & 0x7FFFFFFF)
"""),
    "what is refused": Hostile(MAPPING + """
if libc.prctl(4, 0, 0, 0, 0) == 0: got('undumpable')
if libc.prctl(4, 1, 0, 0, 0) != 0: got('not even dumpable')
import struct
code = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0xFFFF), 8)
filter = struct.pack('=HxxxxxxQ', 1, ctypes.addressof(code))
for family in (socket.AF_INET, socket.AF_INET6):
    plug = socket.socket(family, socket.SOCK_DGRAM); plug.setsockopt(socket.SOL_SOCKET, 15, 1)
    each(lambda option: plug.setsockopt(socket.SOL_SOCKET, option, filter), 26, 51)
    each(lambda option: plug.setsockopt(socket.SOL_SOCKET, option, 0), 50, 52)
plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt(plug.setsockopt, 0, 35, socket.inet_aton('239.1.2.3') + socket.inet_aton('127.0.0.1'))
plug = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
attempt(plug.setsockopt, 41, 20, socket.inet_pton(10, 'ff02::99') + struct.pack('=I', 1))
if libc.mmap(None, 2 << 20, 3, 0x40022, -1, 0) != NONE or ctypes.get_errno() != errno.EPERM: got('huge')
attempt(os.memfd_create, 'huge', 5)
if libc.syscall(*((220,) if ARM else (56,)), 0x400 | 17, 0, 0, 0, 0) == 0: os._exit(0)
if ctypes.get_errno() != errno.EPERM: got('a shared table of descriptors')
if libc.syscall(436, 600, 700, 2) == 0 or ctypes.get_errno() != errno.EPERM: got('a table of its own')
if libc.syscall(436, 600, 700, 0) != 0: got('nothing closed')
"""),
    "shared memory that nobody maps": Hostile(MAPPING + """
for number in (-1, os.open('/dev/zero', os.O_RDWR)):
    for _ in range(20):
        where = libc.mmap(None, 8 << 20, 3, 0x21 if number < 0 else 1, number, 0)
        if where == NONE: break
        ctypes.memset(where, 65, 8 << 20); libc.munmap(where + 4096, (8 << 20) - 4096)
    else:
        time.sleep(.5); got('160 MiB')
""", ROOMY, ended("exited", "memory")),
    "page tables": Hostile("""
space = mmap.mmap(-1, 56 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
for at in range(0, 56 << 30, 2 << 20): space[at]
time.sleep(.5); got('112 MiB')
""", ROOMY, ended("memory")),
    "mappings": Hostile(MAPPING + """
where = libc.mmap(None, 65000 * 4096, 0, 0x4022, -1, 0)
for page in range(0, 64900, 2): libc.mprotect(where + page * 4096, 4096, 1)
for _ in range(22):
    if os.fork() == 0: time.sleep(2); os._exit(0)
time.sleep(1); got('300 MiB')
""", ROOMY, ended("memory")),
    "watched descriptors": Hostile("""
for _ in range(22):
    if os.fork() == 0: break
events, held = [os.eventfd(0) for _ in range(240)], []
for _ in range(250):
    held.append(select.epoll())
    for event in events: held[-1].register(event, 1)
time.sleep(1); got('250 MiB')
""", ROOMY, ended("memory")),
    "byte-range locks": Hostile("""
import fcntl, struct
for n in range(8):
    if os.fork() == 0: break
else: n = 8
files = [os.open(f'/tmp/{n}.{at}', os.O_RDWR | os.O_CREAT) for at in range(100)]
for file in files:
    for at in range(400): fcntl.fcntl(file, fcntl.F_SETLK, struct.pack('hhqqi', 1, 0, 2 * at, 1, 0))
end = time.process_time() + .3
while time.process_time() < end: pass
time.sleep(1); got('60 MiB')
""", ROOMY, ended("memory")),
    "memory of threads whose main thread has ended": Hostile("""
def rest():
    time.sleep(.1); held = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, 200 << 20, 4096): held[at] = 1
    time.sleep(.3); got('200 MiB'); os._exit(0)
if os.fork() == 0:
    threading.Thread(target=rest).start()
    libc.syscall(93 if ARM else 60, 0)
os.wait()
""", ROOMY, ended("memory")),
    "time of children that nobody waits for": Hostile("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
end = time.monotonic() + 6
while time.monotonic() < end:
    if os.fork() == 0:
        end = time.thread_time() + .009
        while time.thread_time() < end: pass
        os._exit(0)
    time.sleep(.01)
got('the time')
""", replace(ROOMY, cpu_seconds=0.4, pids=64), ended("cpu", "pids")),
    "time of threads in children that sleep": Hostile("""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def burn():
    end = time.thread_time() + .018
    while time.thread_time() < end: pass
end = time.monotonic() + 6
while time.monotonic() < end:
    try: child = os.fork()
    except OSError: child = 1
    if child == 0:
        threading.Thread(target=burn, daemon=True).start(); time.sleep(.1); os._exit(0)
    time.sleep(.02)
got('the time')
""", replace(ROOMY, cpu_seconds=0.4, pids=64), ended("cpu", "pids")),
}  # fmt: skip
HONEST = {
    "multiprocessing": """
import mmap, multiprocessing, os
def square(n): return n * n
with multiprocessing.get_context('fork').Pool(2) as pool: print(sum(pool.map(square, range(10))))
value, array = multiprocessing.Value('i', 1), multiprocessing.Array('d', [1, 2])
with value.get_lock(): value.value += 1
child = multiprocessing.Process(target=lambda: value.__setattr__('value', 5)); child.start(); child.join()
print(value.value, list(array))
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=4096); block.buf[0] = 7; print(block.buf[0])
block.close(); block.unlink()
private = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); private[5] = 1
print(open('/dev/zero', 'rb').read(3))
""",
    "short commands": """
import subprocess, sqlite3
for _ in range(10): subprocess.run(['/bin/true'], check=True)
base = sqlite3.connect('/tmp/base'); base.execute('create table t (a)'); base.commit(); print('done')
""",
}
SAID = {"multiprocessing": "285\n5 [1.0, 2.0]\n7\nb'\\x00\\x00\\x00'\n", "short commands": "done\n"}
Outcomes = dict[tuple[str, str], Outcome]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    def run(name: str) -> Outcome:
        if name in HONEST:
            return sandbox.run(Job(source=HONEST[name], limits=replace(ROOMY, memory_bytes=128 * MiB)))
        program = PROGRAMS[name]
        return sandbox.run(Job(source=f"{PRELUDE}\n{program.source}", limits=program.limits))

    found = {}
    for tier in TIERS:
        with forced_tier(tier), ThreadPoolExecutor(4) as pool:
            running = {name: pool.submit(run, name) for name in (*HONEST, *PROGRAMS)}
            found |= {(tier, name): future.result() for name, future in running.items()}
    return found


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("tier", TIERS)
def test_the_kernel_holds_and_tells_nothing_more(outcomes: Outcomes, tier: str, name: str) -> None:
    outcome = outcomes[tier, name]
    # A poller looks from time to time: on a busy machine the job may have had it for a moment.
    ended = tier == "poller" and outcome.ended == "memory"
    assert ended or "GOT" not in outcome.stdout, outcome
    assert PROGRAMS[name].holds(outcome), outcome


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("tier", TIERS)
def test_what_honest_programs_need_works(outcomes: Outcomes, tier: str, name: str) -> None:
    outcome = outcomes[tier, name]
    assert (outcome.stdout, outcome.ended) == (SAID[name], "exited"), outcome
