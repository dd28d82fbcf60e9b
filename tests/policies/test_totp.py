"""Codes of authenticator apps, as the standard computes them."""

from __future__ import annotations

import base64

import pytest

from policies import totp

# RFC 6238 appendix B, SHA-1; of its eight digits the last six.
SECRET = base64.b32encode(b"12345678901234567890").decode()
TIMES = {
    59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037",
    20000000000: "353130",
}  # fmt: skip


@pytest.mark.parametrize(("at", "code"), TIMES.items())
def test_the_standard_s_examples(at: int, code: str) -> None:
    assert totp.code(SECRET, at // 30) == code


@pytest.mark.parametrize(("late", "taken"), [(-61, False), (-30, True), (0, True), (30, True), (61, False)])
def test_a_code_is_taken_a_step_early_or_late(late: int, taken: bool) -> None:
    now = 1_700_000_010
    given = totp.code(SECRET, (now + late) // 30)
    assert (totp.matching_step(SECRET, given, now=now) is not None) == taken


def test_a_code_is_taken_once() -> None:
    now = 1_700_000_010
    given = totp.code(SECRET, now // 30)
    step = totp.matching_step(SECRET, given, now=now)
    assert step is not None and totp.matching_step(SECRET, given, now=now, after=step) is None


@pytest.mark.parametrize("given", ["", "1", "abcdef", "٢٨٧٠٨٢", "28708", "2870822"])
def test_what_is_no_code_is_not_taken(given: str) -> None:
    assert totp.matching_step(SECRET, given, now=59) is None


def test_the_address_for_apps_survives_any_name() -> None:
    found = totp.address(SECRET, person="a b&c", site="agentsec")
    assert found == f"otpauth://totp/agentsec%3Aa%20b%26c?secret={SECRET}&issuer=agentsec"
