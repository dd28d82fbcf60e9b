"""Whatever is thrown at the door, the answer is a clear 4xx: never a 500, never a guess."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals.models import Action
from tests.gateway.caller import answer
from tests.gateway.conftest import Door
from tests.lengths import tries

ID = str(uuid4())
WRITES = [
    ("agent", "/sessions"),
    ("agent", "/sessions/{session}/events"),
    ("agent", "/actions"),
    ("agent", "/actions/{action}/result"),
    ("agent", "/actions/{action}/cancel"),
    ("agent", "/firewall/inspect"),
    ("approver", "/actions/{action}/decision"),
]
MALFORMED = {
    "nothing but a bracket": b"{",
    "text after the value": b"{} {}",
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "bad UTF-8": b'{"a": "\xff\xfe"}',
    "an overlong encoding": b'{"a": "\xc0\x80"}',
    "an encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"text": "\\ud800", "purpose": "\\udc00"}',
    "a duplicate key": b'{"kind": "reasoning", "kind": "user_message"}',
    "a duplicate key by escape": b'{"kind": "a", "\\u006bind": "b"}',
    "NaN": b'{"wait": NaN}',
    "Infinity": b'{"wait": -Infinity}',
    "a number beyond floats": b'{"wait": 1e999}',
    "an integer beyond 2^53": b'{"wait": 9007199254740993}',
    "a million digits": b'{"wait": ' + b"9" * 1_000_000 + b"}",
    "100,000 arrays": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth inside a field": b'{"args": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // hi",
    "a form": b"session=1&tool=x",
}
WRONG = {
    "an array": [],
    "a string": "x",
    "a number": 1,
    "null": None,
    "true": True,
    "an unknown field": {"colour": "red"},
    "an unknown field of another call": {
        "session": ID,
        "tool": "x",
        "args": {},
        "verdict": "approve",
        "is_admin": True,
    },
}
FIELDS = [
    ("/sessions", {"purpose": 1}),
    ("/sessions", {"purpose": None}),
    ("/sessions", {"purpose": "a\x00b"}),
    ("/sessions", {"purpose": "a" * 10_001}),
    ("/sessions", {"user": ["x"]}),
    ("/sessions", {"user": "a\nb"}),
    ("/sessions", {"parent": "x"}),
    ("/sessions", {"parent": 7}),
    ("/sessions", {"parent": "' OR 1=1"}),
    ("/sessions/{session}/events", {"kind": "confession", "text": "x"}),
    ("/sessions/{session}/events", {"kind": "reasoning"}),
    ("/sessions/{session}/events", {"text": "x"}),
    ("/sessions/{session}/events", {"kind": "reasoning", "text": 1}),
    ("/sessions/{session}/events", {"kind": "tool_result", "text": "x", "tool": "a\x00"}),
    ("/sessions/{session}/events", {"kind": "reasoning", "text": "x", "quoted": [[0, 1]] * 1001}),
    ("/actions", {"tool": "email.send", "args": {}}),
    ("/actions", {"session": ID, "args": {}}),
    ("/actions", {"session": ID, "tool": "email.send"}),
    ("/actions", {"session": ID, "tool": "", "args": {}}),
    ("/actions", {"session": ID, "tool": 1, "args": {}}),
    ("/actions", {"session": ID, "tool": "x", "args": []}),
    ("/actions", {"session": ID, "tool": "x", "args": "{}"}),
    ("/actions", {"session": ID, "tool": "a" * 101, "args": {}}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "wait": -1}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "wait": "5"}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "not_before": "soon"}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "not_before": "2030-02-31T00:00:00Z"}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "idempotency_key": "a\x00"}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "idempotency_key": "a" * 201}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "tool_call_id": 1}),
    ("/actions", {"session": ID, "tool": "x", "args": {}, "reason": "a\x00"}),
    ("/actions/{action}/result", {"status": "maybe"}),
    ("/actions/{action}/result", {}),
    ("/actions/{action}/result", {"status": "succeeded", "grant": "x"}),
    ("/actions/{action}/cancel", {"why": "x"}),
    ("/firewall/inspect", {"direction": "up", "text": "x"}),
    ("/firewall/inspect", {"direction": "input"}),
    ("/firewall/inspect", {"direction": "input", "text": "x", "source": 3}),
]
VOTES = [
    {},
    {"verdict": "approve"},
    {"verdict": "maybe", "digest": "0" * 64},
    {"verdict": "approve", "digest": "x"},
    {"verdict": "approve", "digest": "A" * 64},
    {"verdict": "approve", "digest": "0" * 64 + "\n"},
    {"verdict": "approve", "digest": "0" * 64, "args": []},
    {"verdict": "approve", "digest": "0" * 64, "comment": 1},
    {"verdict": "approve", "digest": "0" * 64, "comment": "\x00"},
    {"verdict": "approve", "digest": 0},
]


METHODS = ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "{}"]
MEDIA = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "",
    "text/json",
    "application/json; charset=latin-1",
    "application/jsonp",
]
NOWHERE = [
    "/",
    "/nothing",
    "/actions/",
    "/actions/x",
    "/actions/%00",
    "/actions/%ff%fe",
    f"/actions/{ID}x",
    "/actions/../sessions",
    "/log/tile/0/%00",
    "/sessions//events",
    f"/actions/{ID}/artifacts/",
    "/inbox/",
    "/actions/é",
    "/actions/\u202e",
    f"/actions/{ID}",
    f"/log/proof/{ID}",
]
NAMES = ["x", "%00", "..%2f..%2fetc%2fpasswd", "../../x", "a%0d%0ab", "%ff", "a" * 5000]
WAITS = ["x", "-1", "nan", "inf", "1e999", "", "%00", "[]", "9" * 5000]
SIZES = ["0", "201", "x", "1.5", "9" * 5000, "%00", "-1"]


@dataclass
class Places:
    """The cast with an action that waits; paths and callers for it."""

    door: Door
    action: Action

    def path(self, path: str) -> str:
        return path.format(session=self.action.session_id, action=self.action.pk)

    def call(self, who: str, path: str, raw: bytes, **more: Any) -> Any:
        return getattr(self.door, who).call(more.pop("method", "POST"), self.path(path), raw, **more)

    def status(self, who: str, path: str, raw: bytes, **more: Any) -> tuple[int, str]:
        status, told = answer(self.call(who, path, raw, **more))
        return status, told.get("code", "")


@pytest.fixture
def places(door: Door) -> Places:
    return Places(door, door.cast.mass_mail())


def test_what_cannot_be_read_is_400(places: Places) -> None:
    found = {
        (path, name): places.status(who, path, raw) for who, path in WRITES for name, raw in MALFORMED.items()
    }
    assert found == dict.fromkeys(found, (400, "malformed"))


def test_what_has_another_shape_is_422(places: Places) -> None:
    found = {
        (path, name): places.status(who, path, json.dumps(body).encode())
        for who, path in WRITES
        for name, body in WRONG.items()
    }
    assert found == dict.fromkeys(found, (422, "invalid"))


def test_a_wrong_field_is_named(places: Places) -> None:
    for path, body in FIELDS:
        status, told = places.door.agent.post(places.path(path), body)
        assert (status, told["code"]) == (422, "invalid"), (path, body, told)
        assert all(item["pointer"].startswith("/") for item in told["errors"]), told


def test_a_wrong_vote_is_refused(places: Places) -> None:
    path = "/actions/{action}/decision"
    assert {places.status("approver", path, json.dumps(body).encode()) for body in VOTES} == {
        (422, "invalid")
    }


def test_an_empty_body_is_422_where_fields_are_needed(places: Places) -> None:
    found = {path: places.status(who, path, b"") for who, path in WRITES if not path.endswith("/cancel")}
    assert found == dict.fromkeys(found, (422, "invalid"))


def test_another_media_type_is_415(places: Places) -> None:
    found = {
        (path, media): places.status(who, path, b"{}", **{"Content-Type": media})
        for who, path in WRITES
        for media in MEDIA
    }
    assert found == dict.fromkeys(found, (415, "media_type"))


def test_a_compressed_body_is_415(places: Places) -> None:
    body = gzip.compress(b"{}")
    found = {path: places.status(who, path, body, **{"Content-Encoding": "gzip"}) for who, path in WRITES}
    assert found == dict.fromkeys(found, (415, "media_type"))


def test_a_body_beyond_the_limit_is_413(places: Places) -> None:
    body = b'{"purpose": "' + b"a" * (5 << 20) + b'"}'
    found = {path: places.status(who, path, body) for who, path in WRITES}
    assert found == dict.fromkeys(found, (413, "too_large"))


def test_a_duplicate_key_among_a_hundred_thousand_is_found_at_once(places: Places) -> None:
    keys = b",".join(b'"%x":0' % number for number in range(100_000))
    began = time.monotonic()
    assert places.status("agent", "/sessions", b"{" + keys + b',"1869f":1}') == (400, "malformed")
    assert time.monotonic() - began < 5


def test_another_method_is_405_and_names_the_right_one(places: Places) -> None:
    for who, path in WRITES:
        for method in METHODS:
            if (method, path) == ("DELETE", "/actions/{action}/decision"):
                continue  # one's own vote is taken back
            response = places.call(who, path, b"", method=method)
            assert response.status_code == 405 and "POST" in response["Allow"].split(", "), (method, path)
            assert response["Content-Type"] == "application/problem+json"


def test_an_unknown_address_is_404(places: Places) -> None:
    found = {path: places.door.auditor.get(path)[0] for path in NOWHERE}
    assert found == dict.fromkeys(found, 404)


def test_an_unknown_artifact_is_404(places: Places) -> None:
    found = {
        name: places.door.agent.get(places.path("/actions/{action}/artifacts/") + name)[0] for name in NAMES
    }
    assert found == dict.fromkeys(found, 404)


def test_a_wrong_wait_is_422(places: Places) -> None:
    found = {wait: places.door.agent.get(places.path("/actions/{action}?wait=") + wait)[0] for wait in WAITS}
    assert found == dict.fromkeys(found, 422)


def test_a_wrong_page_size_is_422(places: Places) -> None:
    found = {size: places.door.approver.get(f"/inbox?limit={size}")[0] for size in SIZES}
    assert found == dict.fromkeys(found, 422)


def test_a_foreign_host_is_a_problem_too(door: Door) -> None:
    response = door.agent.client.get("/api/v1/inbox", headers={"host": "evil.example"})
    assert answer(response)[0] == 400


def test_a_problem_never_repeats_a_huge_field_name(door: Door) -> None:
    response = door.agent.call("POST", "/sessions", {"k" * 500_000: 1, **{f"f{n}": 1 for n in range(5000)}})
    assert answer(response)[0] == 422
    assert len(response.content) < 20_000


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
CALLS: dict[str, dict[str, Any]] = {
    "/sessions": {"purpose": ANY_JSON, "user": ANY_JSON, "external_id": ANY_JSON},
    "/sessions/{session}/events": {
        "kind": st.sampled_from(["reasoning", "tool_result", "user_message"]),
        "text": st.text(),
        "tool": st.text(max_size=5),
        "quoted": ANY_JSON,
    },
    "/actions": {
        "session": st.just("{session}"),
        "tool": st.sampled_from(["email.send", "script.run", "deploy", "x", "a\ud7ff"]),
        "args": st.dictionaries(
            st.sampled_from(["to", "subject", "body", "code", "target", "$file", "x"]), ANY_JSON
        ),
        "reason": st.text(max_size=20),
        "not_before": ANY_JSON,
    },
    "/actions/{action}/result": {"status": st.just("succeeded"), "output": ANY_JSON},
    "/firewall/inspect": {
        "direction": st.sampled_from(["input", "output"]),
        "text": st.text(),
        "source": st.text(),
    },
    "/actions/{action}/decision": {
        "verdict": st.just("approve"),
        "digest": st.just("{digest}"),
        "args": ANY_JSON,
        "comment": st.text(),
        "confirm": ANY_JSON,
    },
}


@pytest.mark.parametrize("path", CALLS)
@settings(max_examples=tries(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_plausible_garbage_is_never_a_500(places: Places, path: str, data: st.DataObject) -> None:
    door, action = places.door, places.action
    shape = CALLS[path]
    body = data.draw(st.fixed_dictionaries({}, optional=shape) | st.fixed_dictionaries(shape))
    names = {"{session}": str(action.session_id), "{digest}": action.digest}
    sent = {key: names.get(value, value) if isinstance(value, str) else value for key, value in body.items()}
    who = door.approver if path.endswith("/decision") else door.agent
    target = path.format(session=action.session_id, action=action.pk)
    assert answer(who.call("POST", target, sent))[0] < 500


@settings(max_examples=tries(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200), path=st.sampled_from([path for _, path in WRITES]))
def test_noise_is_never_a_500(door: Door, raw: bytes, path: str) -> None:
    target = path.format(session=ID, action=ID)
    assert 400 <= answer(door.agent.call("POST", target, raw or b"x"))[0] < 500
