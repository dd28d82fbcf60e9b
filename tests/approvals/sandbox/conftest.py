"""Leave out the abuse programs where they are absent, and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
ABUSE = Path(os.environ.get("AGENTSEC_ABUSE_DIR", REPOSITORY.parent / "shared" / "abuse"))

collect_ignore = [] if any(ABUSE.glob("*.py")) else ["test_abuse.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if collect_ignore:
        terminalreporter.write_line(
            f"NOT RUN: the sandbox's abuse programs are absent ({ABUSE})", yellow=True
        )
