"""Signed notes, with the fast check of Ed25519 and the one that needs no library."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from traces import checkpoint, signatures, verify
from traces.checkpoint import Signer, VerifierKey

SIGNER = Signer(name="example.org/log", key=Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEY = VerifierKey(name=SIGNER.name, public=SIGNER.public)
ROOT = bytes(range(32))
NOTE = checkpoint.sign(size=7, root=ROOT, signer=SIGNER)


def test_a_checkpoint_is_read_back() -> None:
    assert checkpoint.open_checkpoint(NOTE, KEY) == verify.Checkpoint(origin=SIGNER.name, size=7, root=ROOT)


def test_the_check_without_a_library_agrees() -> None:
    assert verify.open_checkpoint(NOTE, KEY) == checkpoint.open_checkpoint(NOTE, KEY)


def test_the_key_in_text_is_read_back() -> None:
    assert VerifierKey.parse(SIGNER.verifier_key) == KEY


def test_the_signing_key_in_text_is_read_back() -> None:
    assert Signer.parse(SIGNER.signer_key).public == SIGNER.public


def test_the_text_is_that_of_the_format() -> None:
    assert NOTE.startswith(f"example.org/log\n7\n{base64.b64encode(ROOT).decode()}\n\n— example.org/log ")


def test_other_signatures_do_not_matter() -> None:
    witness = "— witness.example AAAAAAAA\n"
    assert checkpoint.open_checkpoint(NOTE + witness, KEY).size == 7


@given(st.integers(0, len(NOTE) - 1), st.characters(codec="utf-8"))
def test_a_checkpoint_with_one_character_changed_is_refused(place: int, character: str) -> None:
    forged = NOTE[:place] + character + NOTE[place + 1 :]
    if forged == NOTE:
        return
    try:
        opened = checkpoint.open_checkpoint(forged, KEY)
    except ValueError:
        return
    assert opened == checkpoint.open_checkpoint(NOTE, KEY)  # a change of what is not signed changes nothing


@given(st.text(max_size=300))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        checkpoint.open_checkpoint(text, KEY)


def test_another_logs_checkpoint_is_refused() -> None:
    other = Signer(name="other.example/log", key=SIGNER.key)
    with pytest.raises(verify.Invalid):
        checkpoint.open_checkpoint(checkpoint.sign(size=7, root=ROOT, signer=other), KEY)


def test_another_keys_checkpoint_is_refused() -> None:
    other = Signer(name=SIGNER.name, key=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(verify.Invalid):
        checkpoint.open_checkpoint(checkpoint.sign(size=7, root=ROOT, signer=other), KEY)


@settings(max_examples=10)
@given(st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_both_checks_of_ed25519_accept_a_signature(message: bytes, seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert signatures.valid_ed25519(key.public_key().public_bytes_raw(), message, key.sign(message))


@settings(max_examples=20)
@given(st.integers(0, 63), st.integers(1, 255))
def test_a_signature_with_one_byte_changed_is_refused(place: int, flip: int) -> None:
    signature = bytearray(SIGNER.key.sign(b"message"))
    signature[place] ^= flip
    assert not signatures.valid_ed25519(SIGNER.public, b"message", bytes(signature))


@pytest.mark.parametrize("length", [0, 31, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    assert not signatures.valid_ed25519(SIGNER.public, b"message", bytes(length))


@pytest.mark.parametrize("text", ["", "a+b+c", "name+00000000+" + base64.b64encode(bytes(33)).decode()])
def test_a_malformed_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak"])
def test_a_name_that_no_note_can_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Signer(name=name, key=SIGNER.key)
