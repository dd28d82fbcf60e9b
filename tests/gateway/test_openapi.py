"""The API's own description: complete, true, and readable under the strict CSP."""

from __future__ import annotations

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from agentsec_site.gateway.rest import api
from tests.gateway.caller import Caller
from tests.gateway.conftest import Door
from tests.lengths import tries

DESIGNED = {
    "POST /sessions",
    "GET /absence",
    "POST /absence",
    "DELETE /absence",
    "POST /sessions/{session_id}/events",
    "POST /files",
    "POST /actions",
    "GET /actions/{action_id}",
    "GET /actions/{action_id}/artifacts/{name}",
    "POST /actions/{action_id}/result",
    "POST /actions/{action_id}/cancel",
    "GET /actions/lookup",
    "POST /actions/{action_id}/stop",
    "POST /actions/{action_id}/again",
    "POST /firewall/inspect",
    "DELETE /grants/{grant_id}",
    "GET /log/checkpoint",
    "GET /log/tile/{place}",
    "GET /log/tile/entries/{place}",
    "GET /log/entries/{entry_id}",
    "GET /log/proof/{entry_id}",
    "GET /inbox",
    "POST /actions/{action_id}/decision",
    "DELETE /actions/{action_id}/decision",
    "POST /actions/{action_id}/claim",
    "DELETE /actions/{action_id}/claim",
    "POST /actions/{action_id}/questions",
    "POST /actions/{action_id}/answers",
    "POST /actions/{action_id}/delegation",
    "POST /decisions",
    "GET /actions/{action_id}/evidence",
    "POST /policies/simulate",
    "GET /confirmations",
    "POST /actions/{action_id}/confirmation",
    "POST /sessions/{session_id}/confirmation-link",
    "DELETE /sessions/{session_id}/confirmation-link",
    "GET /allowances",
    "DELETE /allowances/{allowance_id}",
    "GET /policies/releases",
    "GET /policies/releases/{before}/to/{after}",
    "POST /policies/releases/{release_id}/rollback",
    "GET /switch",
    "POST /switch",
    "DELETE /switch/{scope}",
    "POST /introspect",
    "GET /signing-keys",
    "POST /signing-keys",
    "DELETE /signing-keys/{kid}",
    "GET /credentials",
    "DELETE /credentials/{kind}/{key}",
    "POST /credentials/key/{key}/rotate",
    "POST /credentials/secret/{name}/rotate",
}
PREFIX = "/api/v1"


def test_it_describes_every_call_and_no_other() -> None:
    paths = api.get_openapi_schema(path_prefix=f"{PREFIX}/")["paths"]
    found = {
        f"{method.upper()} {path.removeprefix(PREFIX)}" for path, item in paths.items() for method in item
    }
    assert found == DESIGNED


def test_every_call_needs_a_credential() -> None:
    paths = api.get_openapi_schema(path_prefix=f"{PREFIX}/")["paths"]
    assert all(operation["security"] for item in paths.values() for operation in item.values())


@pytest.mark.django_db
def test_the_description_is_public() -> None:
    assert Caller().get("/openapi.json")[1]["info"]["title"] == "agentsec"


@pytest.mark.django_db
def test_the_page_beside_it_runs_nothing_inline_and_loads_nothing_from_elsewhere() -> None:
    page = Caller().call("GET", "/docs").content.decode()
    assert "/api/v1/actions/{action_id}/decision" in page
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)


@pytest.mark.parametrize("who", ["agent", "auditor"])
def test_calls_made_up_from_the_description_get_described_answers(door: Door, who: str) -> None:
    caller: Caller = getattr(door, who)
    schema = schemathesis.openapi.from_dict(dict(api.get_openapi_schema(path_prefix=f"{PREFIX}/")))
    for result in schema.get_all_operations():
        operation = result.ok()
        check(operation, caller)


def check(operation: schemathesis.schemas.APIOperation, caller: Caller) -> None:
    @settings(max_examples=tries(15), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def run(case: schemathesis.Case) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver")
        response = caller.client.generic(
            sent["method"],
            sent["url"].removeprefix("http://testserver"),
            sent.get("data") or b"",
            headers=caller.headers,
        )
        assert response.status_code != 500
        assert str(response.status_code) in operation.definition.raw["responses"]

    run()
