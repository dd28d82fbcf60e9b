"""Whether a stored release is what was published: its content has its digest, and the log holds it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from policies.arguments import digest
from policies.models import Release
from policies.rules import RELEASE_DOMAIN
from traces import record, seal
from traces.models import Entry
from traces.problems import Refused

PUBLISHED = "policy.published"


def sound(release_id: int, frozen: str) -> dict[str, Any]:
    """The content of a release of this digest, as it was published.

    Raises Refused("unavailable") where the row was altered or the log does not hold it.
    """
    content: dict[str, Any] = json.loads(_sound(release_id, frozen))
    return content


@lru_cache(maxsize=8)
def _sound(release_id: int, frozen: str) -> str:
    text: str = Release.objects.values_list("content", flat=True).get(pk=release_id)
    if digest(RELEASE_DOMAIN, json.loads(text)) != frozen:
        raise Refused("unavailable", f"Release {release_id} was altered: it does not match its digest.")
    if not _published(release_id, frozen):
        raise Refused("unavailable", f"Release {release_id} was never published: the log does not hold it.")
    return text


def _published(release_id: int, frozen: str) -> bool:
    """Whether the log holds this release: who can write to the database makes a row, and no sealed entry."""
    told = Entry.objects.filter(span__kind=PUBLISHED).select_related("subject_key").order_by("-id")
    return any(_tells(entry, release_id, frozen) for entry in told.iterator(chunk_size=8))


def _tells(entry: Entry, release_id: int, frozen: str) -> bool:
    try:
        body = record.open_payload(entry)
        kind = json.loads(bytes(entry.header))["kind"]
    except (seal.Tampered, ValueError, KeyError):
        return False
    if isinstance(body, record.Erased) or kind != PUBLISHED:
        return False
    return (body.get("release"), body.get("digest")) == (release_id, frozen)
