"""Headers by which a server would answer for another method, path or host than the one that was let out."""

from __future__ import annotations

import pytest

from approvals.executors import http
from policies.tooling import ToolDef
from tests.approvals.egress.kit import door
from tests.approvals.egress.test_proxy import server
from tests.receiver import Receiver

__all__ = ["server"]
OTHER = [
    "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE",
    "x-original-url: /admin", "X-Rewrite-URL: /admin", "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /admin", "X-Forwarded-For: 127.0.0.1",
    "X-Host: evil.example", "Forwarded: host=evil.example", "X-Amz-Copy-Source: /b/secret", "Proxy: evil:80",
]  # fmt: skip
UNLIKE = [
    "Transfer_Encoding: chunked", "Content_Length: 50", "X_Kept: 1", "X.Kept: 1", "X!: 1", "A" * 300 + ": 1",
]  # fmt: skip


@pytest.mark.parametrize("line", ["GET http://{}/*", "http://{}/v1/*"])
def test_a_line_on_method_or_path_is_not_passed_by_a_header(server: Receiver, line: str) -> None:
    host = f"api.example:{server.port}"
    with door(line.format(host)) as out:
        got = [out.get(f"http://{host}/v1/x", each) for each in OTHER + UNLIKE]
    assert server.got == [] and {each[:12] for each in got} == {b"HTTP/1.1 403"}
    assert b"x-http-method-override could change what it asks for" in got[0]
    assert [told.kind for told in out.gate.told] == ["refused"] * len(got)


def test_where_nothing_is_restricted_only_odd_names_are_refused(server: Receiver) -> None:
    host = f"api.example:{server.port}"
    with door(f"http://{host}/*") as out:
        assert out.get(f"http://{host}/", *OTHER[:12]).startswith(b"HTTP/1.1 204")
        assert all(out.get(f"http://{host}/", each).startswith(b"HTTP/1.1 403") for each in UNLIKE)
    assert len(server.got) == 1 and server.got[0].headers["x-http-method"] == "DELETE"


def test_usual_headers_pass(server: Receiver) -> None:
    host = f"api.example:{server.port}"
    usual = ["Accept: */*", "X-Request-ID: 1", "X-API-Key: k", "Idempotency-Key: 1", "If-None-Match: x",
             "Content-Type: text/plain", "User-Agent: me", "X-Client-Name: me", "Origin: x"]  # fmt: skip
    with door(f"GET http://{host}/v1/*") as out:
        assert out.get(f"http://{host}/v1/x", *usual).startswith(b"HTTP/1.1 204")


def test_an_http_call_with_one_is_blocked_when_it_is_judged() -> None:
    held = ToolDef("it", runs="http", config={"egress": ["GET https://api.example/v1/*"]})
    url = "https://api.example/v1/a"
    assert http.hindrance({"url": url}, held) == ""
    assert "could change" in http.hindrance({"url": url, "headers": {"X-Original-URL": "/admin"}}, held)
