"""The seccomp filter of a job, assembled as classic BPF.

Instruction layout and constants: <linux/filter.h>, <linux/seccomp.h>, <linux/audit.h>. The filter is an
allow-list. Calls whose arguments matter are allowed for the named arguments only. Only the low 32 bits of an
argument are compared, which is sound because each call listed in ``_GUARDED`` takes that argument as an int.

Two filters stand on each other, of which the kernel lets the stricter answer win. The job's process adds
``watching`` to itself, which reports, and then ``build``, which enforces and takes seccomp(2) away.
"""

from __future__ import annotations

import functools
import itertools
import platform
import struct
from dataclasses import dataclass
from typing import Literal

from approvals.sandbox.job import SandboxUnavailable
from approvals.sandbox.syscalls import numbers

_LD, _JEQ, _JGE, _JSET, _JA, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x05, 0x54, 0x06
_NR, _ARCH, _ARGS = 0, 4, 16
_ALLOW, _KILL_PROCESS, _ERRNO, _NOTIFY = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
_EPERM, _ENOSYS = 1, 38
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
# Calls newer than this get ENOSYS, so that a C library falls back instead of taking EPERM for an answer.
_LAST_KNOWN = 450

_CLONE_NEW = 0x7E020000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_STREAM, _DGRAM, _RAW, _SEQPACKET = 1, 2, 3, 5
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PRCTL = (1, 2, 3, 15, 16, 21, 23, 29, 30, 38, 39, 40, 41, 42, 47)
_SET_DUMPABLE = 4
_CLONE_FILES, _CLONE_THREAD, _CLOSE_RANGE_UNSHARE = 0x400, 0x10000, 0x2
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB, _MFD_HUGETLB = 0x1, 0x20, 0x40000, 0x4
# <linux/fcntl.h>: locks of an open file, which /proc/locks shows to every sandbox as nobody's; leases, which
# make the host wait; directory notification, which tells of the host's files.
_F_OFD_SETLK, _F_OFD_SETLKW, _F_SETLEASE, _F_NOTIFY = 37, 38, 1024, 1026
_FCNTL = (_F_OFD_SETLK, _F_OFD_SETLKW, _F_SETLEASE, _F_NOTIFY)
# Options by level: socket filters (SO_ATTACH_FILTER, _BPF, _REUSEPORT_CBPF, _REUSEPORT_EBPF), multicast
# memberships and source lists, IPv6 anycast and flow labels, keys for TCP. Each is kernel memory on nobody's
# account.
_SOL_SOCKET, _IPPROTO_IP, _IPPROTO_TCP, _IPPROTO_IPV6 = 1, 0, 6, 41
_FILTER_OPTIONS = (26, 50, 51, 52)
_MULTICAST = (42, 46, 48)
_IP_OPTIONS = (35, 39, 41, *_MULTICAST)
# TCP_MD5SIG, _ULP, _MD5SIG_EXT, _AO_ADD_KEY.
_TCP_OPTIONS = (14, 31, 32, 38)
_IPV6_OPTIONS = (20, 27, 32, *_MULTICAST)


@dataclass(frozen=True)
class Check:
    """Argument ``arg`` masked by ``mask`` must be one of ``values`` (none of them where ``absent``)."""

    arg: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    absent: bool = False


# Each call: alternatives, of which one must hold; an alternative is a conjunction of checks.
# prlimit64 and the schedulers act on the caller only (pid 0): the init has the job's uid and must stay whole.
_SELF = ((Check(0, (0,)),),)
Guards = dict[str, tuple[tuple[Check, ...], ...]]
_GUARDED: Guards = {
    # One table of descriptors for each process: a thread's own would not be seen, and one that outlives its
    # process would hide byte-range locks.
    "clone": (
        (Check(0, (0, _CLONE_FILES | _CLONE_THREAD), mask=_CLONE_NEW | _CLONE_FILES | _CLONE_THREAD),),
    ),
    "close_range": ((Check(2, (0,), mask=_CLOSE_RANGE_UNSHARE),),),
    "fcntl": ((Check(1, _FCNTL, absent=True),),),
    "ioctl": ((Check(1, (_TIOCSTI, _TIOCLINUX), absent=True),),),
    # Huge pages come out of a reserve of the host's.
    "memfd_create": ((Check(1, (0,), mask=_MFD_HUGETLB),),),
    "mmap": ((Check(3, (0,), mask=_MAP_HUGETLB),),),
    # Made undumpable, a process would hide what it holds from a worker that is not root.
    "prctl": ((Check(0, _PRCTL),), (Check(0, (_SET_DUMPABLE,)), Check(1, (1,)))),
    "prlimit64": _SELF,
    "sched_setaffinity": _SELF,
    "sched_setscheduler": _SELF,
    "sched_setparam": _SELF,
    "setpriority": ((Check(0, (0,)), Check(1, (0,))),),
    "socket": (
        (Check(0, (_AF_UNIX,)), Check(1, (_STREAM, _DGRAM, _SEQPACKET), mask=0xF)),
        (Check(0, (_AF_INET, _AF_INET6)), Check(1, (_STREAM, _DGRAM), mask=0xF), Check(2, (0, 6, 17))),
        (Check(0, (_AF_NETLINK,)), Check(1, (_DGRAM, _RAW), mask=0xF), Check(2, (0,))),
    ),
}


def _options(*socket_level: int) -> tuple[tuple[Check, ...], ...]:
    """What setsockopt may set: all but these at the level of sockets, and all but ours at those below."""
    forbidden = {
        _SOL_SOCKET: socket_level,
        _IPPROTO_IP: _IP_OPTIONS,
        _IPPROTO_TCP: _TCP_OPTIONS,
        _IPPROTO_IPV6: _IPV6_OPTIONS,
    }
    elsewhere = (Check(1, tuple(forbidden), absent=True),)
    return (
        elsewhere,
        *((Check(1, (level,)), Check(2, names, absent=True)) for level, names in forbidden.items()),
    )


_GUARDED["setsockopt"] = _options(*_FILTER_OPTIONS)
# For tiers that cannot count kernel memory: sockets and pipes keep the buffers they were born with, and no
# memory is shared that has no file, for it lasts when none of it is mapped.
_BUFFER_OPTIONS = (7, 8, 32, 33)
_SET_PIPE_SIZE = 1031
_SHARED_KIND = _MAP_SHARED | _MAP_ANONYMOUS
_GUARDED_UNCOUNTED: Guards = {
    "fcntl": ((Check(1, (*_FCNTL, _SET_PIPE_SIZE), absent=True),),),
    "mmap": ((Check(3, (0, _MAP_SHARED, _MAP_ANONYMOUS), mask=_SHARED_KIND | _MAP_HUGETLB),),),
    "setsockopt": _options(*_FILTER_OPTIONS, *_BUFFER_OPTIONS),
}
# clone3 hides its flags behind a pointer, which no filter can read; ENOSYS makes C libraries use clone.
# inotify tells of each use of a file that the host and other jobs have too; programs then look by themselves.
_NO_SUCH_CALL = ("clone3", "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch")


@functools.cache
def build(*, machine: str | None = None, counted: bool) -> bytes:
    """The filter as an array of struct sock_filter. ``counted``: the tier counts memory that no process maps.

    Raises SandboxUnavailable on a machine whose calls are not known.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT_ARCH:
        raise SandboxUnavailable(f"the sandbox supports x86_64 and aarch64, not {machine}")
    calls = numbers(machine=machine)
    guarded = _GUARDED
    if not counted:
        del calls["memfd_create"]
        guarded = _GUARDED | _GUARDED_UNCOUNTED
    return b"".join(_program(calls, guarded, _AUDIT_ARCH[machine]))


# Calls that the worker is told of, whatever they ask for; opens by their flags, and those that may say where
# a datagram goes only when they do. Listing a folder is no open: starting an interpreter does it many times.
_CALLS = ("execve", "execveat", "connect")
_OPENS = ("creat", "openat2")
_FLAGS_ARGUMENT = {"open": 1, "openat": 2}
_MESSAGES = ("sendmsg", "sendmmsg")
_ADDRESS_ARGUMENT = 4
_ACCESS, _CREATE_TRUNCATE = 0o3, 0o1100
_DIRECTORY = {"x86_64": 0o200000, "aarch64": 0o40000}
Opens = Literal["all", "writes", "none"]


@functools.cache
def watching(*, machine: str | None = None, opens: Opens = "all", link: int) -> bytes:
    """The filter that reports what the job does, and lets all of it through.

    ``link`` is the number of the descriptor by which that process hands its listener over, which must not
    wait for a listener; it has to be a number that the job can never have. ``opens``: which of them.
    """
    machine = machine or platform.machine()
    calls = numbers(machine=machine)
    code = [_op(_LD, _NR)]
    told = dict.fromkeys(_CALLS, [_TELL]) | dict.fromkeys(_MESSAGES, _message(link)) | {"sendto": _datagram()}
    if opens != "none":
        told |= dict.fromkeys(_OPENS, [_TELL])
        told |= {name: _open(arg, opens, _DIRECTORY[machine]) for name, arg in _FLAGS_ARGUMENT.items()}
    for name, block in told.items():
        if name in calls:
            code += [_op(_JEQ, calls[name], 0, len(block)), *block]
    return b"".join([*code, _op(_RET, _ALLOW)])


def _message(link: int) -> list[bytes]:
    return [_op(_LD, _ARGS), _op(_JEQ, link, 0, 1), _op(_RET, _ALLOW), _TELL]


def _datagram() -> list[bytes]:
    """The address is a pointer, so both its halves count."""
    low = _ARGS + 8 * _ADDRESS_ARGUMENT
    halves = [_op(_LD, low), _op(_JEQ, 0, 0, 3), _op(_LD, low + 4), _op(_JEQ, 0, 0, 1)]
    return [*halves, _op(_RET, _ALLOW), _TELL]


def _open(argument: int, opens: Opens, directory: int) -> list[bytes]:
    flags = _op(_LD, _ARGS + 8 * argument)
    if opens == "writes":
        return [flags, _op(_AND, _ACCESS | _CREATE_TRUNCATE), _op(_JEQ, 0, 1, 0), _TELL, _op(_RET, _ALLOW)]
    reading = [_op(_AND, _ACCESS), _op(_JEQ, 0, 1, 0)]
    return [flags, _op(_JSET, directory, 0, len(reading)), *reading, _TELL, _op(_RET, _ALLOW)]


def _program(calls: dict[str, int], guarded: Guards, arch: int) -> list[bytes]:
    code = [_op(_LD, _ARCH), _op(_JEQ, arch, 1, 0), _op(_RET, _KILL_PROCESS)]
    code += [_op(_LD, _NR), _op(_JGE, _X32_BIT, 0, 1), _op(_RET, _KILL_PROCESS)]
    code += [_op(_JGE, _LAST_KNOWN + 1, 0, 1), _op(_RET, _ERRNO | _ENOSYS)]
    return code + _search(
        _ranges({number: _block(name, guarded.get(name)) for name, number in calls.items()})
    )


def _ranges(blocks: dict[int, list[bytes]]) -> list[tuple[int, list[bytes]]]:
    """The first number of each run of calls that are treated alike, in order, and how they are."""
    refused = [_op(_RET, _ERRNO | _EPERM)]
    alike = itertools.groupby(range(_LAST_KNOWN + 1), key=lambda number: blocks.get(number, refused))
    return [(next(run), block) for block, run in alike]


def _search(ranges: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search for the number in the accumulator. The kernel walks a filter once for each number
    there is when it is added, so a list of comparisons takes it four times as long.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    if len(below) < 256:
        return [_op(_JGE, ranges[middle][0], len(below), 0), *below, *above]
    return [_op(_JGE, ranges[middle][0], 0, 1), _op(_JA, len(below)), *below, *above]


def _block(name: str, alternatives: tuple[tuple[Check, ...], ...] | None) -> list[bytes]:
    if name in _NO_SUCH_CALL:
        return [_op(_RET, _ERRNO | _ENOSYS)]
    if alternatives is None:
        return [_op(_RET, _ALLOW)]
    code = [_op(_RET, _ERRNO | _EPERM)]
    for alternative in reversed(alternatives):
        code = _alternative(alternative) + code
    return code


def _alternative(checks: tuple[Check, ...]) -> list[bytes]:
    code = [_op(_RET, _ALLOW)]
    for check in reversed(checks):
        code = _test(check, onward=len(code)) + code
    return code


def _test(check: Check, *, onward: int) -> list[bytes]:
    """Fall through to the next ``onward`` instructions when the check holds, else jump past them."""
    code = [_op(_LD, _ARGS + 8 * check.arg), _op(_AND, check.mask)]
    count = len(check.values)
    for index, value in enumerate(check.values):
        left = count - index - 1
        if check.absent:
            code.append(_op(_JEQ, value, left + onward, 0))
        else:
            code.append(_op(_JEQ, value, left, 0 if left else onward))
    return code


def _op(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jt, jf, k)


_TELL = _op(_RET, _NOTIFY)
