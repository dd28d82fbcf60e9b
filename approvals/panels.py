"""Votes and buttons under a card, as the answer to whatever a person did there.

What decides is bound to the arguments that the person looks at. The browser's card stays as it is while only
the panel is exchanged, so each request says with CARD what that card shows; where that is not what is
current, or is not said, the panel comes without anything that decides.
"""

from __future__ import annotations

from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from approvals import drafts, presenters
from approvals.models import Action
from policies.models import User
from traces.problems import Refused

CARD = "X-Card-Digest"


def unseen(request: HttpRequest, action: Action) -> bool:
    """Whether the card in the browser shows other arguments than the current ones, or nobody knows which; or
    what was sent is about others.
    """
    shown, sent = request.headers.get(CARD, ""), request.POST.get("digest", action.digest)
    return {shown, sent} != {action.digest}


def answer(
    request: HttpRequest, action: Action, *, refused: Refused | None = None, form: str = "", status: int = 200
) -> HttpResponse:
    """The panel of this action; where something was `refused`, with why nothing was done. What was typed into
    `form` comes back: in that form again, or to be copied where there is none or the card shows others.
    """
    seen, stale = presenters.panel(action, user=_user(request)), unseen(request, action)
    post = request.POST.dict()
    shown: dict[str, Any] = {"panel": seen, "unseen": stale, "error": refused.detail if refused else ""}
    if stale or not seen.open:
        shown["kept"] = drafts.kept(action, form, post)
    elif refused:
        shown["draft"] = drafts.of(action, form, post, refused)
    return render(request, "approvals/_panel.html", shown, status=status)


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
