"""The trusted process 1 inside the sandbox, and the job's process until its program starts.

Compiled ahead and handed in as code (bwrap.py), with the two modules of ours that it imports. Its arguments
are the numbers of two descriptors: a SOCK_SEQPACKET socket to the worker, and that code, which is read by
then. It starts with three privileges over its own namespaces (CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SETPCAP):
it mounts the job's folders, forks the job's process, and later puts the input where the job can read it,
gives the folders their sizes and closes the root. No line of the job runs before both processes have given
these privileges up. Each message is one letter and its body:

    worker → init   S  numbers: of seccomp(2), of the descriptor to answer J by, the size of the filter that
                       reports; then that and the one that enforces (arrays of struct sock_filter)
                    F  one input file: its path, NUL, its content or, with a descriptor to copy from, nothing
                    C  groups parted by two NULs, items by one: bounds as NAME:soft:hard, what the environment
                       has besides as NAME=value, then argv (none: run /run/job.py); with it standard input
                    G  the job may start         K  kill the job
    init → worker   R  ready: interpreter version; with it descriptors of /proc, /tmp, /out and /dev/shm
                    L  with it a listening descriptor on the port that WAY_OUT among the bounds names
                    J  sent by the job's process, which waits now; the kernel adds its process id; with it
                       the listener of the filter that reports, where it has one; before or after R
                    B  everything is in place and the job begins
                    E  the job ended: wait status, processes killed after it, CPU microseconds, peak KiB
                    A  one output file: its name; with it the open descriptor
                    X  one output refused: name, NUL, why
                    D  done

Between S and C an init may wait for long (pool.py). When the worker's end closes this process exits, and the
kernel kills everything in its namespace with it.
"""

from __future__ import annotations

import _ctypes
import _signal  # type: ignore[import-not-found]
import _socket
import gc
import os
import resource
import select
import struct
import sys

from approvals.sandbox.handing import collect
from approvals.sandbox.kernel import (
    CLOSED,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REMOUNT,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    SETPCAP,
    SYS_ADMIN,
    SYS_RESOURCE,
    allow,
    call,
    must,
    receive,
    rights,
)
from approvals.sandbox.script import SOURCE, as_main, offer_packages, play
from approvals.sandbox.zygote import GIVEN, breed

# For a type checker; importing typing would take milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# They came with this one (bwrap.py); what the job imports is its own.
for found in [name for name in sys.modules if name.startswith("approvals.")]:
    del sys.modules[found]

FOLDERS = ("/tmp", "/out", "/dev/shm")
ETC = {
    "passwd": b"root:x:0:0::/:/usr/sbin/nologin\nagent:x:1000:1000::/tmp:/bin/sh\n",
    "group": b"root:x:0:\nagent:x:1000:\n",
    "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}
# With the bounds that most jobs have, so that nothing is left to do for those.
REHEARSAL = b"FOLDER:67108864:4096\0\0"
# <linux/seccomp.h>, <linux/mount.h>
SECCOMP_SET_FILTER, NEW_LISTENER, WAIT_KILLABLE = 1, 8, 32
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
MNT_DETACH = 2
SIZED: list[bytes] = []
# The job's source, where it came with a message: the job is told it, which is quicker than that it opens it.
TOLD: list[bytes] = []
HEAD = struct.Struct("=I?")


def main() -> bytes | None:
    """Returns in the job's process only, for the source to be run, which may be told."""
    link = _socket.socket(fileno=int(sys.argv[1]))
    link_fd = link.fileno()
    os.set_inheritable(link_fd, False)
    os.closerange(3, link_fd)
    os.closerange(link_fd + 1, 1 << 16)
    # The job has the same uid: a dumpable init could be written to through /proc/1/mem.
    must("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Python's own handler would let the job interrupt process 1; without one the kernel drops the signal.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    os.umask(0o022)
    write_accounts()
    offer_packages()
    if sys.argv[3:] == ["zygote"]:
        link = breed(link)
    kind, rules, _ = receive(link)
    if kind != b"S":
        os._exit(0)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # What the collector would touch, the job's process would have to copy.
    gc.freeze()
    job = os.fork()
    if job == 0:
        ours.close()
        return waiting(link, theirs, rules)
    theirs.close()
    # Now, for these two take turns on two processors; the job's begins only when all of it is done.
    furnish()
    say_ready(link)
    # As the job's process does: what is done once now is done sooner when somebody waits for it.
    size(REHEARSAL)
    copy(b"/run/rehearsal", b"-", [])
    os.unlink("/run/rehearsal")  # noqa: PTH108
    return serve(link, ours, job)


def serve(link: _socket.socket, job_link: _socket.socket, job: int) -> NoReturn:
    config, stdin = prepare(link)
    drop_privileges()
    if receive(link)[0] != b"G":
        os._exit(1)
    link.send(b"B")
    job_link.sendmsg([HEAD.pack(len(config), bool(TOLD)), config, *TOLD], rights(stdin))
    job_link.close()
    os.close(stdin)
    watch(link.fileno(), job)
    status, others = kill_all(job)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    micros = int((used.ru_utime + used.ru_stime) * 1e6)
    link.send(b"E" + struct.pack("=iiqq", status, others, micros, used.ru_maxrss))
    collect(link)
    link.send(b"D")
    os._exit(0)


def write_accounts() -> None:
    for name, content in ETC.items():
        sink = create(f"/etc/{name}".encode())
        os.write(sink, content)
        os.close(sink)


def furnish() -> None:
    """Mount the job's folders, and close the kernel's own switches."""
    root = os.stat("/").st_dev  # noqa: PTH116
    for folder in FOLDERS:
        if os.stat(folder).st_dev == root:  # noqa: PTH116
            flags, options = MS_NOSUID | MS_NODEV, b"mode=0700,size=4096,nr_inodes=8"
            must("mount", b"tmpfs", folder.encode(), b"tmpfs", flags, options)
    # Namespaces below this one: none. Where bubblewrap covers /proc/sys the cover goes; the next mount closes
    # what it covered.
    call("umount2", b"/proc/sys", MNT_DETACH)
    with open("/proc/sys/user/max_user_namespaces", "wb", buffering=0) as switch:
        switch.write(b"0")
    # The keys of the account that runs jobs have names, which are nobody's business here.
    os.close(create(b"/run/nothing"))
    for listing in (b"/proc/keys", b"/proc/key-users"):
        if os.path.exists(listing):  # noqa: PTH110
            must("mount", b"/run/nothing", listing, None, MS_BIND, None)
            must("mount", None, listing, None, CLOSED | MS_NOEXEC, None)
    os.unlink("/run/nothing")  # noqa: PTH108
    # A job may otherwise lower its oom_score_adj.
    must("mount", None, b"/proc", None, CLOSED | MS_NOEXEC, None)


def create(path: bytes) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o444)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        return os.open(path, flags, 0o444)


def say_ready(link: _socket.socket) -> None:
    folders = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in ("/proc", *FOLDERS)]
    version = ".".join(map(str, sys.version_info[:3])).encode()
    link.sendmsg([b"R" + version], rights(*folders))
    for folder in folders:
        os.close(folder)


def prepare(link: _socket.socket) -> tuple[bytes, int]:
    """Take the input; return the configuration and standard input once the root is closed."""
    while True:
        kind, body, descriptors = receive(link)
        if kind == b"F":
            path, _, content = body.partition(b"\0")
            copy(path, content, descriptors)
            if path == SOURCE.encode() and not descriptors:
                TOLD[:] = [content]
        elif kind == b"C":
            size(body)
            open_way_out(link, body)
            for mounted in (b"/", *GIVEN) if sys.argv[3:] else (b"/",):
                must("mount", None, mounted, None, CLOSED, None)
            return body, descriptors[0]
        else:
            os._exit(1)


def copy(path: bytes, content: bytes, sources: list[int]) -> None:
    sink = create(path)
    if os.write(sink, content) != len(content):
        sys.exit("cannot prepare the sandbox: there is no memory for the input")
    for source in sources:
        offset = 0
        while sent := os.sendfile(sink, source, offset, 1 << 30):
            offset += sent
        os.close(source)
    os.close(sink)


def size(config: bytes) -> None:
    """Give each folder the bytes and inodes that this job may fill; its root is an inode of ours."""
    disk, inodes = next(bounds for name, *bounds in parsed(config) if name == "FOLDER")
    options = f"size={disk},nr_inodes={int(inodes) + 1}".encode()
    for folder in FOLDERS if options not in SIZED else ():
        must("mount", b"tmpfs", folder.encode(), None, MS_REMOUNT | MS_NOSUID | MS_NODEV, options)
    SIZED[:] = [options]


def open_way_out(link: _socket.socket, config: bytes) -> None:
    """Listen where only this network can connect, if asked to; the worker serves it, no copy stays here."""
    for port in [int(bounds[0]) for name, *bounds in parsed(config) if name == "WAY_OUT"]:
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        link.sendmsg([b"L"], rights(listener.fileno()))
        listener.close()


def parsed(config: bytes) -> list[list[str]]:
    return [line.decode().split(":") for line in config.partition(b"\0\0")[0].split(b"\0")]


def drop_privileges() -> None:
    # SETPCAP last: it takes that to drop the others.
    for capability in (SYS_RESOURCE, SYS_ADMIN, SETPCAP):
        must("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    allow()


def waiting(link: _socket.socket, init: _socket.socket, rules: bytes) -> bytes | None:
    """The job's process: confined now, begins when it is handed the configuration. Its source, if told."""
    try:
        os.setsid()
        os.environ.pop("PWD", None)
        drop_privileges()
        confine(link, rules)
        rehearse()
        words, ancillary, _, _ = init.recvmsg(1 << 18, 64, _socket.MSG_CMSG_CLOEXEC)
        if not words:
            os._exit(126)
        length, told = HEAD.unpack_from(words)
        config, source = words[HEAD.size : HEAD.size + length], words[HEAD.size + length :]
        (stdin,) = struct.unpack("=i", ancillary[0][2])
        os.dup2(stdin, 0)
        os.close(stdin)
        become(init, config)
        return source if told else None
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"cannot start the job: {error!r}\n".encode())
        os._exit(126)


def rehearse() -> None:
    """Do once what a beginning job does: the pages that this touches, until now shared with the init, are
    copied while nobody waits for it.
    """
    as_main()
    for _ in parsed(REHEARSAL):
        set_limit(resource.RLIMIT_CORE, 0, 0)
    exec(compile("import os\nprint(end='')", SOURCE, "exec", dont_inherit=True), {})


def confine(link: _socket.socket, orders: bytes) -> None:
    """Add the filter that reports, then the one that enforces, which takes seccomp(2) away; say so."""
    number, answer_fd, size = struct.unpack_from("=HHH", orders)
    reports, enforces = program(orders[6 : 6 + size]), program(orders[6 + size :])
    listener, allowed = -1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if size and not 0 <= allowed <= answer_fd:
        # The reporting filter lets this number through, which the job's limits put out of its reach.
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
        plain = link.detach()
        link = _socket.socket(fileno=os.dup2(plain, answer_fd, inheritable=False))
        os.close(plain)
        listener = call("syscall", number, SECCOMP_SET_FILTER, NEW_LISTENER | WAIT_KILLABLE, reports[0])
        if listener < 0:
            listener = call("syscall", number, SECCOMP_SET_FILTER, NEW_LISTENER, reports[0])
    must("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, enforces[0], 0, 0)
    link.sendmsg([b"J"], rights(listener) if listener >= 0 else [])
    link.close()
    if listener >= 0:
        os.close(listener)


def program(instructions: bytes) -> tuple[bytes, object]:
    """struct sock_fprog, and what it points to, to be held until the kernel has copied it."""
    byte = type("Byte", (_ctypes._SimpleCData,), {"_type_": "c"})
    shape = {"_type_": byte, "_length_": len(instructions)}
    code = type("Code", (_ctypes.Array,), shape).from_buffer_copy(instructions)  # type: ignore[attr-defined]
    return struct.pack("=HxxxxxxQ", len(instructions) // 8, _ctypes.addressof(code)), code


def become(init: _socket.socket, config: bytes) -> None:
    """Run argv, or return for the source to be run."""
    _, _, rest = config.partition(b"\0\0")
    environment, _, arguments = rest.partition(b"\0\0")
    for name, *bounds in parsed(config):
        if name not in ("FOLDER", "WAY_OUT"):
            set_limit(getattr(resource, name), int(bounds[0]), int(bounds[1]))
    for item in environment.decode().split("\0") if environment else ():
        name, _, value = item.partition("=")
        os.environ[name] = value
    os.chdir("/out")
    must("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    if arguments:
        execute(arguments.split(b"\0"))
    init.close()
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def execute(argv: list[bytes]) -> None:
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, b"cannot run " + argv[0] + b": " + (error.strerror or "").encode() + b"\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def set_limit(kind: int, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(kind, (soft, hard))
    except ValueError:
        # It is lower than that already.
        ceiling = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (min(soft, ceiling), min(hard, ceiling)))


def watch(link_fd: int, job: int) -> None:
    """Return when the job ended or must end; reap what it left behind meanwhile."""
    poll = select.poll()
    poll.register(os.pidfd_open(job), select.POLLIN)
    poll.register(link_fd, select.POLLIN)
    while True:
        ready = dict(poll.poll(50))
        if link_fd in ready and os.read(link_fd, 16) != b"K":
            os._exit(1)
        if ready:
            return
        reap_orphans(job)


def reap_orphans(job: int) -> None:
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None or found.si_pid == job:
            return
        os.waitpid(found.si_pid, 0)


def kill_all(job: int) -> tuple[int, int]:
    """Kill every other process of the namespace; return the job's wait status and how many others died."""
    try:  # noqa: SIM105 (contextlib would be one more import)
        os.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:
        pass
    status, others = 0, 0
    while True:
        try:
            pid, ended = os.wait()
        except ChildProcessError:
            return status, others
        if pid == job:
            status = ended
        else:
            others += 1


play(main())
