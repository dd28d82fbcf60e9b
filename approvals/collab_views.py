"""What reviewers do with an action short of deciding it: claim it, ask about it, hand it on, look at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from approvals import claims, delegating, looking, panels, queries, questions
from approvals.views import page_of, person
from policies.access import Verb
from traces.problems import HTTP_STATUS, Refused


@require_POST
@page_of(Verb.INBOX_SEE)
def claim(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Take it, take it over (`over` names from whom), or let it go."""
    user, letting_go = person(request), request.POST.get("wish") == "release"

    def work() -> str:
        if letting_go:
            claims.release(action_id=action_id, user=user)
            return "Released: anybody may take it."
        claims.claim(action_id=action_id, user=user, over=request.POST.get("over", ""))
        return "Claimed: others see that you have taken it."

    return done(request, action_id, work)


@require_POST
@page_of(Verb.INBOX_SEE)
def ask(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Ask the agent; the action goes on waiting."""

    def work() -> str:
        asked = questions.ask(action_id=action_id, user=person(request), text=request.POST.get("text", ""))
        more = f" There are {_minutes(asked.extended_by)} more to decide." if asked.extended_by else ""
        return f"Asked. You are told when the agent answers.{more}"

    return done(request, action_id, work, form="ask")


@require_POST
@page_of(Verb.INBOX_SEE)
def delegate(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """Hand a group's question on to another group."""
    post = request.POST

    def work() -> str:
        delegating.delegate(
            action_id=action_id, user=person(request), group=post.get("group", ""), to=post.get("to", ""),
            reason=post.get("comment", ""),
        )  # fmt: skip
        return f"Handed on: {post['to']} may decide it too."

    return done(request, action_id, work, form="delegate")


@require_safe
@page_of(Verb.INBOX_SEE)
def talk(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """The questions and answers alone."""
    action = queries.get_visible(person(request), action_id)
    shown = {"action": action, "questions": questions.of(action), "talk": questions.counted(action)}
    return render(request, "collab/_talk.html", shown)


@require_POST
@page_of(Verb.INBOX_SEE)
def look(request: HttpRequest, action_id: UUID) -> HttpResponse:
    """This card is open, or was closed (`gone`). Answers with everybody who looks at it."""
    user = person(request)
    action = queries.get_visible(user, action_id)
    if request.POST.get("gone"):
        looking.leave(action_id=action.pk, user=user)
        return HttpResponse(status=204)
    claims.renew(action_id=action.pk, user=user)
    return JsonResponse({"me": user.username, "names": looking.look(action_id=action.pk, user=user)})


@require_safe
@page_of(Verb.INBOX_SEE)
def everywhere(request: HttpRequest) -> HttpResponse:
    """By action, who looks at it now."""
    user = person(request)
    return JsonResponse({"me": user.username, "looking": looking.everywhere(user)})


def done(request: HttpRequest, action_id: UUID, work: Callable[[], str], *, form: str = "") -> HttpResponse:
    """Do it and show the panel, with what came of it; a page without scripts comes back to the inbox.

    Where it is refused, what was typed into `form` comes back.
    """
    action = queries.get_visible(person(request), action_id)
    said, error, status = "", None, 200
    try:
        said = work()
    except Refused as refused:
        error, status = refused, 409 if HTTP_STATUS[refused.code] == 409 else 422
    if not request.headers.get("HX-Request"):
        (messages.error if error else messages.success)(request, error.detail if error else said)
        return redirect(f"/?open={action.pk}")
    fresh = queries.get_visible(person(request), action.pk)
    if error:
        return panels.answer(request, fresh, refused=error, form=form, status=status)
    response = panels.answer(request, fresh)
    response.headers["HX-Trigger-After-Settle"] = json.dumps({"agentsec:said": {"message": said}})
    return response


def _minutes(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"
