"""Inside the sandbox, with init.py: run the job's source as the interpreter runs a script."""

from __future__ import annotations

import _frozen_importlib_external
import _signal  # type: ignore[import-not-found]
import atexit
import builtins
import gc
import os
import sys

# For a type checker; importing typing would take milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOURCE = "/run/job.py"
PACKAGES = "/packages"


def play(text: bytes | None) -> None:
    """Run the source as the interpreter runs a script: as __main__, its traceback without lines of ours.

    ``text`` is the content of its file, which is read where it is not known.
    """
    module = sys.modules["__main__"] = as_main()
    sys.argv[:] = [SOURCE]
    sys.orig_argv[:] = [sys.executable, "-I", "-u", SOURCE]
    before = set(sys.modules)
    status: object = None
    try:
        exec(compile(content() if text is None else text, SOURCE, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as leaving:
        status = leaving.code
    except BaseException as error:  # noqa: BLE001
        frames = error.__traceback__
        theirs = frames.tb_next if frames else None
        sys.excepthook(type(error), error.with_traceback(theirs), theirs)
        if isinstance(error, KeyboardInterrupt):
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGINT)
        status = 1
    leave(module, before, status)


def offer_packages() -> None:
    """Those of the operator's folder come last, so that they hide nothing. No .pth file in it is read: it
    would be code that runs before the job's.
    """
    if os.path.isdir(PACKAGES):  # noqa: PTH112
        sys.path.append(PACKAGES)


def content() -> bytes:
    script = os.open(SOURCE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(script, os.fstat(script).st_size)
    finally:
        os.close(script)


def as_main() -> Any:
    module: Any = type(sys)("__main__")
    loader = _frozen_importlib_external.SourceFileLoader("__main__", SOURCE)
    names: dict[str, object] = {
        "__file__": SOURCE,
        "__cached__": None,
        "__builtins__": builtins,
        "__annotations__": {},
    }
    module.__dict__.update(names, __loader__=loader)
    return module


def leave(module: Any, before: set[str], status: object) -> None:
    """End as the interpreter ends, without what it does last: to take apart each module that it came with.

    Here that would copy most pages that this process shares with the init, for longer than the job took.
    """
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    if len(sys._current_frames()) == 1 and (status is None or isinstance(status, int)):
        atexit._run_exitfuncs()
        for name in [name for name in sys.modules if name not in before]:
            del sys.modules[name]
        vars(module).clear()
        gc.collect()
        try:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        except (OSError, ValueError, AttributeError):
            # As the interpreter says of a stream that cannot take the rest; one that the job removed is none.
            status = 120 if hasattr(sys, "stdout") and hasattr(sys, "stderr") else status
        os._exit((status or 0) & 0xFF)
    # Threads still run, or there is a last word to say: the interpreter does all of it.
    sys.exit(status)  # type: ignore[arg-type]
