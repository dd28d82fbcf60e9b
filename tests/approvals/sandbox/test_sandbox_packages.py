"""Packages of the operator's: a script imports them, changes nothing of them, and sees none unless named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from agentsec_site import settings
from approvals import sandbox
from approvals.sandbox import Job, SandboxUnavailable, bwrap, packages

LOOKS = """
import os, subprocess, sys
try: import greeting; print(greeting.WORDS, greeting.__file__)
except ImportError as error: print(error)
print(sys.path[-1], os.path.isdir('/packages'), os.environ.get('PYTHONPATH'))
for attempt in (lambda: open('/packages/greeting/more.py', 'w'),
                lambda: os.remove('/packages/greeting/__init__.py'),
                lambda: os.chmod('/packages/greeting', 0o777), lambda: open('/packages/json.py')):
    try: attempt(); print('done')
    except OSError as error: print(error.strerror)
print(sys.modules['json'].__file__ if 'json' in sys.modules else __import__('json').__file__)
"""
ASKS = ("/usr/bin/python3", "-c", "import greeting; print(greeting.WORDS)")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the account which runs jobs can reach, as that of a test may not be."""
    with tempfile.TemporaryDirectory(prefix="packages-test-") as made:
        top = Path(made)
        top.chmod(0o755)
        for name, text in {
            "greeting/__init__.py": "WORDS = 'hello'",
            "json.py": "",
            "run.pth": "import os; 1/0",
        }.items():
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).write_text(text)
        # Where no root is, whoever made it also runs the jobs.
        for path in (top / "greeting", top):
            writable(path, yes=False)
        yield top
        for path in (top, *(each for each in top.rglob("*") if each.is_dir())):
            writable(path, yes=True)


def writable(folder: Path, *, yes: bool) -> None:
    for path in (folder, *(each for each in folder.iterdir() if each.is_file())):
        path.chmod(path.stat().st_mode | 0o200 if yes else path.stat().st_mode & ~0o222)


@pytest.fixture
def named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(packages.VARIABLE, str(folder))
    return folder


def looked() -> list[str]:
    outcome = sandbox.run(Job(source=LOOKS))
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout.splitlines()


READ_ONLY = ["Read-only file system"] * 3


def test_a_script_imports_them_last_and_changes_nothing(named: Path) -> None:
    said = looked()
    assert said[:2] == ["hello /packages/greeting/__init__.py", "/packages True /packages"]
    assert said[2:5] == READ_ONLY
    assert not said[6].startswith("/packages")


def test_it_is_the_same_in_a_sandbox_of_a_zygote(named: Path) -> None:
    alone = looked()
    with sandbox.warm(1) as pool:
        assert pool is not None and pool.wait_until_full(seconds=20)
        assert looked() == alone


def test_commands_import_them_too(named: Path) -> None:
    assert sandbox.run(Job(argv=ASKS)).stdout == "hello\n"


def test_without_them_a_script_sees_none(folder: Path) -> None:
    said = looked()
    assert said[0] == "No module named 'greeting'"
    assert said[1].endswith(" False None") and "/packages" not in said[1]
    assert "ModuleNotFoundError" in sandbox.run(Job(argv=ASKS)).stderr


def test_a_pool_uses_no_sandbox_that_was_made_of_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sandbox.warm(1) as pool:
        assert pool is not None and pool.wait_until_full(seconds=20)
        monkeypatch.setenv(packages.VARIABLE, str(folder))
        assert looked()[0].startswith("hello")


def test_reading_them_is_counted_and_not_listed(named: Path) -> None:
    outcome = sandbox.run(Job(source="import greeting"))
    assert (outcome.opened, outcome.watched.library_reads > 0) == ((), True)


def test_which_they_are_is_part_of_the_status(named: Path) -> None:
    assert sandbox.status().packages == str(named)


def find(path: object, *apart_from: Path) -> str:
    return packages.find(str(path), account=bwrap.account(), apart_from=apart_from)


def test_a_virtual_environment_stands_for_its_packages(folder: Path) -> None:
    writable(folder, yes=True)
    (folder / "pyvenv.cfg").touch()
    inside = folder / "lib/python3.11/site-packages"
    inside.mkdir(parents=True)
    (folder / "link").symlink_to(folder)
    writable(inside, yes=False)
    assert find(folder / "link") == str(inside)
    packages.fit(str(inside), version="3.11.2")
    with pytest.raises(
        SandboxUnavailable, match=r"holds packages for Python 3\.11, the sandbox has 3\.12\.1"
    ):
        packages.fit(str(inside), version="3.12.1")


def test_a_folder_that_is_none_is_refused(folder: Path) -> None:
    for given, why in {
        "some/where": "must be an absolute path",
        str(folder / "no"): "No such file",
        str(folder / "json.py"): "Not a directory",
    }.items():
        with pytest.raises(SandboxUnavailable, match=f"{packages.VARIABLE}.*{why}"):
            find(given)


@pytest.mark.parametrize("name", [".", "greeting"])
def test_a_folder_that_jobs_could_fill_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o757)
    with pytest.raises(SandboxUnavailable, match="may write"):
        find(folder)


def test_a_folder_that_jobs_cannot_read_is_refused(folder: Path) -> None:
    folder.chmod(0o550)
    with pytest.raises(SandboxUnavailable, match="cannot read"):
        packages.find(str(folder), account=60999)


def test_the_sites_own_folders_are_refused(folder: Path) -> None:
    for own in (folder, folder / "greeting", folder.parent):
        with pytest.raises(SandboxUnavailable, match="must lie apart from"):
            find(folder, own)


def test_the_site_does_not_start_with_its_own_home_for_packages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(packages.VARIABLE, str(folder))
    assert settings.sandbox_packages() == str(folder)
    monkeypatch.setattr(settings, "HOME", folder)
    with pytest.raises(ImproperlyConfigured, match="must lie apart from"):
        settings.sandbox_packages()


def test_what_is_refused_keeps_every_job_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(packages.VARIABLE, "/no/such/folder")
    assert sandbox.status().reason.startswith(packages.VARIABLE)
    with pytest.raises(SandboxUnavailable):
        sandbox.run(Job(source="pass"))
