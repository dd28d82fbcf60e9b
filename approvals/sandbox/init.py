"""The trusted process 1 inside the sandbox. Passed as text to the interpreter inside; stands alone.

Argument: the number of a SOCK_SEQPACKET descriptor to the worker. Each message is one letter and its body:

    worker → init   C  NUL-separated: rlimits as NAME:soft:hard, environment as =NAME=VALUE, @ for a way
                       out, an empty field, then the job's argv
                    G  the job may start         K  kill the job
    init → worker   R  ready: interpreter version; with it descriptors of /proc, /tmp, /out and /dev/shm
                    L  with it a listening descriptor on 127.0.0.1:3128, where a way out was asked for
                    J  sent by the job's process before it starts; the kernel adds its process id
                    E  the job ended: wait status, processes killed after it, CPU microseconds, peak KiB
                    A  one output file: its name; with it the open descriptor
                    X  one output refused: name, NUL, why
                    D  done

When the worker's end closes this process exits, and the kernel kills everything in its namespace with it.
"""

from __future__ import annotations

# ctypes and the C module _socket instead of signal and socket: those import enum, which costs a third of
# the start of the interpreter.
import _socket
import ctypes
import os
import resource
import select
import stat
import struct
import sys

PR_SET_DUMPABLE = 4
SIGINT, SIGPIPE, SIGXFSZ, SIGKILL = 2, 13, 25, 9
FOLDERS = ("/proc", "/tmp", "/out", "/dev/shm")
MAX_DEPTH = 8
WAY_OUT = ("127.0.0.1", 3128)
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
libc = ctypes.CDLL(None)


def main() -> None:
    link = _socket.socket(fileno=int(sys.argv[1]))
    link_fd = link.fileno()
    os.set_inheritable(link_fd, False)
    os.closerange(3, link_fd)
    os.closerange(link_fd + 1, 1 << 16)
    # The job has the same uid: a dumpable init could be written to through /proc/1/mem.
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit("cannot become undumpable")
    # Python's own handler would let the job interrupt process 1; without one the kernel drops the signal.
    libc.signal(SIGINT, None)
    os.umask(0o022)
    say_ready(link)
    config = os.read(link_fd, 1 << 18)
    if config[:1] != b"C":
        return
    job = start(link, config[1:])
    watch(link_fd, job)
    status, others = kill_all(job)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    micros = int((used.ru_utime + used.ru_stime) * 1e6)
    link.send(b"E" + struct.pack("=iiqq", status, others, micros, used.ru_maxrss))
    collect(link)
    link.send(b"D")


def say_ready(link: _socket.socket) -> None:
    folders = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in FOLDERS]
    rights = struct.pack(f"={len(folders)}i", *folders)
    version = ".".join(map(str, sys.version_info[:3])).encode()
    link.sendmsg([b"R" + version], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    for folder in folders:
        os.close(folder)


def start(link: _socket.socket, config: bytes) -> int:
    """Fork the job; return its process id once it runs its program, or is gone."""
    settings, _, arguments = config.partition(b"\0\0")
    if b"@" in settings.split(b"\0"):
        open_way_out(link)
    reader, writer = os.pipe()
    job = os.fork()
    if job == 0:
        try:
            become(link.fileno(), settings.split(b"\0"), arguments.split(b"\0"))
        finally:
            os._exit(126)
    os.close(writer)
    # The writer closes when the program starts: until then the job's process alone reads from the worker.
    os.read(reader, 1)
    os.close(reader)
    return job


def open_way_out(link: _socket.socket) -> None:
    """Listen where only this network can connect; the worker serves it, and no copy stays here."""
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.bind(WAY_OUT)
    listener.listen(128)
    rights = struct.pack("=i", listener.fileno())
    link.sendmsg([b"L"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    listener.close()


def become(link_fd: int, settings: list[bytes], argv: list[bytes]) -> None:
    os.write(link_fd, b"J")
    if os.read(link_fd, 16) != b"G":
        os._exit(126)
    os.setsid()
    environment = dict(ENVIRONMENT)
    for setting in settings:
        if setting[:1] == b"=":
            name, _, value = setting[1:].decode().partition("=")
            environment[name] = value
        elif setting != b"@":
            name, soft, hard = setting.decode().split(":")
            set_limit(getattr(resource, name), int(soft), int(hard))
    libc.signal(SIGPIPE, None)
    libc.signal(SIGXFSZ, None)
    os.chdir("/out")
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(2, b"cannot run " + argv[0] + b": " + (error.strerror or "").encode() + b"\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def set_limit(kind: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


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
        os.kill(-1, SIGKILL)
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


def collect(link: _socket.socket) -> None:
    """Hand out /out, sorted, folder by folder. Nothing else runs any more, so no path can be swapped."""
    root = os.open("/out", os.O_RDONLY | os.O_DIRECTORY)
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            inside = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        except OSError as error:
            refuse(link, folder, error.strerror or "unreadable")
            continue
        names = sorted(os.fsencode(name) for name in os.listdir(inside))  # noqa: PTH208
        folders = [path for name in names if (path := offer(link, inside, folder, name))]
        pending.extend(reversed(folders))
        os.close(inside)


def offer(link: _socket.socket, inside: int, folder: bytes, name: bytes) -> bytes | None:
    """Send one entry, or return its path when it is a folder to look into."""
    path = folder + b"/" + name if folder else name
    facts = os.stat(name, dir_fd=inside, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode) and path.count(b"/") + 1 < MAX_DEPTH:
        return path
    why = unfit(facts)
    if why:
        refuse(link, path, why)
        return None
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    except OSError as error:
        refuse(link, path, error.strerror or "unreadable")
        return None
    rights = struct.pack("=i", descriptor)
    link.sendmsg([b"A" + path], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    os.close(descriptor)
    return None


def unfit(facts: os.stat_result) -> str:
    """Why an entry may not be handed out; empty when it may."""
    if stat.S_ISDIR(facts.st_mode):
        return "folders are nested too deep"
    if stat.S_ISLNK(facts.st_mode):
        return "a link"
    if not stat.S_ISREG(facts.st_mode):
        return "not a regular file"
    return "the file has several names" if facts.st_nlink != 1 else ""


def refuse(link: _socket.socket, path: bytes, why: str) -> None:
    link.send(b"X" + path + b"\0" + why.encode())


main()
