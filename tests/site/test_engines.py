"""Services that were killed are started again, whatever ends by itself meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentsec_site import embedded, engines, supervisor
from agentsec_site.home import Home, SetupError


def test_a_stray_that_ends_by_itself_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends of a killed server leave on their own, between being found and being told to."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        stray = psutil.Process(child.pid)
    monkeypatch.setattr(psutil, "process_iter", lambda: [stray])
    monkeypatch.setattr(engines, "_works_in", lambda process, data: True)
    stale = tmp_path / "postgres" / "postmaster.pid"
    stale.parent.mkdir()
    stale.touch()
    engines.end_strays(Home(root=tmp_path, state=tmp_path, run=tmp_path, account=None))
    assert not stale.exists()


def test_services_that_do_not_start_at_once_do_not_end_the_instance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(services: Any) -> bool:
        raise SetupError("the disk is full")

    class Instance:
        services = None

    monkeypatch.setattr(embedded, "heal", refuse)
    pauses = [0.0]
    for _ in range(6):
        pauses.append(supervisor._heal(Instance(), pauses[-1]))  # type: ignore[arg-type]
    told = capsys.readouterr()
    assert "tried again in 1 s: the disk is full" in told.out + told.err
    assert pauses == [0, 1, 2, 4, 8, 10, 10]
