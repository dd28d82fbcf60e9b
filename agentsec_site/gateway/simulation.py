"""`POST /policies/simulate`: what would be said of a call or a session, with a personal token."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from agentsec_site.gateway import auth
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import ERRORS
from agentsec_site.gateway.schemas_simulate import CallIn, EventStep, FindingIn, SimulateIn, SimulateOut
from approvals import simulate
from approvals.explain import Line
from approvals.simulate import Call, Event, Heard, Ruled, Setting
from policies.access import Verb, require
from policies.facts import SessionFacts, UsageFacts

router = Router(tags=["policies"])


@router.post("/policies/simulate", auth=auth.people, response={200: SimulateOut, **ERRORS})
def simulate_policies(request: HttpRequest, body: SimulateIn) -> HttpResponse:
    """Judge a call, or a session step by step, without running, storing or counting anything."""
    require(auth.person(request), Verb.POLICY_READ)
    found = simulate.simulate(**wished(body))
    steps = [_heard(step) if isinstance(step, Heard) else _ruled(step) for step in found.steps]
    return reply({"release": found.release, "draft": found.draft, "steps": steps})


def wished(body: SimulateIn) -> dict[str, Any]:
    """A request as `simulate.simulate` takes it."""
    told = body.session.model_dump().items()
    given: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in told}
    setting = Setting(
        agent=body.agent, session=SessionFacts(**given), usage=UsageFacts(**body.usage.model_dump()),
        now=body.now or timezone.now(), draft=body.draft,
    )  # fmt: skip
    if body.tool is None:
        return {"setting": setting, "steps": [_step(step) for step in body.steps]}
    only = Call(body.tool, body.args, body.origin, _findings(body.findings))
    return {"setting": setting, "steps": [only]}


def _step(step: CallIn | EventStep) -> Event | Call:
    if isinstance(step, EventStep):
        quoted = tuple((start, end) for start, end in step.quoted)
        return Event(step.kind, step.text, step.tool, quoted)
    return Call(step.tool, step.args, step.origin, _findings(step.findings), step.approved)


def _findings(given: list[FindingIn] | None) -> tuple[dict[str, str], ...] | None:
    return None if given is None else tuple(item.model_dump() for item in given)


def _heard(step: Heard) -> dict[str, Any]:
    told = {"kind": step.event.kind, "verdict": step.verdict, "text": step.text}
    return {**told, "findings": step.findings, "labels": step.labels}


def _ruled(step: Ruled) -> dict[str, Any]:
    told = {"kind": "call", "tool": step.call.tool, "effect": step.effect, "labels": step.labels}
    if step.explained is None or step.facts is None:
        return {**told, "reasons": [step.refused]}
    verdict = step.explained.verdict
    return {
        **told,
        "reasons": verdict.reasons,
        "matched": [asdict(match) for match in verdict.matched],
        "shadow": [asdict(match) for match in verdict.shadow],
        "considered": [asdict(item) for item in verdict.considered],
        "rules": [_line(line) for line in step.explained.lines],
        "elsewhere": [asdict(rule) for rule in step.explained.elsewhere],
        "approvals": [item.to_json() for item in verdict.approvals],
        "egress": verdict.egress,
        "facts": step.facts.to_json(),
        "held": step.held,
    }


def _line(line: Line) -> dict[str, Any]:
    told = ("name", "effect", "outcome", "why", "error", "text", "condition", "shadow")
    saw = {item.name: item.plain for item in line.saw if item.there}
    parts = [asdict(part) for part in line.parts]
    return {**{name: getattr(line, name) for name in told}, "saw": saw, "parts": parts}
