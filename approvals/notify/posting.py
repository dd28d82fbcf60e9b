"""One POST of JSON through the guarded fetcher, for every channel that is a webhook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from approvals.notify.channel import Undelivered
from policies import fetch
from traces.problems import Refused

SECONDS = 10.0
MOST = 8 * 1024
LONGEST_WAIT = 3600


def encode(payload: Mapping[str, Any]) -> bytes:
    """ASCII with escapes, so that no proxy or chat on the way can take a character for another."""
    return json.dumps(payload, separators=(",", ":")).encode("ascii")


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send it once. Raises Undelivered for anything but 2xx; of the answer only its status is told."""
    told = {"Content-Type": "application/json", "User-Agent": "agentsec", **headers}
    try:
        answer = fetch.fetch("POST", url, headers=told, body=body, seconds=SECONDS, most=MOST)
    except Refused as refused:
        raise Undelivered(refused.detail) from None
    if not 200 <= answer.status < 300:
        wait = answer.header("retry-after")
        after = min(LONGEST_WAIT, int(wait)) if wait.isascii() and wait.isdigit() and len(wait) < 8 else 0
        raise Undelivered(f"it answered {answer.status}", gone=answer.status == 410, after=after)
