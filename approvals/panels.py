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
    """Whether the card in the browser shows other arguments than the current ones, or nobody knows which."""
    return bool(request.headers.get(CARD, "") != action.digest)


def answer(
    request: HttpRequest, action: Action, *, error: str = "", status: int = 200, **typed: Any
) -> HttpResponse:
    """The panel of this action; `error` says why nothing was done, `typed` (`draft` or `kept`) what somebody
    had written when it was refused.
    """
    seen = presenters.panel(action, user=cast(User, request.user))
    shown = {"panel": seen, "error": error, "unseen": unseen(request, action), **typed}
    return render(request, "approvals/_panel.html", shown, status=status)


def refused(
    request: HttpRequest, action: Action, *, form: str, refused: Refused, status: int
) -> HttpResponse:
    """The panel with why nothing was done, and what was typed into `form` (see `drafts.LABELS`): in that form
    again, or to be copied where the arguments are others than those that it was written about.
    """
    post = request.POST.dict()
    typed: dict[str, Any] = {}
    about_others = unseen(request, action) or post.get("digest", action.digest) != action.digest
    if about_others or not presenters.panel(action, user=cast(User, request.user)).open:
        typed["kept"] = drafts.kept(action, form, post)
    else:
        typed["draft"] = drafts.of(action, form, post, refused)
    return answer(request, action, error=refused.detail, status=status, **typed)


def not_opened(request: HttpRequest, action: Action) -> HttpResponse:
    """Instead of the form to edit, where the card shows other arguments: the panel, and what was typed."""
    kept = drafts.kept(action, "edit", request.POST.dict())
    response = answer(request, action, status=409, kept=kept)
    response.headers["HX-Retarget"], response.headers["HX-Reswap"] = "#panel", "outerHTML"
    return response
