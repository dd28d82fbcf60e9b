"""Calling the API the way agents and reviewers' scripts do."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

MAIL = {"to": ["a@example.com"], "subject": "Hi", "body": "x"}


class Caller:
    """Somebody with a bearer credential, and the answers as (status, JSON)."""

    def __init__(self, token: str = "") -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call with a JSON body, or with raw bytes as they are; the response."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {**self.headers, "Content-Type": "application/json", **headers}
        media = sent.pop("Content-Type")
        return self.client.generic(method, f"/api/v1{path}", raw, content_type=media, headers=sent)

    def get(self, path: str) -> tuple[int, Any]:
        return answer(self.call("GET", path))

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        return answer(self.call("POST", path, body))

    def delete(self, path: str) -> tuple[int, Any]:
        return answer(self.call("DELETE", path))

    def session(self, **about: Any) -> str:
        return str(self.post("/sessions", about)[1]["id"])

    def propose(self, tool: str, args: dict[str, Any], **more: Any) -> tuple[int, Any]:
        """A call in a session of its own, unless `more` names one."""
        return self.post(
            "/actions",
            {"session": more.pop("session", None) or self.session(), "tool": tool, "args": args, **more},
        )


def answer(response: Any) -> tuple[int, Any]:
    """Status and JSON of a response; every refusal must be a problem document that repeats its status."""
    if response.status_code >= 400:
        assert response["Content-Type"] == "application/problem+json", response.content[:300]
        told = response.json()
        assert told["status"] == response.status_code, told
        assert told["title"] and told["detail"] and told["type"].startswith("http"), told
    body = response.content
    return response.status_code, json.loads(body) if body else None
