"""Whether a stored release is what was published: its content has its digest, and the log holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from policies.arguments import digest
from policies.models import Release
from policies.rules import RELEASE_DOMAIN
from traces import record
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
    if not logged(PUBLISHED, {"release": release_id, "digest": frozen}):
        raise Refused("unavailable", f"Release {release_id} was never published: the log does not hold it.")
    return text


def sound_ones(rows: Iterable[Release]) -> dict[int, dict[str, Any]]:
    """The contents of those that are sound, by number; the log is gone through once for all of them."""
    wanted = {
        (row.pk, row.digest): row.content
        for row in rows
        # The text is canonical, so its hash is the digest without writing it anew.
        if hashlib.sha256(RELEASE_DOMAIN + row.content.encode()).hexdigest() == row.digest
    }
    found: dict[int, dict[str, Any]] = {}
    for entry in _entries(PUBLISHED):
        body = _body(entry, PUBLISHED)
        text = wanted.pop((body.get("release", 0), str(body.get("digest"))), None)
        if text is not None:
            found[body["release"]] = json.loads(text)
        if not wanted:
            break
    return found


def logged(kind: str, told: Mapping[str, Any]) -> bool:
    """Whether the log holds an entry of this kind that tells this, among other things.

    Who can write to the database makes a row, and no sealed entry.
    """
    bodies = (_body(entry, kind) for entry in _entries(kind))
    return any(all(body.get(name) == value for name, value in told.items()) for body in bodies)


def _entries(kind: str) -> Iterator[Entry]:
    found = Entry.objects.filter(span__kind=kind).select_related("subject_key").order_by("-id")
    return iter(found.iterator(chunk_size=8))


def _body(entry: Entry, kind: str) -> dict[str, Any]:
    """What the entry tells; nothing where it is erased, altered or of another kind."""
    header, body = record.as_sealed(entry)
    return body if header.get("kind") == kind else {}
