"""A client of the REST door in a hundred lines of standard library: what any agent would write."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class Problem(RuntimeError):
    """An answer that is not a success: the status, the problem document, and when to try again."""

    def __init__(self, status: int, body: dict[str, Any], retry_after: str | None) -> None:
        super().__init__(f"{status}: {body.get('detail') or body.get('title') or body}")
        self.status, self.body, self.retry_after = status, body, retry_after


@dataclass(frozen=True)
class Client:
    """One key at one instance. Methods give the answer's JSON and raise Problem for any refusal."""

    base: str
    key: str

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Any:
        answer = self._send(method, path, body, raw)
        return json.loads(answer) if answer else None

    def download(self, path: str) -> bytes:
        return self._send("GET", path, None, None)

    def _send(self, method: str, path: str, body: Any, raw: bytes | None) -> bytes:
        content = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        headers = {"Authorization": f"Bearer {self.key}"}
        if content is not None:
            headers["Content-Type"] = "application/octet-stream" if raw is not None else "application/json"
        parts = urlsplit(self.base)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=90)
        try:
            connection.request(method, f"/api/v1{path}", content, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 400:
                problem = json.loads(answer) if answer.startswith(b"{") else {}
                raise Problem(response.status, problem, response.getheader("Retry-After"))
            return answer
        finally:
            connection.close()

    def open_session(self, **about: Any) -> str:
        return str(self.call("POST", "/sessions", about)["id"])

    def say(self, session: str, kind: str, text: str, **more: Any) -> Any:
        return self.call("POST", f"/sessions/{session}/events", {"kind": kind, "text": text, **more})

    def propose(self, session: str, tool: str, args: dict[str, Any], **more: Any) -> Any:
        """The action, blocked ones included: a refusal by policy is an answer, not an error."""
        try:
            return self.call("POST", "/actions", {"session": session, "tool": tool, "args": args, **more})
        except Problem as problem:
            if problem.status == 403 and "verdict" in problem.body:
                return problem.body
            raise

    def wait(self, action: str, *, seconds: int = 30) -> Any:
        """The action as soon as it changes, or after so many seconds."""
        return self.call("GET", f"/actions/{action}?wait={seconds}")

    def report(self, action: str, status: str, output: Any) -> Any:
        return self.call("POST", f"/actions/{action}/result", {"status": status, "output": output})

    def upload(self, content: bytes) -> str:
        return str(self.call("POST", "/files", raw=content)["sha256"])
