"""Successful answers: JSON built by the verbs, and downloads."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.http import HttpResponse

from agentsec_site.gateway.problems import encode


def reply(body: Any, *, status: int = 200) -> HttpResponse:
    """A JSON answer."""
    return HttpResponse(encode(body), status=status, content_type="application/json")


def download(content: bytes, *, name: str, media_type: str = "application/octet-stream") -> HttpResponse:
    """Bytes that somebody else wrote: to be saved, never to be shown."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(content, content_type=media_type, headers=headers)
