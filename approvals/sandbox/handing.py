"""Inside the sandbox, with init.py: hand out what the job left, as descriptors and not by name."""

from __future__ import annotations

import _socket
import os
import stat

from approvals.sandbox.kernel import rights

MAX_DEPTH = 8


def collect(link: _socket.socket) -> None:
    """Hand out /out, sorted, folder by folder. Nothing else runs any more, so no path can be swapped.

    Whatever the job has made unreadable is refused by its name, and costs nothing else.
    """
    try:
        root = os.open("/out", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        refuse(link, b".", error.strerror or "unreadable")
        return
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            inside = os.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            names = sorted(os.fsencode(name) for name in os.listdir(inside))  # noqa: PTH208
        except OSError as error:
            refuse(link, folder or b".", error.strerror or "unreadable")
            continue
        folders = [path for name in names if (path := offer(link, inside, folder, name))]
        pending.extend(reversed(folders))
        os.close(inside)


def offer(link: _socket.socket, inside: int, folder: bytes, name: bytes) -> bytes | None:
    """Send one entry, or return its path when it is a folder to look into."""
    path = folder + b"/" + name if folder else name
    try:
        facts = os.stat(name, dir_fd=inside, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode) and path.count(b"/") + 1 < MAX_DEPTH:
            return path
        why = unfit(facts)
        descriptor = -1 if why else os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    except OSError as error:
        why = error.strerror or "unreadable"
    if why:
        refuse(link, path, why)
        return None
    link.sendmsg([b"A" + path], rights(descriptor))
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
