"""Inside the sandbox, with init.py: calls of the C library, and messages with descriptors.

Without ctypes, socket and array, whose import takes a third of the start of an interpreter.
"""

from __future__ import annotations

import _ctypes
import _socket
import struct
import sys

# <linux/prctl.h>, <linux/capability.h>, <linux/mount.h>
PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24
SYS_RESOURCE, SYS_ADMIN, SETPCAP = 24, 21, 8
CAPABILITY_VERSION = 0x20080522
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
CLOSED = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV
libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


def call(name: str, *arguments: int | bytes | None) -> int:
    """A function of the C library; what it returns, as an int."""
    return int(_ctypes.call_function(_ctypes.dlsym(libc, name), arguments))


def must(name: str, *arguments: int | bytes | None) -> None:
    if call(name, *arguments) != 0:
        sys.exit(f"cannot prepare the sandbox: {name}{arguments}")


def receive(link: _socket.socket) -> tuple[bytes, bytes, list[int]]:
    """One message: its letter, its body and its descriptors. No letter when the other end has closed."""
    data, ancillary, _, _ = link.recvmsg(1 << 18, 64, _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, body in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors.extend(struct.unpack(f"={len(body) // 4}i", body))
    return data[:1], data[1:], descriptors


def rights(*descriptors: int) -> list[tuple[int, int, bytes]]:
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"={len(descriptors)}i", *descriptors))]


def allow(*capabilities: int) -> None:
    """Keep these privileges, which it has, and no others."""
    bits = sum(1 << number for number in capabilities)
    data = struct.pack("=6I", bits, bits, 0, 0, 0, 0)
    must("capset", struct.pack("=Ii", CAPABILITY_VERSION, 0), data)
