"""Hostile programs of our own, under every tier there is: each says what it got, which must be nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from approvals import sandbox
from approvals.sandbox import Job, KiB, Limits, MiB, Outcome
from tests.tiers import forced_tier

LIMITS = Limits(wall_seconds=15, cpu_seconds=5, memory_bytes=64 * MiB, pids=24, disk_bytes=8 * MiB, inodes=64)
PRELUDE = """
import ctypes, errno, mmap, os, resource, select, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == 'aarch64'
def got(what): print('GOT', what, flush=True)
def attempt(what, *given):
    try: found = what(*given)
    except (OSError, ValueError, RuntimeError): return
    got(f'{given} {found!r}'[:200])
def each(what, *places):
    for place in places: attempt(what, place)
"""


@dataclass(frozen=True)
class Hostile:
    """A program, its limits, and what must hold of its outcome besides having got nothing."""

    source: str
    limits: Limits = LIMITS
    holds: Callable[[Outcome], bool] = lambda outcome: outcome.status == 0


def ended(*causes: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.ended in causes


def within_memory(outcome: Outcome) -> bool:
    # The poller is as late as a busy host lets it be; what matters is that it comes.
    return outcome.ended in ("memory", "pids", "exited") and outcome.usage.max_rss_bytes < 128 * MiB


# Numbers for x86_64 and aarch64; "-" where there is none. What they ask for is harmless, if it were done.
CALLS = """
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, pidfd_getfd 438 438
process_madvise 440 440, process_mrelease 448 448, unshare 272 97, setns 308 268, mount 165 40, umount2 166 39
pivot_root 155 41, chroot 161 51, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433
open_tree 428 428, move_mount 429 429, mount_setattr 442 442, bpf 321 280, perf_event_open 298 241
io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, io_setup 206 0, userfaultfd 323 282
add_key 248 217, request_key 249 218, keyctl 250 219, init_module 175 105, finit_module 313 273
delete_module 176 106, kexec_load 246 104, kexec_file_load 320 294, reboot 169 142, swapon 167 224
swapoff 168 225, acct 163 89, quotactl 179 60, quotactl_fd 443 443, syslog 103 116, sethostname 170 161
setdomainname 171 162, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266
iopl 172 -, ioperm 173 -, modify_ldt 154 -, uselib 134 -, sysfs 139 -, vhangup 153 58, ustat 136 -
personality 135 92, seccomp 317 277, landlock_create_ruleset 444 444, name_to_handle_at 303 264
open_by_handle_at 304 265, fanotify_init 300 262, fanotify_mark 301 263, lookup_dcookie 212 18,
     vmsplice 278 75
tee 276 77, migrate_pages 256 238, move_pages 279 239, mbind 237 235, set_mempolicy 238 237
set_mempolicy_home_node 450 450, remap_file_pages 216 234, memfd_secret 447 447, ioprio_set 251 30
sched_setattr 314 274, shmget 29 194, msgget 68 186, semget 64 190, mq_open 240 180, setuid 105 146
setgid 106 144, setresuid 117 147, setresgid 119 149, setgroups 116 159, setfsuid 122 151, setfsgid 123 152
setreuid 113 145, capset 126 91, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, sync 162 81, syncfs 306 267
clone3 435 435, rt_tgsigqueueinfo_far 2000 2000, pkey_alloc_far 1000 1000, nfsservctl 180 42
"""
PROGRAMS = {
    "k_calls": Hostile(f"""
for name, *columns in (entry.split() for entry in {CALLS!r}.replace(chr(10),
     ',').split(',') if entry.strip()):
    if columns[ARM] == '-': continue
    answer = libc.syscall(int(columns[ARM]), 0, 0, 0, 0, 0, 0)
    if answer != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        got((name, answer, ctypes.get_errno()))
"""),
    "k_namespaces_by_clone": Hostile("""
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    child = libc.syscall(220 if ARM else 56, flag | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0: os._exit(0)
    if child > 0: got(hex(flag))
if subprocess.run(['unshare', '-U', 'true'], capture_output=True).returncode == 0: got('unshare')
"""),
    "k_ways_into_the_kernel": Hostile("""
each(open, *(f'/dev/{name}' for name in ('mem', 'kmem', 'port', 'kmsg', 'fuse', 'kvm', 'net/tun',
     'loop-control',
     'vhost-net', 'userfaultfd', 'sda', 'vda', 'tty', 'tty0', 'console', 'ptmx', 'pts/0', 'hwrng',
          'cpu/0/msr')))
each(open, '/proc/kcore', '/proc/kmem', '/proc/1/mem', '/proc/1/environ', '/proc/1/maps', '/proc/1/auxv',
     '/sys/kernel/debug', '/sys/kernel/security', '/sys/fs/cgroup', '/sys/class', '/proc/timer_list')
if open('/proc/keys').read(): got('keys')
for path in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe',
             '/proc/sys/user/max_user_namespaces', '/proc/sys/vm/drop_caches',
                  '/proc/sys/net/ipv4/ip_forward',
             '/proc/self/oom_score_adj', '/proc/self/uid_map', '/proc/self/gid_map', '/proc/self/setgroups',
             '/proc/self/timerslack_ns', '/proc/self/coredump_filter', '/proc/1/oom_score_adj',
                  '/proc/self/clear_refs'):
    attempt(open, path, 'r+')
"""),
    "f_what_the_host_holds": Hostile("""
each(os.listdir, '/root', '/home', '/var', '/srv', '/opt', '/mnt', '/media', '/boot', '/proc/1/root',
     '/proc/1/cwd',
     '/proc/1/fd', '/proc/1/map_files', '/run/user', '/lost+found', '/host', '/.dockerenv', '/etc/ssh',
          '/etc/ssl/private')
each(open, '/etc/shadow', '/etc/gshadow', '/etc/machine-id', '/etc/hostname', '/etc/resolv.conf',
     '/run/docker.sock',
     '/var/run/docker.sock', '/run/dbus/system_bus_socket', '/etc/fstab', '/etc/sudoers', '/etc/environment')
if set(os.listdir('/run')) - {'job.py'}: got(os.listdir('/run'))
mounts = {line.split()[4] for line in open('/proc/self/mountinfo')}
for path in mounts:
    facts = os.statvfs(path) if os.access(path, os.F_OK) else None
    inside = path.startswith(('/tmp', '/out', '/dev'))
    if facts and not inside and not facts.f_flag & os.ST_RDONLY: got(path)
"""),
    "f_what_is_read_only": Hostile("""
for path in ('/run/job.py', '/in/data', '/etc/passwd', '/usr/bin/python3', '/bin/sh', '/proc/self/exe',
     '/proc/1/exe'):
    attempt(open, path, 'r+b'); attempt(os.truncate, path, 0); attempt(os.chmod, path, 0o777)
    attempt(os.unlink, path); attempt(os.rename, path, '/tmp/mine'); attempt(os.link, path, '/out/alias')
    attempt(os.utime, path)
each(os.mkdir, '/new', '/in/new', '/etc/new', '/usr/new', '/proc/new', '/dev/new', '/run/new')
each(lambda path: os.mknod(path, 0o20666, os.makedev(1, 1)), '/tmp/mem', '/out/mem', '/dev/shm/mem')
each(lambda path: os.mknod(path, 0o60666, os.makedev(254, 0)), '/tmp/disk', '/out/disk')
open('/out/tool', 'w').write('#!/bin/sh'); os.chmod('/out/tool', 0o6777)
if os.statvfs('/out').f_flag & (os.ST_NOSUID | os.ST_NODEV) != os.ST_NOSUID | os.ST_NODEV: got('suid or dev')
"""),
    "p_the_init": Hostile("""
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM): signal.pidfd_send_signal(os.pidfd_open(1),
     number)
attempt(resource.prlimit, 1, resource.RLIMIT_NOFILE, (1, 1))
attempt(os.setpriority, os.PRIO_PROCESS, 1, 19); attempt(os.sched_setaffinity, 1, {0})
attempt(os.sched_setscheduler, 1, os.SCHED_BATCH, os.sched_param(0)); attempt(os.setpgid, 1, 0)
each(lambda mode: open('/proc/1/mem', mode), 'rb', 'r+b', 'wb')
each(os.readlink, '/proc/1/exe', '/proc/1/cwd', '/proc/1/root', '/proc/1/fd/3')
if os.getppid() not in (0, 1): got('a parent')
time.sleep(.1); print('the init lives')
""", holds=lambda outcome: outcome.stdout.endswith("the init lives\n") and outcome.ended == "exited"),
    "p_all_privileges": Hostile("""
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
    if int(status[name], 16): got(name)
if status['NoNewPrivs'].strip() != '1' or status['Seccomp'].strip() != '2': got('no filter')
if set(status['Uid'].split()) != {'1000'} or set(status['Groups'].split()) - {'65534',
     '1000'}: got(status['Groups'])
each(os.setuid, 0, 1, 65534); each(os.setgid, 0, 1); attempt(os.setgroups, [0]); attempt(os.nice, -5)
attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
    attempt(resource.setrlimit, limit, (resource.getrlimit(limit)[1] + 1,) * 2)
for option, *given in ((24, 0), (47, 2, 0, 0, 0), (28, 1), (8, 1), (36, 1), (22, 1), (35, 1, 0, 0, 0), (59,
     1, 1, 0, 0)):
    if option not in (8, 36) and libc.prctl(option, *given) == 0: got(('prctl', option))
"""),
    "p_a_survivor_of_every_kind": Hostile("""
def fork():
    if os.fork(): return False
    os.setsid(); return True
for depth in range(3):
    if fork():
        for number in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(number, signal.SIG_IGN)
        for number in (0, 1, 2): os.close(number)
        while True: time.sleep(.01); open('/out/late', 'a').write('x')
print('gone')
""", holds=lambda outcome: outcome.stdout == "gone\n" and outcome.usage.wall_seconds < 5),
    "p_stops_itself": Hostile("os.kill(os.getpid(), signal.SIGSTOP)", replace(LIMITS, wall_seconds=0.5),
         ended("wall")),
    "p_stops_and_blocks_everything": Hostile("""
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(4):
    if not os.fork(): os.kill(os.getpid(), signal.SIGSTOP)
select.select([], [], [], 60)
""", replace(LIMITS, wall_seconds=0.5), ended("wall")),
    "n_every_way_out": Hostile("""
for family, address in ((2, ('169.254.169.254', 80)), (2, ('127.0.0.1', PORT)), (2, ('10.0.0.1', 443)),
                        (2, ('255.255.255.255', 9)), (2, ('224.0.0.1', 9)), (10, ('::1', PORT)), (10,
                             ('fe80::1', 80, 0, 2))):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try: way = socket.socket(family, kind)
        except OSError: continue
        way.settimeout(.2)
        if kind == socket.SOCK_STREAM: attempt(way.connect, address); attempt(way.sendto, b'x', 0x20000000,
             address)
        else:
            way.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            try: way.sendto(b'x', address)
            except OSError: continue
            attempt(way.recv, 1)
each(lambda path: socket.socket(socket.AF_UNIX).connect(path), '/run/docker.sock',
     '/run/dbus/system_bus_socket',
     '/var/run/nscd/socket', '/tmp/.X11-unix/X0', '\\0/tmp/.X11-unix/X0', '\\0ABSTRACT')
each(lambda family: socket.socket(family, socket.SOCK_STREAM), 40, 38, 17, 9, 16, 21, 29, 30, 31, 39, 43, 44)
each(lambda kind: socket.socket(2, *kind), (3, 1), (3, 255), (2, 1), (1, 132), (2, 136), (1, 262), (10, 0),
     (5, 132))
if [name for _, name in socket.if_nameindex()] != ['lo']: got(socket.if_nameindex())
"""),
    "n_shapes_its_network": Hostile("""
import fcntl, struct
way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for request in (0x8914, 0x8916, 0x891C, 0x890B, 0x89A0, 0x89F1):
    attempt(fcntl.ioctl, way, request, struct.pack('16s16x', b'lo'))
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
for kind in (16, 20, 24):
    link.send(struct.pack('=IHHII', 32, kind, 0x405, 1, 0) + bytes(16))
    answer = link.recv(4096)
    if struct.unpack_from('=i', answer, 16)[0] >= 0: got(('netlink', kind))
each(lambda number: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number), 4, 9, 12, 15, 16)
"""),
    "o_a_flood": Hostile("""
line = b'\\x1b]0;title\\x07' * 4096
while True: os.write(1, line)
""", replace(LIMITS, output_bytes=64 * KiB), ended("output")),
    "o_a_flood_of_one_byte_writes": Hostile("""
while True: os.write(2, b'\\xff')
""", replace(LIMITS, output_bytes=2 * KiB), ended("output", "cpu")),
    "o_it_closes_its_output_and_stays": Hostile("""
for number in (0, 1, 2): os.close(number)
time.sleep(60)
""", replace(LIMITS, wall_seconds=0.5), ended("wall")),
    "o_terminals": Hostile("""
import fcntl
for number in (0, 1, 2):
    if os.isatty(number): got(number)
    for request in (0x5412, 0x541C, 0x540E, 0x5423): attempt(fcntl.ioctl, number, request, b'x' * 8)
attempt(os.openpty)
"""),
    "r_threads": Hostile("""
while True: threading.Thread(target=time.sleep, args=[60], daemon=True).start()
""", holds=ended("pids", "exited", "signalled")),
    "r_inodes": Hostile("""
for kind in ('f', 'd', 'l', 's', 'p') * 2:
  for n in range(40):
    path = f'/tmp/{kind}{n}'
    try: {'f': lambda: open(path, 'x'), 'd': lambda: os.mkdir(path), 'l': lambda: os.symlink('x' * 4000,
         path),
          's': lambda: socket.socket(socket.AF_UNIX).bind(path), 'p': lambda: os.mkfifo(path)}[kind]()
    except OSError: pass
if len(os.listdir('/tmp')) > 64: got(len(os.listdir('/tmp')))
"""),
    "r_every_folder_at_once": Hostile("""
for folder in ('/tmp', '/out', '/dev/shm'):
    try:
        with open(folder + '/fill', 'wb', buffering=0) as sink:
            while True: sink.write(bytes(1 << 20))
    except OSError: pass
    size = os.path.getsize(folder + '/fill')
    if size > 8 << 20: got((folder, size))
"""),
    "r_shared_memory": Hostile("""
held = []
while True:
    held.append(mmap.mmap(-1, 4 << 20)); held[-1].write(bytes(range(256)) * (4 << 12))
""", holds=within_memory),
    "r_memory_of_many": Hostile("""
for _ in range(12):
    if not os.fork(): break
held = [bytearray(os.urandom(1 << 16) * 16) for _ in range(400)]
time.sleep(20)
""", holds=within_memory),
    "r_locked_memory": Hostile("""
space = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if libc.mlock(ctypes.byref(ctypes.c_char.from_buffer(space)), 32 << 20) == 0: got('mlock')
if libc.mlockall(3) == 0: got('mlockall')
"""),
    "r_descriptors": Hostile("""
held = []
try:
    while True: held.append(os.dup(0))
except OSError: pass
if len(held) > 512: got(len(held))
"""),
    "r_pipes": Hostile("""
import fcntl
held, total = [], 0
try:
    while True:
        pair = os.pipe(); held.append(pair); os.set_blocking(pair[1], False)
        try: fcntl.fcntl(pair[1], 1031, 1 << 20)
        except OSError: pass
        try:
            while True: total += os.write(pair[1], bytes(1 << 16))
        except BlockingIOError: pass
except OSError: pass
if total > 72 << 20: got(total)
""", holds=within_memory),
    "r_pipes_of_many": Hostile("""
here = os.getpid()
for _ in range(8):
    if not os.fork(): break
held = []
try:
    while True:
        held.append(os.pipe()); os.set_blocking(held[-1][1], False); os.write(held[-1][1], bytes(1 << 16))
except OSError: pass
time.sleep(10)
if os.getpid() == here: got('all of them')
""", holds=ended('memory')),
    "r_datagrams_in_flight": Hostile("""
held, total = [], 0
try:
    while True:
        pair = socket.socketpair(socket.AF_UNIX,
             socket.SOCK_DGRAM); held.append(pair); pair[0].setblocking(False)
        try:
            while True: total += pair[0].send(bytes(1 << 15))
        except BlockingIOError: pass
except OSError: pass
if total > 128 << 20: got(total)
""", holds=ended("exited", "memory")),
    "r_timers_and_signals": Hostile("""
held, identifier = 0, ctypes.c_int()
while held < 100000 and libc.timer_create(0, None, ctypes.byref(identifier)) == 0: held += 1
if held > 5000: got(held)
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
queued = 0
while queued < 100000 and libc.sigqueue(os.getpid(), 40, None) == 0: queued += 1
if queued > 5000: got(queued)
"""),
    "r_time_of_many_short_lives": Hostile("""
while True:
    if not os.fork():
        end = time.process_time() + .04
        while time.process_time() < end: pass
        os._exit(0)
    try: os.waitpid(-1, os.WNOHANG)
    except ChildProcessError: pass
""", replace(LIMITS, cpu_seconds=0.6), ended("cpu", "pids", "exited")),
    "a_everything_but_files": Hostile("""
os.mkfifo('pipe'); socket.socket(socket.AF_UNIX).bind('socket'); os.symlink('/proc/self/environ', 'environ')
os.symlink('/', 'root'); os.symlink('loop', 'loop'); os.mkdir('shut', 0); open('shy', 'w').close()
os.chmod('shy', 0)
open('one', 'w').close(); os.link('one', 'two'); os.symlink('/proc/1/fd/3', 'fd')
""", holds=lambda outcome: outcome.status == 0 and not outcome.artifacts),
    "a_too_many_and_too_long": Hostile("""
for n in range(40): open(f'{n:03}' + 'x' * 200 if n % 2 else f'{n:03}', 'w').write('x')
""", holds=lambda outcome: outcome.status == 0 and len(outcome.artifacts) == 20),
    "a_grows_as_it_is_taken": Hostile("""
open('grows', 'w').write('begun')
for _ in range(3):
    if not os.fork():
        os.setsid()
        while True: open('grows', 'a').write('more' * 1000)
""", holds=lambda outcome: all(len(item.content) <= 16 * MiB for item in outcome.artifacts)),
    "w_what_watches": Hostile("""
import fcntl
for number in range(3, 600):
    attempt(fcntl.fcntl, number, fcntl.F_GETFD); attempt(fcntl.ioctl, number, 0xC0502100, bytearray(80))
for other in [int(name) for name in os.listdir('/proc') if name.isdigit() and int(name) != os.getpid()]:
    attempt(os.listdir, f'/proc/{other}/fd'); attempt(open, f'/proc/{other}/mem', 'rb')
"""),
}  # fmt: skip


def available(tier: str) -> bool:
    with forced_tier(tier):
        return sandbox.status().available


TIERS = [tier for tier in ("cgroup", "poller") if available(tier)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A service on the host's loopback, which greets whoever comes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=greet, args=[listener], daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def greet(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.fixture(scope="module")
def outcomes(port: int) -> dict[tuple[str, str], Outcome]:
    """Every program under every tier, several at a time: most of them wait."""

    def run(program: Hostile) -> Outcome:
        source = f"{PRELUDE}\nPORT = {port}\n{program.source}"
        return sandbox.run(Job(source=source, files={"data": b"input"}, limits=program.limits))

    found = {}
    for tier in TIERS:
        with forced_tier(tier), ThreadPoolExecutor(6) as pool:
            running = {name: pool.submit(run, program) for name, program in PROGRAMS.items()}
            found |= {(tier, name): future.result() for name, future in running.items()}
    return found


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("tier", TIERS)
def test_a_hostile_program_gets_nothing(
    outcomes: dict[tuple[str, str], Outcome], tier: str, name: str
) -> None:
    outcome = outcomes[tier, name]
    assert "GOT" not in outcome.stdout, outcome.stdout
    assert "Traceback" not in outcome.stderr or PROGRAMS[name].holds is not Hostile.holds, outcome.stderr
    assert PROGRAMS[name].holds(outcome), outcome
