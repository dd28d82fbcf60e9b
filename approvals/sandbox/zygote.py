"""Inside a sandbox that runs no job, with init.py: give birth to sandboxes that do.

An interpreter that has started stands in namespaces of its own, as bubblewrap made them, and never hears of a
job. Asked to, it clones itself into new namespaces of every kind, below its own: the clone is process 1 of a
sandbox (init.py), and has of this one what it would have of bubblewrap: the read-only system, and three
privileges over its own namespaces. A clone sees neither this process nor its siblings, and ends with it.

    worker → zygote  N  with it: where standard output and standard error go, the init's end of its socket
    zygote → worker  N  with it the descriptor of the process; or, without one, why there is none
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import gc
import os
import struct

from approvals.sandbox.kernel import (
    CLOSED,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
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

# clone(2): a namespace of every kind that bubblewrap is asked for (bwrap.py), and its mounts.
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
NEW_ALL = NEW_MOUNTS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_USER | NEW_PID | NEW_NET
# netdevice(7)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
# What a job is given lies here: in its own memory, for the root is the same for all clones.
GIVEN = (b"/in", b"/run")


def breed(link: _socket.socket) -> _socket.socket:
    """Serve the worker. Returns in each clone, with its own socket; its folders in ``GIVEN`` are its own."""
    if not os.path.isdir(b"/run"):  # noqa: PTH112
        os.mkdir(b"/run")  # noqa: PTH102
    must("mount", None, b"/", None, CLOSED, None)
    # Nobody here waits for a clone: the worker does.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    gc.freeze()
    while True:
        kind, _, descriptors = receive(link)
        if kind != b"N" or len(descriptors) != 3:
            os._exit(0)
        # Not os.fork(), which cannot make namespaces; nothing else runs here that a fork would have to halt.
        pid = call("syscall", CLONE, NEW_ALL | _signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            link.close()
            return be_born(*descriptors)
        answer(link, pid)
        for number in descriptors:
            os.close(number)


def answer(link: _socket.socket, pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except (OSError, OverflowError):
        link.send(b"Nthe kernel gives no namespaces below those of bubblewrap")
        return
    link.sendmsg([b"N"], rights(process))
    os.close(process)


def be_born(output: int, errors: int, link: int) -> _socket.socket:
    for number, standard in ((output, 1), (errors, 2)):
        os.dup2(number, standard)
        os.close(number)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    os.setsid()
    map_identity()
    bring_up_loopback()
    for capability in range(64):
        if capability not in (SETPCAP, SYS_ADMIN, SYS_RESOURCE):
            # The kernel knows fewer than 64.
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    allow(SETPCAP, SYS_ADMIN, SYS_RESOURCE)
    must("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    for folder in GIVEN:
        must("mount", b"tmpfs", folder, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0755")
    return _socket.socket(fileno=link)


def map_identity() -> None:
    """The account and group that this process had are what it has: without these two it is nobody."""
    # The kernel lets only a dumpable process write its own.
    must("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    account, group = PARENTS
    for name, text in (("setgroups", "deny"), ("uid_map", account), ("gid_map", group)):
        sink = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(sink, text.encode())
        os.close(sink)
    must("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


PARENTS = (f"{os.getuid()} {os.getuid()} 1", f"{os.getgid()} {os.getgid()} 1")


def bring_up_loopback() -> None:
    request = struct.pack("=16sh22x", b"lo", IFF_UP)
    plug = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    must("ioctl", plug.fileno(), SIOCSIFFLAGS, request)
    plug.close()
