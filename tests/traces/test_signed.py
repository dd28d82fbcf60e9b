"""A decision signed by a passkey: it is its voter's word on exactly this call, and nobody makes it later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tests.authenticator import PRESENT, VERIFIED, Authenticator
from traces import signed
from traces.passkeys import DOMAIN, Passkey, challenge, challenge_of, check, is_origin
from traces.signatures import Invalid
from traces.signed import forgeries

DIGEST, OTHER = "ab" * 32, "cd" * 32
SAID: dict[str, Any] = {"verdict": "approve", "digest": DIGEST, "comment": "fine", "revision": 1}
MINE = challenge(**SAID, user="user:3")


def passkey(device: Authenticator, user: str = "user:3") -> Passkey:
    return Passkey(user, device.id, device.jwk, device.rp_id)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.integers(1, 2**31))
def test_the_challenge_is_the_hash_of_canonical_json(comment: str, revision: int) -> None:
    said = {**SAID, "comment": comment, "revision": revision, "user": "user:3"}
    assert challenge(**said) == hashlib.sha256(DOMAIN + rfc8785.dumps(said)).digest()


@pytest.mark.parametrize(
    "other",
    [
        {"digest": OTHER}, {"verdict": "reject"}, {"comment": ""}, {"comment": "fine "}, {"revision": 2},
        {"user": "user:4"},
    ],
)  # fmt: skip
def test_each_part_of_a_decision_is_in_its_challenge(other: dict[str, Any]) -> None:
    assert challenge(**{**SAID, "user": "user:3", **other}) != MINE


def test_what_is_no_text_is_never_signed() -> None:
    with pytest.raises(Invalid):
        challenge(**{**SAID, "comment": "\ud800"}, user="user:3")


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "RS256"])
def test_a_passkey_of_each_kind_signs(kind: str) -> None:
    device = Authenticator(kind)
    check(device.sign(MINE), passkey=passkey(device), wanted=MINE)


BAD: dict[str, dict[str, Any]] = {
    "not verified": {"flags": PRESENT},
    "nobody present": {"flags": VERIFIED},
    "neither": {"flags": 0},
    "a sign-in's type": {"type": "webauthn.create"},
    "a payment's type": {"type": "payment.get"},
    "another site's hash": {"rp_id": "evil.example"},
    "another origin": {"origin": "https://evil.example"},
    "a subdomain": {"origin": "http://evil.localhost:8000"},
    "a host that only begins so": {"origin": "http://localhost.evil.example"},
    "no origin": {"origin": ""},
    "another scheme": {"origin": "file://localhost"},
    "in a frame of another site": {"cross": True},
}


@pytest.mark.parametrize("other", BAD.values(), ids=BAD.keys())
def test_a_signature_made_elsewhere_or_by_nobody_does_not_count(other: dict[str, Any]) -> None:
    device = Authenticator()
    with pytest.raises(Invalid):
        check(device.sign(MINE, **other), passkey=passkey(device), wanted=MINE)


@pytest.mark.parametrize("name", ["client_data", "authenticator_data", "signature", "credential"])
@pytest.mark.parametrize("value", [None, "", "AA", "===", 7, [], "A" * 90])
def test_garbage_is_refused_and_never_a_crash(name: str, value: Any) -> None:
    device = Authenticator()
    with pytest.raises(Invalid):
        check({**device.sign(MINE), name: value}, passkey=passkey(device), wanted=MINE)


@pytest.mark.parametrize(
    ("origin", "rp_id", "own"),
    [
        ("https://agents.example", "agents.example", True),
        ("https://agents.example:8443", "agents.example", True),
        ("http://agents.example", "agents.example", False),
        ("http://localhost:1", "localhost", True),
        ("https://x.agents.example", "agents.example", False),
        ("https://agents.example@evil.example", "agents.example", False),
        ("https://[", "agents.example", False),
        (None, "agents.example", False),
    ],
)
def test_an_origin_is_the_site_s_own_host(origin: Any, rp_id: str, own: bool) -> None:
    assert is_origin(origin, rp_id) == own


@dataclass(frozen=True)
class Line:
    meta: dict[str, Any]
    index: int
    payload: str | None


class Log:
    """A log as a bundle would prove it: one action asked of finance with step-up, and what its people did."""

    def __init__(self, quorum: int = 1) -> None:
        self.lines: list[Line] = []
        self.mina, self.pete = Authenticator(), Authenticator("EdDSA")
        self.keys = {
            "user:3": (self.mina, self.add(self.mina, "user:3")),
            "user:4": (self.pete, self.add(self.pete, "user:4")),
        }
        self.ask(DIGEST, quorum)

    def write(self, kind: str, actor: str, body: dict[str, Any], action: str | None = "act") -> str:
        entry = f"e{len(self.lines)}"
        meta = {"id": entry, "kind": kind, "actor": actor, "action": action}
        self.lines.append(Line(meta, len(self.lines), json.dumps({"body": body})))
        return entry

    def add(self, device: Authenticator, user: str, by: str = "") -> str:
        held = {"user": user, "credential": device.id, "key": device.jwk, "rp_id": device.rp_id}
        return self.write(signed.ADDED, by or user, held, None)

    def ask(self, digest: str, quorum: int = 1, kind: str = "action.pending") -> None:
        approvals = [
            {"group": "finance", "quorum": quorum, "step_up": True},
            {"group": "comms", "quorum": 1, "step_up": False},
        ]
        self.write(kind, "agentsec", {"approvals": approvals, "digest": digest})

    def vote(self, user: str = "user:3", **other: Any) -> str:
        device, entry = self.keys[user]
        body = {**SAID, "group": "finance", **other.pop("body", {})}
        signature = {**device.sign(challenge_of(body, user)), "passkey": entry, **other.pop("signature", {})}
        return self.write(signed.VOTE, user, {**body, "signature": signature, **other})

    def ready(self, digest: str = DIGEST) -> str:
        return self.write("action.ready", "user:3", {"digest": digest})

    def found(self, **more: Any) -> list[tuple[str, str]]:
        return [(item.entry, item.why) for item in forgeries(self.lines, **more)]


def test_what_was_signed_holds() -> None:
    log = Log(quorum=2)
    log.vote("user:3")
    log.vote("user:4", body={"comment": ""})
    log.ready()
    assert log.found() == []


def test_who_is_not_asked_to_sign_need_not() -> None:
    log = Log()
    log.vote()
    log.write(signed.VOTE, "user:9", {**SAID, "group": "comms"})
    log.ready()
    assert log.found() == []


def _unsigned(log: Log) -> str:
    return log.write(signed.VOTE, "user:3", {**SAID, "group": "finance"})


def _copied(log: Log) -> str:
    """A signature of mina's from another call, put under this one."""
    device, entry = log.keys["user:3"]
    old = device.sign(challenge(**{**SAID, "digest": OTHER}, user="user:3"))
    return log.write(
        signed.VOTE, "user:3", {**SAID, "group": "finance", "signature": {**old, "passkey": entry}}
    )


def _other_comment(log: Log) -> str:
    entry = log.vote()
    line = log.lines[-1]
    log.lines[-1] = Line(line.meta, line.index, (line.payload or "").replace('"fine"', '"pay twice"'))
    return entry


def _own_key(log: Log) -> str:
    """The server registers a key of its own for mina, in its own name."""
    device = Authenticator()
    log.keys["user:3"] = (device, log.add(device, "user:3", by="agentsec"))
    return log.vote()


def _later_key(log: Log) -> str:
    """A key for mina that is registered after the vote was written."""
    device = Authenticator()
    log.keys["user:3"] = (device, f"e{len(log.lines) + 1}")
    entry = log.vote()
    log.add(device, "user:3")
    return entry


def _other_persons_key(log: Log) -> str:
    return log.write(
        signed.VOTE, "user:3",
        {**SAID, "group": "finance", "signature": {**log.pete.sign(MINE), "passkey": log.keys["user:4"][1]}},
    )  # fmt: skip


def _key_swapped(log: Log) -> str:
    device = Authenticator()
    return log.vote(signature=device.sign(MINE))


def _removed_key(log: Log) -> str:
    log.write(signed.REMOVED, "user:3", {"passkey": log.keys["user:3"][1]}, None)
    return log.vote()


def _unknown_key(log: Log) -> str:
    return log.vote(signature={"passkey": "nowhere"})


def _rubbish(log: Log) -> str:
    return log.write(signed.VOTE, "user:3", {**SAID, "group": "finance", "signature": "yes", "revision": "x"})


FORGERIES: list[Callable[[Log], str]] = [
    _unsigned, _copied, _other_comment, _own_key, _later_key, _other_persons_key, _key_swapped, _removed_key,
    _unknown_key, _rubbish,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_vote_is_named_and_so_is_what_it_let_through(forge: Callable[[Log], str]) -> None:
    log = Log()
    vote = forge(log)
    ready = log.ready()
    assert [entry for entry, _ in log.found()] == [vote, ready]


def test_an_approval_that_nobody_gave_is_named() -> None:
    log = Log()
    ready = log.ready()
    assert log.found() == [(ready, "action.ready, but 0 of 1 people signed an approval")]


def test_one_person_s_two_votes_are_one() -> None:
    log = Log(quorum=2)
    log.vote()
    log.vote(body={"comment": "again"})
    ready = log.ready()
    assert [entry for entry, _ in log.found()] == [ready]


def test_a_vote_taken_back_lets_nothing_through() -> None:
    log = Log()
    log.write(signed.UNDONE, "user:3", {"vote": log.vote()})
    ready = log.ready()
    assert [entry for entry, _ in log.found()] == [ready]


@pytest.mark.parametrize("kind", sorted(signed.ASKED))
def test_votes_from_before_it_was_asked_again_let_nothing_through(kind: str) -> None:
    log = Log()
    log.vote()
    log.ask(DIGEST, kind=kind)
    ready = log.ready()
    assert [entry for entry, _ in log.found()] == [ready]


def test_an_edit_needs_a_signature_of_the_edited_call() -> None:
    log = Log()
    log.ask(OTHER, kind="action.edited")
    log.vote(body={"digest": OTHER, "revision": 2})
    log.ready(OTHER)
    assert log.found() == []


def test_what_nobody_was_asked_about_does_not_go() -> None:
    log = Log()
    log.vote()
    ready = log.ready(OTHER)
    assert log.found() == [(ready, "action.ready, but 0 of 1 people signed an approval")]


def test_an_edit_that_asks_fewer_people_does_not_let_it_go() -> None:
    log = Log(quorum=2)
    log.ask(OTHER, quorum=1, kind="action.edited")
    log.vote(body={"digest": OTHER, "revision": 2})
    ready = log.ready(OTHER)
    assert [entry for entry, _ in log.found()] == [ready]


def test_an_edit_that_begins_to_want_signatures_wants_none_of_what_was_said_before() -> None:
    log = Log()
    log.lines = [line for line in log.lines if line.meta["kind"] == signed.ADDED]
    log.write(
        "action.pending", "agentsec", {"approvals": [{"group": "finance", "quorum": 1}], "digest": DIGEST}
    )
    log.write(signed.VOTE, "user:9", {**SAID, "group": "finance"})
    log.ask(OTHER, kind="action.edited")
    log.vote(body={"digest": OTHER, "revision": 2})
    log.ready(OTHER)
    assert log.found() == []


def test_asking_again_without_step_up_does_not_let_it_go() -> None:
    log = Log()
    log.write(
        "action.pending", "agentsec", {"approvals": [{"group": "finance", "quorum": 1}], "digest": DIGEST}
    )
    ready = log.ready()
    assert [entry for entry, _ in log.found()] == [ready]


def test_with_pinned_passkeys_only_those_count() -> None:
    log = Log()
    device = Authenticator()
    log.keys["user:3"] = (device, log.add(device, "user:3"))
    vote = log.vote()
    pins = [passkey(log.mina), passkey(log.pete, "user:4")]
    assert (log.found(), [entry for entry, _ in log.found(pins=pins)]) == ([], [vote])


def test_a_pinned_passkey_needs_no_registration_in_the_bundle() -> None:
    log = Log()
    log.vote()
    log.lines = [line for line in log.lines if line.meta["kind"] != signed.ADDED]
    assert (len(log.found()), log.found(pins=[passkey(log.mina)])) == (1, [])


def test_entries_that_are_closed_are_passed_over() -> None:
    log = Log()
    log.vote()
    log.lines = [Line(line.meta, line.index, None) for line in log.lines]
    assert log.found() == []
