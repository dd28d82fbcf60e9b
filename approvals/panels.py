"""Votes and buttons under a card, as the answer to whatever a person did there.

What decides is bound to the arguments that the person looks at. The browser's card stays as it is while only
the panel is exchanged, so each request says with CARD what that card shows; where that is not what is
current, or is not said, the panel comes without anything that decides.
"""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from approvals import presenters
from approvals.models import Action
from policies.models import User

CARD = "X-Card-Digest"


def unseen(request: HttpRequest, action: Action) -> bool:
    """Whether the card in the browser shows other arguments than the current ones, or nobody knows which."""
    return bool(request.headers.get(CARD, "") != action.digest)


def answer(request: HttpRequest, action: Action, *, error: str = "", status: int = 200) -> HttpResponse:
    """The panel of this action; `error` says why nothing was done."""
    seen = presenters.panel(action, user=cast(User, request.user))
    shown = {"panel": seen, "error": error, "unseen": unseen(request, action)}
    return render(request, "approvals/_panel.html", shown, status=status)
