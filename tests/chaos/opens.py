"""An outside observer of what runs in the sandbox: who opens which file of /usr, told by the kernel.

A job has no network, writes nothing that stays, and sees no file of ours. It does read /usr, the same inodes
as everybody, and inotify(7) tells each open of an inode, through whatever mount. So each action is given a
file of its own that nobody else reads, opens it first thing, and the opens of that file are its starts:
counted without a word of agentsec's, those of jobs that were killed halfway among them.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_IN_OPEN, _IN_CLOSE_NOWRITE, _IN_Q_OVERFLOW = 0x20, 0x10, 0x4000
_EVENT = struct.Struct("iIII")
_FOLDERS = ("/usr/share/doc", "/usr/share/zoneinfo", "/usr/share", "/usr/lib")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Opens:
    """Counts opens of the files that `give` handed out. To be closed."""

    def __init__(self) -> None:
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify is not to be had")
        self._lock, self._paths, self._counts = threading.Lock(), _files(), Counter[int]()
        self._first: dict[int, float] = {}
        self._watches: dict[str, int] = {}
        self._end, self._ended = os.pipe()
        self.overflown = False
        self._thread = threading.Thread(target=self._follow, name="opens", daemon=True)
        self._thread.start()

    def give(self) -> str:
        """A path that nobody has opened since, and that is watched from now on."""
        # Closes are watched so that no two opens stand side by side: inotify would tell them as one.
        with self._lock:
            path = next(self._paths)
            watch = _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_OPEN | _IN_CLOSE_NOWRITE)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"{path} cannot be watched")
            self._watches[path] = watch
            return path

    def count(self, path: str) -> int:
        with self._lock:
            return self._counts[self._watches[path]]

    def first(self, path: str) -> float | None:
        """When it was opened for the first time, in seconds since the epoch."""
        with self._lock:
            return self._first.get(self._watches[path])

    def close(self) -> None:
        os.close(self._ended)
        self._thread.join()
        os.close(self._end)
        os.close(self._descriptor)

    def _follow(self) -> None:
        while True:
            ready, _, _ = select.select([self._descriptor, self._end], [], [])
            if self._descriptor in ready:
                self._read(os.read(self._descriptor, 1 << 16))
            elif self._end in ready:
                return

    def _read(self, data: bytes) -> None:
        with self._lock:
            while data:
                watch, mask, _, length = _EVENT.unpack_from(data)
                data = data[_EVENT.size + length :]
                self._counts[watch] += bool(mask & _IN_OPEN)
                if mask & _IN_OPEN:
                    self._first.setdefault(watch, time.time())
                self.overflown = self.overflown or bool(mask & _IN_Q_OVERFLOW)


def _files() -> Iterator[str]:
    """Files that every account can read, each inode once."""
    seen = set()
    for folder in _FOLDERS:
        for path in sorted(Path(folder).rglob("*")):
            try:
                found = path.lstat()
            except OSError:
                continue
            plain = path.is_file() and not path.is_symlink() and found.st_mode & 0o004
            if plain and found.st_ino not in seen and path.suffix not in (".py", ".pyc", ".so"):
                seen.add(found.st_ino)
                yield str(path)
