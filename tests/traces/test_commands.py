"""`manage.py verify` and `export`, as an operator sees them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.traces.ledger import Ledger
from traces import bundle
from traces.models import Entry


@pytest.fixture(autouse=True)
def home(settings: Any, tmp_path: Path) -> Path:
    settings.HOME = tmp_path
    return tmp_path


def verify(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("verify", *arguments, stdout=out)
    except SystemExit as done:
        return int(done.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_an_honest_log_is_verified(ledger: Ledger) -> None:
    ledger.append()
    ledger.integrate()
    ledger.append()
    assert verify()[1].startswith("VERIFIED: 1 entries, 1 more on their way into it, root ")


def test_a_changed_entry_is_named_and_fails_the_command(ledger: Ledger) -> None:
    entry = ledger.append()
    ledger.integrate()
    ledger.forge("UPDATE traces_entry SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)")
    status, told = verify()
    assert (status, f"EDITED entry {entry.uuid}" in told) == (1, True)


def test_it_remembers_what_it_saw(ledger: Ledger, home: Path) -> None:
    ledger.append()
    ledger.append()
    ledger.integrate()
    verify()
    for table in ("traces_span", "traces_leaf", "traces_tile", "traces_checkpoint", "traces_entry"):
        ledger.forge(f"DELETE FROM {table}")
    status, told = verify()
    assert (status, "TRUNCATED" in told) == (1, True)


def test_an_unreadable_memory_is_one_line(ledger: Ledger, home: Path) -> None:
    (home / "log.seen").write_text("{")
    with pytest.raises(CommandError, match="cannot be read"):
        verify()


@pytest.mark.parametrize("key", ["nonsense", "a+b+c", "/nowhere"])
def test_a_malformed_key_is_one_line(ledger: Ledger, key: str) -> None:
    with pytest.raises(CommandError, match="--key"):
        verify("--key", key)


def test_without_a_sequencer_an_export_says_so(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "WAIT_SECONDS", 0.1)
    session = ledger.session()
    with pytest.raises(CommandError, match="sequencer"):
        call_command("export", str(home / "x.zip"), str(session.pk))


def test_the_memory_is_json_with_the_newest_checkpoint(ledger: Ledger, home: Path) -> None:
    ledger.append()
    ledger.integrate()
    verify()
    assert [list(seen) for seen in json.loads((home / "log.seen").read_text()).values()] == [
        [str(Entry.objects.count())]
    ]
