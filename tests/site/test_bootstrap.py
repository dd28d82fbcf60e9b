"""manage.py on a machine without the packages: it makes `.venv`, repairs it, and says what it does.

A checkout of its own with one tiny package stands for agentsec, so that no network is needed.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from agentsec_site.embedded import REPOSITORY
from tests.live import clean_environment

STARTUP = """
import sys
import tinypackage
def main(arguments):
    print("started with", tinypackage.VERSION, sys.prefix, *arguments[1:])
    return 0
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """manage.py and the real bootstrap, over a start-up that needs one package that is nowhere installed."""
    root = tmp_path / "a checkout"  # the space is deliberate
    (root / "agentsec_site").mkdir(parents=True)
    shutil.copy(REPOSITORY / "manage.py", root)
    shutil.copy(REPOSITORY / "agentsec_site" / "bootstrap.py", root / "agentsec_site")
    (root / "agentsec_site" / "__init__.py").touch()
    (root / "agentsec_site" / "startup.py").write_text(STARTUP)
    (root / "requirements-dev.txt").write_text("# nothing more\n")
    for version in ("1.0", "2.0"):
        wheel(root / "wheels", version)
    pin(root, "1.0")
    return root


def wheel(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f"tinypackage-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinypackage-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("tinypackage.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinypackage\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def pin(root: Path, version: str) -> None:
    (root / "requirements.txt").write_text(f"# pinned\ntinypackage=={version}\n")


def environment(root: Path) -> dict[str, str]:
    wheels = str(root / "wheels").replace(" ", "%20")
    return clean_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=f"file://{wheels}", PIP_CONFIG_FILE="/dev/null")


def popen(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(root / "manage.py"), *words],
        cwd="/",
        env=environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start(root: Path, *words: str) -> tuple[int, str, str]:
    process = popen(root, *words)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_first_start_installs_says_so_and_goes_on_inside(checkout: Path) -> None:
    status, out, err = start(checkout, "up", "--port", "1")
    assert (status, out) == (0, f"started with 1.0 {checkout / '.venv'} up --port 1\n")
    assert "agentsec: making" in err
    assert "installing 1 packages of requirements.txt" in err


def test_where_no_bytecode_may_lie_beside_the_sources_it_is_kept_apart(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    assert start(checkout)[0] == 0
    assert list((checkout / ".venv" / "bytecode").rglob("startup*.pyc"))
    assert not list((checkout / "agentsec_site").rglob("*.pyc"))


def test_changed_pins_are_installed_and_unchanged_ones_cost_nothing(checkout: Path) -> None:
    start(checkout)
    assert start(checkout)[2] == ""
    pin(checkout, "2.0")
    assert start(checkout)[1].startswith("started with 2.0")


def test_a_half_made_environment_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nonexistent/python")
    assert start(checkout)[1].startswith("started with 1.0")


def test_a_start_killed_while_installing_is_repeated_by_the_next(checkout: Path) -> None:
    first = popen(checkout)
    time.sleep(0.4)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert start(checkout)[1].startswith("started with 1.0")


def test_a_start_waits_for_what_a_killed_one_left_behind(checkout: Path) -> None:
    """The orphan would go on writing into the folder that the next start is filling."""
    first = popen(checkout)
    orphan = None
    while orphan is None:
        running = psutil.Process(first.pid).children(recursive=True)
        orphan = next((each for each in running if "venv" in each.cmdline()), None)
    orphan.suspend()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = popen(checkout)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)
    orphan.resume()
    assert second.communicate(timeout=120)[0].startswith("started with 1.0")


def test_two_starts_at_once_install_once(checkout: Path) -> None:
    both = [popen(checkout), popen(checkout)]
    answers = [each.communicate(timeout=120) for each in both]
    assert all(out.startswith("started with 1.0") for out, _ in answers)
    assert sum("installing 1 packages" in err for _, err in answers) == 1


def test_what_cannot_be_installed_is_said_in_one_line(checkout: Path) -> None:
    pin(checkout, "3.0")
    status, out, err = start(checkout)
    assert (status, out) == (1, "")
    assert "installing failed: No matching distribution found for tinypackage==3.0" in err.splitlines()[-1]
    pin(checkout, "2.0")
    assert start(checkout)[1].startswith("started with 2.0")


def test_a_python_without_venv_is_told_what_to_install(checkout: Path) -> None:
    (checkout / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")
    probe = [sys.executable, str(checkout / "manage.py")]
    more = {**environment(checkout), "PYTHONPATH": str(checkout)}
    done = subprocess.run(probe, env=more, capture_output=True, text=True, check=False)
    name = f"python3.{sys.version_info[1]}-venv"
    assert done.stderr.endswith(f"this Python has no ensurepip module; `apt install {name}` brings it\n")


def test_without_a_pip_outside_one_is_put_inside(checkout: Path) -> None:
    (checkout / "no-pip").mkdir()
    (checkout / "no-pip" / "pip.py").write_text("raise SystemExit('no pip here')\n")
    more = {**environment(checkout), "PYTHONPATH": str(checkout / "no-pip")}
    probe = (
        "import sys, runpy; sys.argv = ['manage.py']; import agentsec_site.bootstrap as b; print(b._pip()[0])"
    )
    start(checkout)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=checkout, env=more, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(checkout / ".venv" / "bin" / "python"), done.stderr


def test_the_tests_bring_their_own_requirements(checkout: Path) -> None:
    wheel(checkout / "wheels", "1.0")
    (checkout / "requirements-dev.txt").write_text("missing-package==9\n")
    assert start(checkout, "up")[0] == 0
    assert "missing-package==9" in start(checkout, "test")[2]
