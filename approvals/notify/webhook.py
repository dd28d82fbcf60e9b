"""Signed webhooks, as https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

webhook-signature = "v1," ‖ base64(HMAC-SHA-256(secret, id ‖ "." ‖ timestamp ‖ "." ‖ body)); the secret is the
bytes that `whsec_…` holds as base64. An id stays the same at each attempt; 410 ends the subscription.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import Any

from approvals.notify import posting
from approvals.notify.channel import Channel, Destination, always
from approvals.notify.letters import Item, Letter
from traces.problems import Invalid

PREFIX = "whsec_"
BYTES = 32


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises Invalid, which does not quote it, for anything but 24 to 64 of them."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise Invalid("a secret is whsec_ and 24 to 64 bytes in base64", field="secret")
    return key


def sign(secret: str, *, message: str, timestamp: int, body: bytes) -> str:
    """The value of webhook-signature."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def payload(letter: Letter) -> dict[str, Any]:
    """The event: `action.<kind>` for one action, `actions.digest` for several, `test`, or
    `credentials.attention`.
    """
    data: dict[str, Any] = {"count": letter.total, "link": letter.link}
    if not letter.bare and not letter.test:
        data["actions"] = [_item(item) for item in letter.items]
    if letter.notes:
        said = {"count": len(letter.notes), "link": letter.link}
        said |= {} if letter.bare else {"credentials": list(letter.notes)}
        return {"type": "credentials.attention", "timestamp": letter.at.isoformat(), "data": said}
    one = letter.total == 1 and letter.items
    kind = "test" if letter.test else f"action.{letter.items[0].kind}" if one else "actions.digest"
    return {"type": kind, "timestamp": letter.at.isoformat(), "data": data}


def _item(item: Item) -> dict[str, Any]:
    return {
        "id": item.action, "kind": item.kind, "said": item.said, "summary": item.summary,
        "target": item.target, "tool": item.tool, "agent": item.agent, "rules": item.rules,
        "deadline": item.until.isoformat(), "link": item.link,
    }  # fmt: skip


def deliver(letter: Letter, to: Destination) -> None:
    """Post it, signed with the time of this attempt. Raises Undelivered."""
    body, timestamp = posting.encode(payload(letter)), int(letter.at.timestamp())
    headers = {
        "webhook-id": letter.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(to.secret, message=letter.id, timestamp=timestamp, body=body),
    }
    posting.post(to.url, body, headers)


CHANNEL = Channel(
    name="webhook", label="Signed webhook",
    about="JSON to a server of your own, signed as Standard Webhooks says.",
    available=always, deliver=deliver, has_url=True, has_secret=True,
)  # fmt: skip
