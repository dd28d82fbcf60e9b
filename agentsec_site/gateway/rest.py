"""REST at /api/v1: sessions, events, files, firewall, grants; the rest is in `actions`, `reviewer`, `log`.

A view reads its request, calls one verb and answers; whatever a verb refuses becomes a problem document.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Router
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from agentsec_site.gateway import (
    absence,
    actions,
    allowances,
    auth,
    bulk,
    collab,
    confirmations,
    credentials,
    ending,
    log,
    problems,
    releases,
    reviewer,
    simulation,
    switch,
    tokens,
)
from agentsec_site.gateway.docs import DocsPage
from agentsec_site.gateway.intake import StrictParser, raw_body
from agentsec_site.gateway.replies import reply
from agentsec_site.gateway.schemas import (
    ERRORS,
    NOTHING,
    EventIn,
    EventOut,
    FileOut,
    InspectIn,
    InspectOut,
    Nothing,
    SessionIn,
    SessionOut,
)
from approvals import files, results
from policies import firewall, limits, sessions
from policies.access import Verb, require

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = Router(tags=["sessions"])


@router.post("/sessions", auth=auth.agents, response={200: SessionOut, **ERRORS})
def open_session(request: HttpRequest, body: SessionIn) -> HttpResponse:
    """Open a session. Without the scope `attest` it inherits the labels that the agent gathered of late."""
    caller = auth.agent_caller(request)
    session = sessions.open_session(
        agent=caller.agent, key=caller.key, purpose=body.purpose, user=body.user,
        external_id=body.external_id, parent=body.parent, tools=body.tools,
    )  # fmt: skip
    return reply({"id": session.pk, "labels": session.labels, "tools": session.tools})


@router.post("/sessions/{uuid:session_id}/events", auth=auth.agents, response={200: EventOut, **ERRORS})
def add_event(request: HttpRequest, session_id: UUID, body: EventIn) -> HttpResponse:
    """Tell what was said, read or thought. `text` in the answer is what may go on to the agent."""
    caller = auth.agent_caller(request)
    answer = sessions.add_event(
        agent=caller.agent, key=caller.key, session=sessions.get_session(caller.agent, session_id),
        kind=body.kind, text=body.text, tool=body.tool, quoted=[(start, end) for start, end in body.quoted],
    )  # fmt: skip
    return reply(asdict(answer))


@router.post(
    "/files", auth=auth.agents, response={200: FileOut, **ERRORS}, tags=["files"], openapi_extra=FILE_BODY
)
def store_file(request: HttpRequest) -> HttpResponse:
    """Keep up to 16 MiB of raw bytes, which an argument may then name as {"$file": sha256}."""
    caller = auth.agent_caller(request, scope="act")
    blob = files.store(content=raw_body(request), agent=caller.agent)
    return reply({"sha256": blob.sha256, "size": blob.size})


@router.post("/firewall/inspect", auth=auth.anyone, response={200: InspectOut, **ERRORS}, tags=["firewall"])
def inspect(request: HttpRequest, body: InspectIn) -> HttpResponse:
    """What the firewall says of a text. Offsets count Unicode code points."""
    caller = auth.caller(request)
    if isinstance(caller, auth.PersonCaller):
        require(caller.user, Verb.FIREWALL_TRY)
    else:
        limits.admit_text(caller.agent, octets=len(body.text))
    seen = firewall.inspect(body.text, direction=body.direction, source=body.source)
    found = [asdict(finding) for finding in seen.findings]
    return reply({"verdict": seen.verdict, "text": seen.text, "findings": found, "labels": seen.labels})


@router.delete("/grants/{uuid:grant_id}", auth=auth.agents, response={204: None, **ERRORS}, tags=["grants"])
def give_back(request: HttpRequest, grant_id: UUID, body: Nothing = NOTHING) -> HttpResponse:
    """Give a privilege back before it ends by itself."""
    results.give_back(agent=auth.agent_caller(request).agent, grant_id=grant_id)
    return HttpResponse(status=204)


class Api(NinjaAPI):
    """ninja, with problem documents also in the OpenAPI description."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**options)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"] = {str(s): _described(s, r) for s, r in operation["responses"].items()}
        return schema

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__


def _described(status: int, response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content", {}).get("application/json")
    if status >= 400 and content:
        return {**response, "content": {problems.MEDIA_TYPE: content}}
    if content and (media := content["schema"].get("contentMediaType")):
        return {**response, "content": {media: content}}
    return response


api = Api(
    title="agentsec",
    version="1",
    description="Actions of AI agents: proposed, judged, approved, run and recorded.",
    urls_namespace="api",
    parser=StrictParser(),
    docs=DocsPage(),
)
problems.install(api)
for part in (
    router,
    actions.router,
    reviewer.router,
    ending.router,
    collab.router,
    bulk.router,
    absence.router,
    allowances.router,
    confirmations.router,
    switch.router,
    credentials.router,
    log.router,
    simulation.router,
    releases.router,
    tokens.router,
):
    api.add_router("", part)
