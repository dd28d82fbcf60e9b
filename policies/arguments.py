"""The arguments of a call: read, checked, and bound by digests to what was judged, voted on and run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.schema import check, check_schema
from policies.values import ArgumentsRefused, canonical, normalise, parse_json, pointer

__all__ = [
    "ArgumentsRefused",
    "action_digest",
    "call_digest",
    "canonical",
    "check",
    "check_schema",
    "files_in",
    "normalise",
    "parse_json",
    "pointer",
]

CALL_DOMAIN = b"agentsec/call/v1\n"
ACTION_DOMAIN = b"agentsec/action/v1\n"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def call_digest(*, agent: str, tool: str, manifest: str, args: Mapping[str, Any]) -> str:
    """What is called, by whom, with what: equal for equal calls, so that two doors recognise one call.

    `manifest` is the digest of the tool's definition. Returns 64 lower-case hex digits of
    SHA-256(CALL_DOMAIN ‖ JCS). Raises ArgumentsRefused for arguments without a canonical form.
    """
    return digest(CALL_DOMAIN, {"agent": agent, "tool": tool, "manifest": manifest, "args": args})


def action_digest(
    *,
    action: str,
    revision: int,
    session: str,
    call: str,
    target: str,
    egress: Sequence[str] = (),
    secrets: Sequence[str] = (),
    files: Sequence[str] = (),
    release: str,
) -> str:
    """What a reviewer saw, votes on, what the grant names and what runs; never shared by two actions.

    `call` is the call_digest, `target` the resolved name of what is affected, `egress`, `secrets` (names) and
    `files` (SHA-256) are sets: order and repetition do not matter. Returns 64 lower-case hex digits of
    SHA-256(ACTION_DOMAIN ‖ JCS).
    """
    bound = {
        "action": action,
        "revision": revision,
        "session": session,
        "call": call,
        "target": target,
        "egress": sorted(set(egress)),
        "secrets": sorted(set(secrets)),
        "files": sorted(set(files)),
        "release": release,
    }
    return digest(ACTION_DOMAIN, bound)


def digest(domain: bytes, value: Any) -> str:
    """SHA-256(domain ‖ JCS(value)) in hex. A domain ends in a newline, which no other domain contains."""
    return hashlib.sha256(domain + canonical(value)).hexdigest()


def files_in(args: Any) -> list[str]:
    """The SHA-256 of every file that the arguments name as `{"$file": …}`, sorted, each once.

    Raises ArgumentsRefused for an object with a `$file` key that is not exactly such a reference.
    """
    return sorted(set(_files(args, ())))


def _files(value: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(value, dict):
        if "$file" in value:
            yield _reference(value, path)
            return
        for key, item in value.items():
            yield from _files(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _files(item, (*path, index))


def _reference(value: dict[str, Any], path: tuple[str | int, ...]) -> str:
    sha256 = value["$file"]
    if len(value) != 1 or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ArgumentsRefused(
            pointer(path), 'a file is {"$file": "<64 lower-case hex digits of its SHA-256>"}'
        )
    return sha256
