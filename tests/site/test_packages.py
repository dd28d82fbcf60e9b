"""System packages: installed where that is allowed, else asked for in one line; never silently missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentsec_site import packages

# Stands for apt-get, which a test must not let loose on the machine: without lists it finds nothing.
APT_GET = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in
  *update*) touch "$0.lists" ;;
  *install*) [ -e "$0.lists" ] || { echo 'E: Unable to locate package bubblewrap' >&2; exit 100; }
             [ -e "$0.broken" ] && { echo 'E: no space left' >&2; exit 100; }
             printf '#!/bin/sh\\n' > "$(dirname "$0")/bwrap"; chmod +x "$(dirname "$0")/bwrap" ;;
esac
"""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without bubblewrap; its PATH holds an apt-get and what a shell script needs."""
    (tmp_path / "apt-get").write_text(APT_GET)
    (tmp_path / "apt-get").chmod(0o755)
    for name in ("sh", "touch", "chmod", "dirname"):
        (tmp_path / name).symlink_to(Path("/bin") / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(said: list[str]) -> list[packages.Missing]:
    return packages.install(packages.missing_for_demo(), say=said.append)


def test_root_gets_it_installed_with_fresh_lists_where_there_were_none(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said: list[str] = []
    assert install(said) == []
    assert said == ["Installing bubblewrap …", "  the package lists are missing or old; fetching them …"]


def test_a_user_is_told_the_one_line_to_run(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said: list[str] = []
    assert [each.packages for each in install(said)] == [("bubblewrap",)]
    assert len(said) == 1
    assert "run `sudo apt-get install bubblewrap`" in said[0]
    assert not (system / "apt-get.log").exists()


def test_an_installation_that_fails_is_said_with_its_reason(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (system / "apt-get.broken").touch()
    said: list[str] = []
    assert install(said)
    assert "  apt-get failed: E: no space left" in said
    assert said[-1].startswith("no bubblewrap: the sandbox refuses every job")


def test_nothing_is_run_where_nothing_is_missing(system: Path) -> None:
    (system / "bwrap").write_text("#!/bin/sh\n")
    (system / "bwrap").chmod(0o755)
    said: list[str] = []
    assert install(said) == []
    assert said == []


def test_the_tests_want_a_browser_too(system: Path) -> None:
    wanted = [name for each in packages.missing_for_tests() for name in each.packages]
    assert wanted[:2] == ["bubblewrap", "chromium"]
