"""Files travel by content: an upload gives a SHA-256, an argument carries `{"$file": sha256}`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from approvals import leaks
from approvals.models import Artifact, Blob, BlobOwner
from policies import arguments
from policies.models import Agent
from traces.problems import Refused

MAX_BYTES = 16 * 1024 * 1024


@transaction.atomic
def store(*, content: bytes, agent: Agent) -> Blob:
    """Keep content that an agent may name from now on. Raises Refused: too_large, invalid (it holds a stored
    secret).
    """
    if len(content) > MAX_BYTES:
        raise Refused("too_large", f"a file holds at most {MAX_BYTES} bytes")
    leaks.refuse_content(content, what="this file")
    sha256 = hashlib.sha256(content).hexdigest()
    Blob.objects.bulk_create([Blob(sha256=sha256, content=content, size=len(content))], ignore_conflicts=True)
    BlobOwner.objects.bulk_create([BlobOwner(blob_id=sha256, agent=agent)], ignore_conflicts=True)
    return Blob.objects.defer("content").get(pk=sha256)


def refuse_unknown(*, agent: Agent, args: Mapping[str, Any]) -> None:
    """Raises Refused("invalid") if the arguments name a file that this agent never uploaded or was given."""
    named = set(arguments.files_in(args))
    known = set(BlobOwner.objects.filter(agent=agent, blob_id__in=named).values_list("blob_id", flat=True))
    if missing := sorted(named - known):
        raise Refused("invalid", f"no such file: {missing[0]}; send it by POST /files first")


def content(sha256: str) -> bytes:
    return bytes(Blob.objects.get(pk=sha256).content)


def artifact(*, action_id: Any, name: str) -> Artifact:
    """The newest artifact of that name. Raises Refused("not_found")."""
    found = Artifact.objects.select_related("blob").filter(execution__action_id=action_id, name=name)
    newest = found.order_by("-execution__fence").first() if "\x00" not in name else None
    if newest is None:
        raise Refused("not_found", "this action left no artifact of that name")
    return newest
