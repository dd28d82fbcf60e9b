"""A Python job runs and ends as a script does, though it begins in a process that stood."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from approvals import sandbox
from approvals.sandbox import Job

SYSTEM_PYTHON = Path("/usr/bin/python3")
SCRIPTS = {
    "word": "import sys; sys.exit('a last word')",
    "status": "import sys; sys.exit(-3)",
    "traceback": "def inner(): 1 / 0\ninner()",
    "syntax": "print('x'",
    "at exit": "import atexit\natexit.register(print, 'bye')\nopen('left', 'w').write('x')",
    "finalizer": "class A:\n  def __del__(self): print('gone')\na = A(); b = [a]; b.append(b)",
    "thread": "import threading, time\n"
    "def late(): time.sleep(0.05); print('late')\nthreading.Thread(target=late).start()",
    "daemon": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); print(1)",
    "spawn": "import multiprocessing as m\nif __name__ == '__main__':\n  m.set_start_method('spawn')\n"
    "  with m.Pool(1) as pool: print(pool.map(abs, [-2]))",
    "no stdout": "import sys; del sys.stdout",
    "what is there": "import sys\nprint(sys.argv[1:], sys.path, sys.flags, len(sys.orig_argv))\n"
    "print(sorted(globals()))\n"
    "print([name for name in sys.modules if name.startswith('approvals')], __name__, __doc__, __spec__)",
}


@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="the interpreter inside is another one")
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_run_as_the_interpreter_runs_it(name: str, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPTS[name])
    plain = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-u", script],
        capture_output=True,
        text=True,
        env={"LANG": "C.UTF-8"},
        cwd=tmp_path,
    )
    inside = sandbox.run(Job(source=SCRIPTS[name]))
    said = (inside.status, inside.stdout, inside.stderr.replace("/run/job.py", str(script)))
    assert said == (plain.returncode & 0xFF, plain.stdout, plain.stderr)
