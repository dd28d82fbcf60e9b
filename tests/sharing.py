"""Instances that files of tests share: they end with the last of those files, not with the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_running: list[Callable[[], None]] = []


def shared(request: pytest.FixtureRequest) -> None:
    """Let the fixture that asks be ended by `end`; it begins anew where a later test wants it."""
    fixture = request._fixturedef
    _running.append(lambda: fixture.finish(request))


def end() -> None:
    """End what runs. An instance that idled to the end of the run would take a tenth of a core meanwhile."""
    while _running:
        _running.pop()()
