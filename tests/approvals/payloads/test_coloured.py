"""Colours of programs: what takes its time, and what it leaves plain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from approvals.payloads import coloured
from approvals.payloads.parts import Value

UPDATE = "UPDATE prices SET amount = 2 WHERE kind = 'lamp'"


def test_the_first_text_of_a_process_is_coloured_whole_however_long_its_lexer_takes_to_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, load = [0.0], coloured.get_lexer_by_name

    def slowly(name: str) -> Any:
        clock[0] += 10 * coloured.MOST_SECONDS
        return load(name)

    monkeypatch.setattr(coloured, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(coloured, "get_lexer_by_name", slowly)
    coloured._lexer.cache_clear()
    shown = coloured.code(Value(UPDATE), "sql")
    assert (shown.note, shown.runs[-1][2]) == ("", "hl-string")
