"""What a service fetches, asks and runs to verify tokens, over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from django.test import Client

from agentsec_site.embedded import REPOSITORY
from policies import people, signing_keys, tokenstatus, world
from policies.models import IssuedToken
from tests.approvals.test_tokens import ARGS, AUDIENCE, WORLD
from tests.gateway.caller import Caller, answer
from tests.gateway.conftest import Door, Server

FORM = "application/x-www-form-urlencoded"
FORMS = [
    (b"token=x", "application/json", 415),
    (b'{"token": "x"}', FORM, 400),
    (b"", FORM, 415),
    (b"token=x&token=y", FORM, 422),
    (b"tok=x", FORM, 422),
    (b"token=%FF", FORM, 400),
    (b"token=\xff", FORM, 400),
    (b"&".join(b"a%d=1" % n for n in range(50)), FORM, 400),
]
ARRIVES = ("/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/token-status")


@pytest.fixture
def company(door: Door) -> Door:
    world.apply(WORLD, by="tests")
    return door


def fetch(path: str, **headers: str) -> Any:
    return Client(raise_request_exception=False).get(path, headers=headers)


def token_of(door: Door, **more: Any) -> str:
    status, told = door.agent.propose("refund", ARGS | more)
    assert status == 200, told
    return str(told["grant"]["credentials"]["access_token"])


def introspect(caller: Caller, token: str, **more: str) -> tuple[int, Any]:
    form = urlencode({"token": token, **more}).encode()
    return answer(caller.call("POST", "/introspect", form, **{"Content-Type": FORM}))


def test_the_keys_are_public_and_public_halves_only(company: Door) -> None:
    token_of(company)
    response = fetch("/.well-known/jwks.json")
    (key,) = response.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (response["Content-Type"], response["Cache-Control"]) == (
        "application/jwk-set+json",
        "public, max-age=300",
    )


def test_before_the_first_key_there_are_none(company: Door) -> None:
    assert fetch("/.well-known/jwks.json").json() == {"keys": []}


def test_what_a_service_has_already_is_not_sent_again(company: Door) -> None:
    token_of(company)
    tag = fetch("/.well-known/jwks.json")["ETag"]
    again = fetch("/.well-known/jwks.json", **{"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    signing_keys.rotate(by="tests")
    assert fetch("/.well-known/jwks.json", **{"If-None-Match": tag}).status_code == 200


def test_reading_is_all_that_can_be_done_there(company: Door) -> None:
    client = Client(raise_request_exception=False)
    for path in ARRIVES:
        assert [getattr(client, verb)(path).status_code for verb in ("post", "put", "delete")] == [405] * 3
        response = client.head(path)
        assert response.status_code == 200 and not response.cookies


def test_the_metadata_tells_what_is_there(company: Door) -> None:
    told = fetch("/.well-known/oauth-authorization-server").json()
    site = told["issuer"]
    assert told["authorization_details_types_supported"] == ["agentsec_action"]
    assert "token_endpoint" not in told and told["grant_types_supported"] == []
    for name in ("jwks_uri", "status_list_aggregation_endpoint", "service_documentation"):
        assert fetch(told[name].removeprefix(site)).status_code == 200, name
    status, _ = introspect(company.auditor, "x")
    assert told["introspection_endpoint"] == f"{site}/api/v1/introspect" and status == 200


def test_a_status_list_is_signed_for_its_own_address(company: Door) -> None:
    token = token_of(company)
    uri = jwt.decode(token, options={"verify_signature": False})["status"]["status_list"]["uri"]
    assert fetch("/token-status").json() == {"status_lists": [uri]}
    response = fetch(uri.removeprefix(tokenstatus.site()))
    text = response.content.decode()
    key = signing_keys.published()[jwt.get_unverified_header(text)["kid"]]
    told = jwt.decode(text, key.private.public_key(), algorithms=["EdDSA"])
    assert (told["sub"], told["ttl"], told["status_list"]["bits"]) == (uri, 5, 2)
    assert jwt.get_unverified_header(text)["typ"] == "statuslist+jwt"
    assert (response["Content-Type"], response["Cache-Control"]) == (
        "application/statuslist+jwt",
        "public, max-age=5",
    )


def test_a_list_that_is_not_there_is_404(company: Door) -> None:
    token_of(company)
    for number in ("7", "00", "-1", "x", "9" * 13, "9" * 400, "%00", "1e3"):
        assert fetch(f"/token-status/{number}").status_code == 404, number


def test_without_a_key_no_list_is_signed_and_nobody_keeps_that(company: Door) -> None:
    response = fetch("/token-status/0")
    assert (response.status_code, response["Cache-Control"]) == (503, "no-store")
    assert response["Content-Type"] == "application/problem+json"


def test_a_service_may_ask_instead(company: Door) -> None:
    token = token_of(company)
    for caller in (company.agent, company.approver, company.auditor):
        status, told = introspect(caller, token, token_type_hint="access_token")
        assert (status, told["active"], told["aud"], told["sub"]) == (200, True, AUDIENCE, "scout")


def test_an_agent_is_told_of_its_own_tokens_only(company: Door) -> None:
    assert introspect(company.other, token_of(company)) == (200, {"active": False})


def test_a_stranger_without_a_credential_is_told_nothing(company: Door) -> None:
    assert introspect(Caller(), token_of(company))[0] == 401
    assert introspect(Caller(token_of(company, order="B")), token_of(company, order="C"))[0] == 401


def test_a_token_opens_no_door_of_agentsec(company: Door) -> None:
    caller = Caller(token_of(company))
    assert [caller.get("/inbox")[0], caller.post("/sessions", {})[0], caller.get("/log/checkpoint")[0]] == [
        401
    ] * 3


def test_whatever_is_no_token_of_ours_does_not_hold(company: Door) -> None:
    token_of(company)
    for token in ("", "x", "a.b.c", "x" * 20_000, "é", "\x00", "eyJhbGciOiJub25lIn0.e30."):
        assert introspect(company.auditor, token) == (200, {"active": False}), token[:20]


def test_a_form_that_is_not_one_is_refused(company: Door) -> None:
    for body, media, status in FORMS:
        found, _ = answer(company.auditor.call("POST", "/introspect", body, **{"Content-Type": media}))
        assert found == status, body[:20]


def test_asked_for_again_by_its_idempotency_key_the_call_has_no_second_token(company: Door) -> None:
    session = company.agent.session()
    first = company.agent.propose("refund", ARGS, session=session, idempotency_key="k")[1]["grant"]
    second = company.agent.propose("refund", ARGS, session=session, idempotency_key="k")[1]["grant"]
    assert "credentials" in first and "credentials" not in second and first["id"] == second["id"]
    assert IssuedToken.objects.count() == 1


def test_another_agent_does_not_get_it(company: Door) -> None:
    session = company.agent.session()
    told = company.host.propose("refund", ARGS, session=session)[1]
    assert company.other.get(f"/actions/{told['id']}")[0] == 404
    assert "grant" not in company.auditor.get(f"/actions/{told['id']}")[1]


def test_administrators_look_after_the_keys_and_auditors_see_them(company: Door) -> None:
    old = jwt.get_unverified_header(token_of(company))["kid"]
    admin = Caller(people.issue_token(company.cast.administrator))
    assert company.auditor.get("/signing-keys")[1]["keys"][0]["kid"] == old
    status, told = admin.post("/signing-keys", {})
    assert (status, [key["state"] for key in told["keys"]]) == (200, ["announced", "signing"])
    assert admin.post("/signing-keys", {})[0] == 409
    assert admin.delete(f"/signing-keys/{old}")[0] == 204
    assert [key["state"] for key in admin.get("/signing-keys")[1]["keys"]] == ["signing"]
    assert old not in fetch("/.well-known/jwks.json").content.decode()
    assert [admin.delete(f"/signing-keys/{kid}")[0] for kid in ("x", old, "x" * 500)] == [404] * 3
    for caller in (company.auditor, company.approver, company.stranger, company.agent):
        assert caller.post("/signing-keys", {"at_once": True})[0] == 403
        assert caller.delete(f"/signing-keys/{told['keys'][0]['kid']}")[0] == 403
    assert company.approver.get("/signing-keys")[0] == 403


# What a service does with the two examples of the documentation, in a process that reaches nothing.
ASKS = """
import json, pathlib, socket
def no_network(*args, **options):
    raise AssertionError("it is to work offline")
socket.socket.connect = no_network
told = json.loads(pathlib.Path("told.json").read_text())
token, args, lists = told["token"], told["args"], told["lists"]
claims = granted(token, "refund", args)
found = [claims["sub"], status(claims, lists[0], KEYS), status(claims, lists[1], KEYS)]
used.clear()
calls = {"other args": ("refund", args | {"amount": 41}), "other action": ("order.place", args)}
for name, given in calls.items():
    try:
        granted(token, *given)
        found.append(name)
    except PermissionError:
        pass
granted(token, "refund", args)
tokens = {"twice": token, "unsigned": told["unsigned"], "forged": token[:-9] + "A" * 9, "list": lists[0]}
for name, given in tokens.items():
    try:
        granted(given, "refund", args)
        found.append(name)
    except (PermissionError, jwt.PyJWTError, KeyError):
        pass
print(json.dumps(found))
"""


def test_the_verifier_of_the_documentation_works_offline(
    committed_door: Door, server: Server, tmp_path: Path, settings: Any
) -> None:
    settings.AGENTSEC_URL = server.url.removesuffix("/api/v1")
    world.apply(WORLD, by="tests")
    examples = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs/tokens.md").read_text(), re.M | re.S)
    with httpx.Client(base_url=server.url, headers=committed_door.agent.headers) as http:
        session = http.post("/sessions", json={}).json()["id"]
        told = http.post("/actions", json={"session": session, "tool": "refund", "args": ARGS}).json()
        token = told["grant"]["credentials"]["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        uri = claims["status"]["status_list"]["uri"]
        (tmp_path / "jwks.json").write_text(httpx.get(f"{claims['iss']}/.well-known/jwks.json").text)
        before = httpx.get(uri).text
        assert http.delete(f"/grants/{told['grant']['id']}").status_code == 204
        lists = [before, httpx.get(uri).text]
    unsigned = jwt.encode(
        claims, None, algorithm="none", headers={"kid": jwt.get_unverified_header(token)["kid"]}
    )
    (tmp_path / "told.json").write_text(
        json.dumps({"token": token, "args": ARGS, "lists": lists, "unsigned": unsigned})
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*examples, ASKS])], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "AGENTSEC_ISSUER": claims["iss"], "AGENTSEC_AUDIENCE": AUDIENCE}, check=False,
    )  # fmt: skip
    assert done.stderr == "" and json.loads(done.stdout) == ["scout", 0, 1]
