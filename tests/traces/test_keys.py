"""Keys are made once, kept, and never silently replaced."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from traces import keys


@pytest.fixture
def home(tmp_path: Path, settings: Any) -> Path:
    settings.AGENTSEC_KEK = tmp_path / "keys" / "kek.key"
    settings.AGENTSEC_LOG_KEY = tmp_path / "keys" / "log.key"
    settings.AGENTSEC_LOG_PUBLIC_KEY = tmp_path / "keys" / "log.pub"
    return tmp_path


def contents(home: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (home / "keys").iterdir()}


def test_a_first_start_makes_three_files(home: Path) -> None:
    keys.ensure(home)
    assert set(contents(home)) == {"kek.key", "log.key", "log.pub"}


def test_they_are_for_us_alone(home: Path) -> None:
    keys.ensure(home)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / "keys").iterdir()}
    assert (modes, stat.S_IMODE((home / "keys").stat().st_mode)) == ({0o600}, 0o700)


def test_a_second_start_keeps_them(home: Path) -> None:
    keys.ensure(home)
    before = contents(home)
    keys.ensure()
    assert contents(home) == before


def test_what_is_signed_verifies_with_the_public_file(home: Path) -> None:
    keys.ensure(home)
    assert keys.signer().verifier_key == keys.verifier_key()


def test_starts_at_once_agree(home: Path) -> None:
    threads = [threading.Thread(target=keys.ensure, args=(home,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (keys.signer().verifier_key, len(contents(home))) == (keys.verifier_key(), 3)


def test_a_start_that_died_half_way_goes_on(home: Path) -> None:
    keys.ensure(home)
    (home / "keys" / "log.pub").unlink()
    keys.ensure(home)
    assert keys.signer().verifier_key == keys.verifier_key()


def test_a_lost_kek_is_not_replaced(home: Path) -> None:
    keys.ensure(home)
    (home / "keys" / "kek.key").unlink()
    with pytest.raises(ImproperlyConfigured, match="restore it"):
        keys.ensure(home)


def test_a_host_without_the_signing_key_starts(home: Path) -> None:
    keys.ensure(home)
    (home / "keys" / "log.key").unlink()
    keys.ensure(home)
    assert not (home / "keys" / "log.key").exists()


@pytest.mark.parametrize("content", ["", "AAAA", "not base64!", "\xff"])
def test_a_malformed_kek_ends_the_start(home: Path, content: str) -> None:
    keys.ensure(home)
    (home / "keys" / "kek.key").write_text(content)
    with pytest.raises(ImproperlyConfigured):
        keys.kek()


@pytest.mark.parametrize("content", ["", "AAAA", "PRIVATE+KEY+x+00000000+AAAA", "\xff"])
def test_a_malformed_signing_key_ends_the_start(home: Path, content: str) -> None:
    keys.ensure(home)
    (home / "keys" / "log.key").write_text(content)
    with pytest.raises(ImproperlyConfigured):
        keys.signer()


def test_a_missing_key_ends_the_start_in_one_line(home: Path) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        keys.signer()
    assert "\n" not in str(caught.value)


def test_another_origin_than_the_key_s_ends_the_start(home: Path, settings: Any) -> None:
    keys.ensure(home)
    settings.AGENTSEC_LOG_ORIGIN = "other.example/log"
    with pytest.raises(ImproperlyConfigured):
        keys.signer()
