"""The log over HTTP, in the formats of C2SP tlog-tiles, tlog-checkpoint and tlog-proof.

Checkpoint, tiles and proofs hold hashes only and are for every caller. Entries say who did what, and are for
those who may read every trace. An entry, in the sense of tlog-tiles, is header ‖ SHA-256(sealed payload).
"""

from __future__ import annotations

import base64
import struct
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS, EntryOut, Note, ProofOut, Raw
from policies.access import Verb, require
from traces import merkle, proofs, tiles
from traces.models import Checkpoint, Entry, Leaf, Tile
from traces.problems import NotFound, Unavailable
from traces.tiles import Place

router = Router(tags=["log"])


@router.get("/log/checkpoint", auth=auth.anyone, response={200: Note, **ERRORS}, url_name="log-checkpoint")
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint, as a C2SP signed note."""
    newest = Checkpoint.objects.newest()
    if newest is None:
        raise Unavailable("The log has no checkpoint yet.", retry_after=1)
    return HttpResponse(newest.note, content_type="text/plain; charset=utf-8")


@router.get("/log/tile/entries/{path:place}", auth=auth.people, response={200: Raw, **ERRORS})
def entry_bundle(request: HttpRequest, place: str) -> HttpResponse:
    """Up to 256 entries, each after its length as a big-endian uint16. For auditors."""
    require(auth.person(request), Verb.TRACE_READ)
    where, width = _place(f"0/{place}")
    first = where.index * tiles.WIDTH
    rows = Leaf.objects.filter(index__gte=first, index__lt=first + width).order_by("index")
    # One by one: 256 sealed payloads may be 256 MiB, and only their hashes go out.
    found = rows.values_list("entry__header", "entry__sealed").iterator(chunk_size=4)
    framed = [_framed(merkle.leaf_data(bytes(header), bytes(sealed))) for header, sealed in found]
    if len(framed) != width:
        raise NotFound("There is no such bundle of entries.")
    data = b"".join(framed)
    return _immutable(data, full=width == tiles.WIDTH)


@router.get("/log/tile/{path:place}", auth=auth.anyone, response={200: Raw, **ERRORS})
def tile(request: HttpRequest, place: str) -> HttpResponse:
    """Hashes of one level of the Merkle tree: `<level>/<index>[.p/<width>]`."""
    where, width = _place(place)
    found = Tile.objects.filter(level=where.level, index=where.index, width__gte=width).first()
    if found is None:
        raise NotFound("There is no such tile.")
    return _immutable(bytes(found.data)[: width * tiles.HASH], full=width == tiles.WIDTH)


@router.get("/log/entries/{uuid:entry_id}", auth=auth.people, response={200: EntryOut, **ERRORS})
def entry(request: HttpRequest, entry_id: UUID) -> HttpResponse:
    """One entry as the tree holds it: its header, and its payload, sealed. For auditors."""
    require(auth.person(request), Verb.TRACE_READ)
    found = _entry(entry_id)
    leaf = Leaf.objects.filter(entry=found).first()
    body = {
        "entry": found.uuid,
        "index": leaf.index if leaf else None,
        "header": bytes(found.header).decode(),
        "sealed": _base64(found.sealed),
        "leaf_hash": _base64(found.leaf_hash),
    }
    return reply(body)


@router.get("/log/proof/{uuid:entry_id}", auth=auth.anyone, response={200: ProofOut, **ERRORS})
def proof(request: HttpRequest, entry_id: UUID) -> HttpResponse:
    """That an entry stands under a signed checkpoint; `proof` holds the same as one C2SP tlog-proof text."""
    found = _entry(entry_id)
    if not Leaf.objects.filter(entry=found).exists():
        raise Unavailable("The entry waits for its checkpoint.", retry_after=1)
    inclusion = proofs.inclusion(found.pk)
    hashes = [_base64(item) for item in inclusion.hashes]
    lines = ["c2sp.org/tlog-proof@v1", f"index {inclusion.index}", *hashes, "", inclusion.checkpoint]
    body = {
        "entry": found.uuid,
        "index": inclusion.index,
        "leaf_hash": _base64(found.leaf_hash),
        "hashes": hashes,
        "checkpoint": inclusion.checkpoint,
        "proof": "\n".join(lines),
    }
    return reply(body)


def _place(path: str) -> tuple[Place, int]:
    """The tile and the width that a path below `tile/` names, in the one spelling of the format."""
    try:
        return tiles.parse(path)
    except ValueError:
        raise NotFound("There is no such tile.") from None


def _framed(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _entry(entry_id: UUID) -> Entry:
    found = Entry.objects.filter(uuid=entry_id).first()
    if found is None:
        raise NotFound("There is no such entry.")
    return found


def _base64(data: Any) -> str:
    return base64.b64encode(bytes(data)).decode()


def _immutable(data: bytes, *, full: bool) -> HttpResponse:
    response = HttpResponse(data, content_type="application/octet-stream")
    if full:
        response["Cache-Control"] = "private, max-age=31536000, immutable"
    return response
