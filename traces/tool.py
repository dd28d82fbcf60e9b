"""The verifier as one file that runs anywhere: `verify.pyz`, a zip of its modules' own sources.

Python runs such a file as it is (PEP 441), and whoever wants to read it first unzips it. The same sources
give the same bytes, so two copies can be compared.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from types import ModuleType

import traces
from traces import passkeys, signatures, signed, verify

NAME = "verify.pyz"
# All of them need the standard library alone; a test runs the file where nothing else is found.
MODULES: tuple[ModuleType, ...] = (traces, passkeys, signatures, signed, verify)
MAIN = "import sys\n\nfrom traces.verify import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)


def packed() -> bytes:
    """The bytes of the file."""
    sources = {f"traces/{Path(module.__file__ or '').name}": _source(module) for module in MODULES}
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, source in sorted({"__main__.py": MAIN.encode(), **sources}.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), source)
    return buffer.getvalue()


def _source(module: ModuleType) -> bytes:
    return Path(module.__file__ or "").read_bytes()
