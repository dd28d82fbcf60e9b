"""The system's packages that no wheel can bring: bubblewrap, and Chromium for the browser tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
FONTS = Path("/usr/share/fonts")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Missing:
    """Packages that are not there, what is lost without them, and the one line that would bring them."""

    packages: tuple[str, ...]
    reason: str

    @property
    def line(self) -> str:
        command = f"apt-get install {' '.join(self.packages)}"
        sudo = "" if os.geteuid() == 0 else "sudo "
        return f"{self.reason}; run `{sudo}{command}` (or your system's equivalent)"


def chromium() -> str:
    """The path of a Chromium, or an empty string."""
    return next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), "")


def missing_for_demo() -> list[Missing]:
    if shutil.which("bwrap"):
        return []
    return [Missing(("bubblewrap",), "no bubblewrap: the sandbox refuses every job")]


def missing_for_tests() -> list[Missing]:
    missing = missing_for_demo()
    if not chromium():
        missing.append(
            Missing(("chromium", "fonts-dejavu-core"), "no Chromium: the browser tests are skipped")
        )
    elif not any(FONTS.rglob("*.[to]tf")):
        missing.append(Missing(("fonts-dejavu-core",), "no font: pages in the browser tests have no text"))
    return missing


def install(missing: Sequence[Missing], *, say: Say) -> list[Missing]:
    """Install what is missing where allowed (root on Debian or Ubuntu); say and return what is left."""
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        names = [name for each in missing for name in each.packages]
        say(f"Installing {' '.join(names)} …")
        _apt_get(names, say)
    left = [each for each in missing if not _there(each)]
    for each in left:
        say(each.line)
    return left


def _there(each: Missing) -> bool:
    return each not in missing_for_tests()


def _apt_get(names: Sequence[str], say: Say) -> None:
    """Install from the lists at hand, and where they are absent or too old, from fresh ones."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    if _quietly(command).returncode == 0:
        return
    say("  the package lists are missing or old; fetching them …")
    _quietly(["apt-get", "update"])
    done = _quietly(command)
    if done.returncode:
        lines = [
            line for line in done.stderr.splitlines() if line.startswith("E:")
        ] or done.stderr.splitlines()
        say(f"  apt-get failed: {lines[0] if lines else done.returncode}")


def _quietly(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    # Another apt-get (unattended upgrades, say) may hold the lock for a while.
    with_patience = [command[0], "-o", "DPkg::Lock::Timeout=60", *command[1:]]
    return subprocess.run(
        with_patience, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
