"""Read the /proc of a sandbox by its descriptor: what is gone or hidden reads as nothing. Source: proc(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_GONE = (FileNotFoundError, ProcessLookupError)


def text(proc: int, pid: str, name: str) -> bytes:
    """One small file of a process, its first 16 KiB."""
    try:
        descriptor = os.open(f"{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except (*_GONE, PermissionError):
        return b""
    try:
        return os.read(descriptor, 16384)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(descriptor)


def chunks(proc: int, path: str) -> Iterator[bytes]:
    """A long file as it is read: a reader that has seen enough stops."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except (*_GONE, PermissionError):
        return
    try:
        while data := os.read(descriptor, 1 << 16):
            yield data
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(descriptor)


def processes(proc: int) -> list[str]:
    return [name for name in os.listdir(proc) if name.isdigit()]


def tasks(proc: int, pid: str) -> list[str]:
    return names(proc, f"{pid}/task") or []


def names(proc: int, path: str) -> list[str] | None:
    """What a folder holds; nothing where it is gone, None where it is hidden."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    except _GONE:
        return []
    except PermissionError:
        return None
    try:
        return os.listdir(folder)  # noqa: PTH208
    except _GONE:
        return []
    finally:
        os.close(folder)


def link(proc: int, path: str) -> str:
    try:
        return os.readlink(path, dir_fd=proc)
    except OSError:
        return ""


def fields(proc: int, path: str) -> list[bytes]:
    """The fields of a stat file from the state on; fewer than 20 when it is gone."""
    # The command name may hold spaces and brackets; the fields begin after the last one.
    return text(proc, path, "stat").rpartition(b")")[2].split()


def most(pattern: re.Pattern[bytes], content: bytes) -> int:
    return max((int(amount) for amount in pattern.findall(content)), default=0)


def sum_kib(pattern: re.Pattern[bytes], content: bytes) -> int:
    return sum(int(amount) for amount in pattern.findall(content)) * 1024
