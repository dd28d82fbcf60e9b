"""`runs: http`: one request, sent by the worker through the same way out as a job's.

Arguments: `url`, and if need be `method` (GET), `headers`, and `body` (text) or `json`. The tool's `egress`
says where it may go; its `headers` are added to each request and win over the call's. A secret is written
`{secret:NAME}` and put in on the way, only where a line of egress carries it.

A redirect of a GET or HEAD is followed while it stays on listed places, and never takes a header that could
identify somebody to another host. Output: status, headers and body, redacted; a body that is no text is the
artifact `body`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

from approvals.egress import authority, meaning
from approvals.egress.courier import Budget, Courier, Reply
from approvals.egress.gate import RunGate
from approvals.egress.vault import Asked, Vault
from approvals.executors.base import NotRunnable, Running, limits
from approvals.outputs import Output
from approvals.sandbox import Artifact, Limits
from policies import fetch, secrets
from policies.arguments import canonical
from policies.destinations import Destinations
from policies.tooling import ToolDef
from traces.problems import Refused

REDIRECTS = 5
LONGEST_URL = 8192
ARGUMENTS = frozenset({"method", "url", "headers", "body", "json"})
_FOLLOWED = (301, 302, 303, 307, 308)
_SHOWN = frozenset({"content-type", "content-length", "etag", "last-modified", "location", "retry-after"})
_WITHHELD = frozenset({"authorization", "cookie"})


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool
    url: str
    redirects: tuple[str, ...]


def execute(running: Running) -> Output:
    """Send what the call asks for. Raises NotRunnable, Refused."""
    asked, allowed = request(running.action.args, running.tool), _destinations(running.tool)
    bounds = limits(running.tool)
    with RunGate(running.execution, running.grant) as gate:
        courier = Courier(
            allowed, Vault.named(allowed.secrets, secrets.read), gate, Budget(bounds.network_bytes),
            authority.upstream(), bounds.wall_seconds,
        )  # fmt: skip
        running.last_look(0)
        with _stopping(running.stop, courier):
            try:
                courier.budget.spend(len(asked.body))
                return _output(_followed(asked, courier, bounds), bounds)
            except Refused:
                if running.stop.is_set():
                    return Output(False, "stopped", error="stopped")
                raise


def request(args: Mapping[str, Any], tool: ToolDef) -> Asked:
    """The request that a call's arguments stand for. Raises NotRunnable, Invalid for an address."""
    if unknown := sorted(set(args) - ARGUMENTS - {"minutes"}):
        raise NotRunnable(f"{unknown[0]!r} is no part of a request: {', '.join(sorted(ARGUMENTS))}")
    url, method = args.get("url"), args.get("method", "GET")
    if not isinstance(url, str) or not isinstance(method, str):
        raise NotRunnable("the arguments `url` and `method` are texts")
    headers = dict(_headers(args.get("headers") or {}))
    body = args.get("body")
    if "json" in args:
        if body is not None:
            raise NotRunnable("a request has a `body` or a `json`, not both")
        body = canonical(args["json"]).decode()
        headers = {"content-type": "application/json"} | headers
    if body is not None and not isinstance(body, str):
        raise NotRunnable("the argument `body` is a text; `json` takes anything")
    headers |= dict(_headers(tool.config.get("headers") or {}))
    return Asked(
        method.upper(), fetch.place(url, longest=LONGEST_URL), tuple(headers.items()), (body or "").encode()
    )


def hindrance(args: Mapping[str, Any], tool: ToolDef) -> str:
    """Why a call could never be sent, "" where it could: told when it is judged, not when it starts."""
    try:
        asked = request(args, tool)
        allowed = _destinations(tool)
        reach = allowed.of_request(asked.method, asked.where)
    except (NotRunnable, Refused, ValueError) as error:
        return error.detail if isinstance(error, Refused) else str(error)
    return reach.why or meaning.unfit(asked.headers, allowed, asked.where)


def _destinations(tool: ToolDef) -> Destinations:
    allowed = Destinations.of(tool.config.get("egress") or ())
    if unbound := sorted(set(tool.config.get("secrets") or ()) ^ allowed.secrets):
        raise NotRunnable(f"the secret {unbound[0]} is bound to no destination, or is not the tool's")
    return allowed


def _headers(given: Any) -> Iterator[tuple[str, str]]:
    pairs = given.items() if isinstance(given, Mapping) else [(None, None)]
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise NotRunnable("the argument `headers` is a mapping of texts")
        yield name.lower(), value


def _followed(asked: Asked, courier: Courier, bounds: Limits) -> _Answer:
    deadline = courier.deadline()
    passed: list[str] = []
    while True:
        with courier.sent(asked, deadline) as reply:
            answer = _read(asked, reply, bounds, tuple(passed))
        onward = _onward(asked, answer, courier)
        if onward is None or len(passed) >= REDIRECTS:
            return answer
        passed.append(onward.shown)
        asked = onward


def _onward(asked: Asked, answer: _Answer, courier: Courier) -> Asked | None:
    """The request that a redirect asks for; None where there is none, or it leads where nothing may go."""
    to = answer.headers.get("location", "")
    if answer.status not in _FOLLOWED or asked.method not in ("GET", "HEAD") or not to:
        return None
    base = f"{asked.where.scheme}://{asked.where.host_header}{asked.where.path}"
    try:
        where = fetch.place(urljoin(base, to).partition("#")[0], longest=LONGEST_URL)
    except (Refused, ValueError):
        return None
    if not courier.allowed.of_request(asked.method, where).allowed:
        return None
    same = (where.scheme, where.host, where.port) == (asked.where.scheme, asked.where.host, asked.where.port)
    kept = tuple(
        (name, value) for name, value in asked.headers
        if same or not (name in _WITHHELD or courier.vault.carries(value))
    )  # fmt: skip
    return replace(asked, where=where, headers=kept, body=b"")


def _read(asked: Asked, reply: Reply, bounds: Limits, passed: tuple[str, ...]) -> _Answer:
    most, parts, size, cut = int(bounds.output_bytes), [], 0, False
    for part in reply.parts():
        parts.append(part[: most - size])
        size += len(part)
        if cut := size > most:
            break
    headers = {name: value for name, value in reply.headers if name in _SHOWN}
    return _Answer(reply.status, headers, b"".join(parts), cut, asked.shown, passed)


def _output(answer: _Answer, bounds: Limits) -> Output:
    succeeded = 200 <= answer.status < 300 and not answer.cut
    text = _text(answer.body)
    result = {
        "status": answer.status, "headers": dict(answer.headers), "url": answer.url,
        "redirects": list(answer.redirects), "body": text, "body_truncated": answer.cut,
    }  # fmt: skip
    artifacts: tuple[Artifact, ...] = ()
    if text is None and len(answer.body) <= bounds.artifact_bytes:
        artifacts = (Artifact("body", hashlib.sha256(answer.body).hexdigest(), answer.body),)
    why = (
        ""
        if succeeded
        else "its answer is larger than output_bytes"
        if answer.cut
        else f"HTTP {answer.status}"
    )
    ended = "answered" if succeeded else f"HTTP {answer.status}"
    return Output(succeeded, ended, result, error=why, artifacts=artifacts)


def _text(body: bytes) -> str | None:
    """The body as text; None for what is none."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        # A text that was cut may end within a character.
        if error.start < len(body) - 3:
            return None
        text = body[: error.start].decode()
    return None if "\0" in text else text


@contextmanager
def _stopping(stop: threading.Event, courier: Courier) -> Iterator[None]:
    """End the request when the work must end."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if stop.is_set():
                courier.wires.cut()
                return

    thread = threading.Thread(target=watch, name="http-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


__all__ = ["execute", "hindrance", "request"]
