"""A signed token for one call: handed out once, for minutes, for one service, and over when its grant is."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import Client
from django.utils import timezone

from approvals import answers, clock, handout, killswitch, results
from approvals.models import Action
from policies import agents, grants, jose, limits, signing_keys, tokenstatus, world
from policies.issuers import ISSUERS, IssuerFailed
from policies.models import Agent, Grant, IssuedToken, Tool
from tests.approvals.test_quorum_races import at_once
from tests.cast import Cast, cast, committed_cast
from traces import record
from traces.models import Entry, Span
from traces.problems import Refused

__all__ = ["cast", "committed_cast"]
AUDIENCE = "https://payments.example"
WORLD = f"""
tools:
  - name: refund
    runs: agent
    effect: write
    output: trusted
    sends: internal
    issuer: token
    token: {{audience: '{AUDIENCE}', identifier: order, arguments: [amount], datatypes: [refund]}}
    minutes: 2
    authority: [order]
    parameters: &args
      type: object
      properties: {{order: {{type: string}}, amount: {{type: integer}}, note: {{type: string}}}}
      required: [order, amount]
  - name: refund.pass
    runs: credential
    effect: write
    output: trusted
    sends: internal
    issuer: token
    token: {{audience: '{AUDIENCE}'}}
    authority: []
    parameters: *args
  - name: refund.bound
    runs: agent
    effect: write
    output: trusted
    sends: internal
    issuer: token
    token: {{audience: '{AUDIENCE}', bound_to: note}}
    authority: []
    parameters: *args
rules: [{{name: refunds, effect: allow, tools: [refund, 'refund.*']}}]
"""
ASKED = "rules: [{name: refunds, effect: ask, tools: [refund], approvers: comms}]"
ARGS = {"order": "A-17", "amount": 40}
CANONICAL = b'{"amount":40,"order":"A-17"}'


@pytest.fixture
def company(cast: Cast) -> Cast:
    world.apply(WORLD, by="tests")
    return cast


def take(cast: Cast, tool: str = "refund", **more: Any) -> tuple[Action, handout.Handout]:
    action = cast.propose(tool, ARGS | more)
    handed = handout.take(action.pk, agent=cast.agent)
    assert handed is not None
    return action, handed


def token_of(handed: handout.Handout) -> str:
    return str(handed.credentials["access_token"])


def read(token: str, **more: Any) -> dict[str, Any]:
    """The claims, as a service with nothing but the published keys reads them."""
    published = jwt.PyJWKSet.from_dict({"keys": [key.jwk for key in signing_keys.published().values()]})
    key = published[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["EdDSA", "ES256"], **{"audience": AUDIENCE, **more})


def status(token: str, *, leap: timedelta = timedelta()) -> int:
    place = read(token, options={"verify_exp": False})["status"]["status_list"]
    text = tokenstatus.status_list(int(place["uri"].rpartition("/")[2]), timezone.now() + leap)
    assert text is not None
    packed = read(text, options={"verify_aud": False, "verify_exp": False, "verify_iat": False})[
        "status_list"
    ]
    array = zlib.decompress(base64.urlsafe_b64decode(packed["lst"] + "=" * (-len(packed["lst"]) % 4)))
    assert len(array) * 8 == tokenstatus.SIZE * packed["bits"]
    return array[place["idx"] // 4] >> 2 * (place["idx"] % 4) & 3


@pytest.mark.parametrize("tool", ["refund", "refund.pass"])
def test_it_says_who_may_do_exactly_what_where_until_when(company: Cast, tool: str) -> None:
    action, handed = take(company, tool)
    token, grant = token_of(handed), handed.grant
    claims = read(token, issuer=tokenstatus.site())
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert (claims["sub"], claims["client_id"], claims["jti"]) == ("scout", "scout", str(grant.pk))
    assert (claims["txn"], claims["sid"]) == (str(action.pk), str(action.session_id))
    assert claims["iat"] == claims["nbf"] < claims["exp"] <= grant.expires_at.timestamp()
    (detail,) = claims["authorization_details"]
    assert (detail["actions"], detail["locations"]) == ([tool], [AUDIENCE])
    assert detail["digest"] == action.digest == grant.digest
    assert detail["arguments_sha256"] == hashlib.sha256(CANONICAL).hexdigest()
    if tool == "refund":
        assert (detail["identifier"], detail["arguments"]) == ("A-17", {"amount": 40})


def test_bound_to_a_key_it_says_so_and_without_one_nothing_starts(company: Cast) -> None:
    thumbprint = jose.generate("ES256").kid
    _, handed = take(company, "refund.bound", note=thumbprint)
    assert read(token_of(handed))["cnf"] == {"jkt": thumbprint}
    assert handed.credentials["token_type"] == "DPoP"
    assert tokenstatus.introspect(token_of(handed))["token_type"] == "DPoP"
    action = company.propose("refund.bound", ARGS)
    assert handout.take(action.pk, agent=company.agent) is None
    action.refresh_from_db()
    assert action.state == "cancelled" and "thumbprint" in action.decision_reason + str(
        [record.open_payload(entry) for entry in Entry.objects.about(str(action.pk))]
    )


def test_another_service_does_not_take_it(company: Cast) -> None:
    _, handed = take(company)
    with pytest.raises(jwt.InvalidAudienceError):
        read(token_of(handed), audience="https://mail.example")


def test_it_is_in_one_answer_and_nowhere_else(company: Cast) -> None:
    action, handed = take(company)
    token = token_of(handed)
    again = handout.take(action.pk, agent=company.agent)
    assert again is not None and "credentials" not in again.to_json()
    rows = (Grant, Action, Span, IssuedToken)
    stored = "".join(str(list(model.objects.values())) for model in rows)
    told = "".join(str(record.open_whole(entry)) for entry in Entry.objects.all())
    for part in (token, token.rpartition(".")[2]):
        assert part not in stored + told + repr(handed) + repr(IssuedToken.objects.get())
    assert hashlib.sha256(token.encode()).hexdigest() in told


def test_the_answer_calls_no_call_advisory_that_a_service_holds_to_a_token(company: Cast) -> None:
    action, handed = take(company)
    assert answers.answer(action, handout=handed)["advisory"] is False
    assert answers.answer(company.propose("notes.read", {"id": 1}))["advisory"] is True


def test_the_card_names_the_service_that_holds_the_agent_to_it(company: Cast) -> None:
    world.apply(ASKED, by="tests")
    action = company.propose("refund", ARGS)
    client = Client()
    client.force_login(company.approver, backend="django.contrib.auth.backends.ModelBackend")
    page = client.get(f"/actions/{action.pk}").content.decode()
    assert f"with a token for {AUDIENCE}" in page and "advisory" not in page


def test_a_second_token_for_a_grant_is_refused(company: Cast) -> None:
    _, handed = take(company)
    with pytest.raises(Refused, match="handed out already"):
        grants.issue(handed.grant)
    assert IssuedToken.objects.count() == 1


def test_it_holds_until_its_grant_ends_and_not_a_moment_longer(company: Cast) -> None:
    _, handed = take(company)
    assert status(token_of(handed)) == tokenstatus.VALID
    assert tokenstatus.introspect(token_of(handed))["active"] is True
    assert status(token_of(handed), leap=timedelta(minutes=2)) == tokenstatus.INVALID


ENDS: dict[str, Callable[[Cast, Action, Grant], object]] = {
    "given back": lambda cast, action, grant: results.give_back(agent=cast.agent, grant_id=grant.pk),
    "reported": lambda cast, action, grant: results.report(
        agent=cast.agent, action_id=action.pk, status="succeeded", output={}
    ),
    "kill switch": lambda cast, action, grant: killswitch.throw(scope="agent:scout", reason="x", by="tests"),
    "by hand": lambda cast, action, grant: grants.revoke(grant=grant, why="x"),
}
HOLDS: dict[str, Callable[[Cast], object]] = {
    "paused": lambda cast: Agent.objects.update(mode="paused"),
    "may only read": lambda cast: Agent.objects.update(mode="read_only"),
    "keys revoked": lambda cast: agents.revoke(agent=cast.agent, by="tests"),
    "tool paused": lambda cast: limits.pause_tool(tool=Tool.objects.get(name="refund"), paused=True, by="t"),
    "switch thrown, nothing ended yet": lambda cast: limits.stop(scope="group:finance", reason="x", by="t"),
    "everything stopped": lambda cast: limits.stop(scope="all", reason="x", by="t"),
    "tool stopped": lambda cast: limits.stop(scope="tool:refund", reason="x", by="t"),
}


@pytest.mark.parametrize("how", ENDS)
def test_however_it_ends_the_list_says_so_at_once(company: Cast, how: str) -> None:
    action, handed = take(company)
    _, other = take(company, order="B-1")
    ENDS[how](company, action, handed.grant)
    assert status(token_of(handed)) == tokenstatus.INVALID
    assert tokenstatus.introspect(token_of(handed)) == {"active": False}
    if how != "kill switch":
        assert status(token_of(other)) == tokenstatus.VALID


def test_what_stops_its_agent_stops_it_before_anything_was_ended(company: Cast) -> None:
    _, handed = take(company)
    for how, stop in HOLDS.items():
        with transaction.atomic():
            stop(company)
            assert status(token_of(handed)) == tokenstatus.SUSPENDED, how
            assert tokenstatus.introspect(token_of(handed)) == {"active": False}, how
            transaction.set_rollback(True)
    assert status(token_of(handed)) == tokenstatus.VALID


def test_a_switch_for_others_stops_nothing_here(company: Cast) -> None:
    _, handed = take(company)
    Agent.objects.filter(name="scout").update(team=None)
    for scope in ("group:elsewhere", "tool:email.send", "agent:other"):
        limits.stop(scope=scope, reason="x", by="tests")
    assert status(token_of(handed)) == tokenstatus.VALID


def test_the_clock_ends_it_after_its_minutes(company: Cast) -> None:
    action, handed = take(company)
    past = timezone.now() - timedelta(seconds=1)
    Grant.objects.update(minted_at=past - timedelta(minutes=5), expires_at=past)
    assert status(token_of(handed)) == tokenstatus.INVALID
    clock.tick()
    action.refresh_from_db()
    assert (action.state, Grant.objects.get().state) == ("interrupted", "revoked")


def test_a_place_whose_row_is_gone_reads_as_ended_and_one_not_given_out_as_valid(company: Cast) -> None:
    _, handed = take(company)
    _, other = take(company, order="B-1")
    IssuedToken.objects.filter(grant=handed.grant).delete()
    assert status(token_of(handed)) == tokenstatus.INVALID
    assert status(token_of(other)) == tokenstatus.VALID
    newest = IssuedToken.objects.get().pk
    array = tokenstatus._statuses(0, newest, timezone.now())
    for place in range(newest + 1, newest + 12):
        assert array[place // 4] >> 2 * (place % 4) & 3 == tokenstatus.VALID


def test_writing_into_the_database_brings_an_ended_token_back_to_nobody(company: Cast) -> None:
    _, handed = take(company)
    results.give_back(agent=company.agent, grant_id=handed.grant.pk)
    Grant.objects.update(state="active", revoked_at=None, used_at=None)
    assert status(token_of(handed)) == tokenstatus.INVALID
    assert tokenstatus.introspect(token_of(handed)) == {"active": False}


def test_a_token_says_what_the_log_holds_whatever_the_row_says_by_then(
    company: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_key = signing_keys.take

    def altered_meanwhile(now: datetime) -> Any:
        other = Agent.objects.create(name="other")
        scope = {**Grant.objects.get().scope, "audience": "https://evil.example", "actions": ["everything"]}
        Grant.objects.update(agent=other, tool="deploy", digest="0" * 64, scope=scope)
        Grant.objects.update(expires_at=timezone.now() + timedelta(hours=9))
        return take_key(now)

    monkeypatch.setattr(signing_keys, "take", altered_meanwhile)
    action, handed = take(company)
    claims = read(token_of(handed))
    (detail,) = claims["authorization_details"]
    assert (claims["sub"], claims["aud"], claims["txn"]) == ("scout", AUDIENCE, str(action.pk))
    assert (detail["actions"], detail["digest"]) == (["refund"], action.digest)
    assert claims["exp"] - claims["iat"] <= 120


def test_a_grant_that_the_log_does_not_hold_gets_no_token(company: Cast) -> None:
    action, handed = take(company)
    Grant.objects.update(state="revoked")
    forged = Grant.objects.create(
        action_id=action.pk, agent=company.agent, tool="refund", digest=action.digest, issuer="token",
        expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip
    with pytest.raises(IssuerFailed, match="the log does not hold"):
        ISSUERS["token"].issue(
            scope=handed.grant.scope | {"grant": str(forged.pk)}, expires_at=forged.expires_at
        )


def test_a_stolen_key_makes_no_token_that_introspection_calls_active(company: Cast) -> None:
    _, handed = take(company)
    key = signing_keys.signer(timezone.now())
    same = jose.signed(read(token_of(handed)) | {"sub": "root"}, key=key, typ="at+jwt")
    assert read(same)["sub"] == "root"
    assert tokenstatus.introspect(same) == {"active": False}


def test_a_key_that_was_removed_ends_its_tokens(company: Cast) -> None:
    _, handed = take(company)
    signing_keys.remove(kid=jwt.get_unverified_header(token_of(handed))["kid"], by="tests")
    assert tokenstatus.introspect(token_of(handed)) == {"active": False}


def test_a_token_from_before_a_rotation_holds_after_it(company: Cast) -> None:
    _, before = take(company)
    signing_keys.rotate(by="tests", at_once=True)
    _, after = take(company, order="B-1")
    kids = {jwt.get_unverified_header(token_of(handed))["kid"] for handed in (before, after)}
    assert len(kids) == 2
    assert all(tokenstatus.introspect(token_of(handed))["active"] for handed in (before, after))


def test_another_algorithm_is_signed_and_read(company: Cast, settings: Any) -> None:
    settings.AGENTSEC_TOKEN_ALG = "ES256"
    _, handed = take(company)
    assert jwt.get_unverified_header(token_of(handed))["alg"] == "ES256"
    assert status(token_of(handed)) == tokenstatus.VALID


def test_where_nothing_can_be_signed_nothing_starts_under_a_token(
    company: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = company.propose("refund", ARGS)

    def lost() -> bytes:
        raise ImproperlyConfigured("kek.key is missing: restore it from your backup")

    # For this part alone: without its key-encryption key the log takes no entry either, and nothing starts.
    monkeypatch.setattr(signing_keys, "keys", SimpleNamespace(kek=lost))
    with pytest.raises(Refused, match="kek.key is missing"):
        handout.take(action.pk, agent=company.agent)
    action.refresh_from_db()
    assert (action.state, Grant.objects.get().state) == ("failed", "revoked")
    assert IssuedToken.objects.count() == 0


@pytest.mark.parametrize("config", [{"issuer": "token"}, {"issuer": "token", "token": {"audience": ""}}])
def test_terms_that_were_written_past_the_forms_mint_nothing(config: dict[str, Any]) -> None:
    with pytest.raises(IssuerFailed, match="no token can be made"):
        ISSUERS["token"].scope(grant_id=Grant().pk, config=config, args=ARGS)


def test_what_an_agent_reports_is_searched_for_its_token(company: Cast) -> None:
    action, handed = take(company)
    output = {"echo": f"Authorization: Bearer {token_of(handed)}"}
    done = results.report(agent=company.agent, action_id=action.pk, status="succeeded", output=output)
    assert token_of(handed) not in done.result_json
    assert all(token_of(handed) not in str(record.open_whole(entry)) for entry in Entry.objects.all())


def test_ended_while_it_was_being_made_it_is_handed_to_nobody(
    company: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, action = ISSUERS["token"], company.propose("refund", ARGS)
    make, seen = issuer.issue, []

    def ended_meanwhile(**told: Any) -> Any:
        issued = make(**told)
        seen.append(issued.private["access_token"])
        results.give_back(agent=company.agent, grant_id=Grant.objects.get(action_id=action.pk).pk)
        return issued

    monkeypatch.setattr(issuer, "issue", ended_meanwhile)
    with pytest.raises(Refused):
        handout.take(action.pk, agent=company.agent)
    assert status(seen[0]) == tokenstatus.INVALID


def test_of_many_that_ask_at_once_one_gets_it(committed_cast: Cast) -> None:
    world.apply(WORLD, by="tests")
    action = committed_cast.propose("refund", ARGS)
    got: list[str] = []

    def ask() -> None:
        handed = handout.take(action.pk, agent=committed_cast.agent)
        if handed is not None and handed.credentials:
            got.append(token_of(handed))

    at_once(*[ask] * 6)
    assert (len(got), IssuedToken.objects.count()) == (1, 1)
    assert status(got[0]) == tokenstatus.VALID


def test_tokens_handed_out_at_once_have_places_of_their_own(committed_cast: Cast) -> None:
    world.apply(WORLD, by="tests")
    actions = [committed_cast.propose("refund", ARGS | {"order": f"O-{number}"}) for number in range(6)]
    got: list[str] = []

    def asking(action: Action) -> Callable[[], None]:
        def ask() -> None:
            handed = handout.take(action.pk, agent=committed_cast.agent)
            assert handed is not None
            got.append(token_of(handed))

        return ask

    at_once(*[asking(action) for action in actions])
    places = {read(token)["status"]["status_list"]["idx"] for token in got}
    assert (len(got), len(places)) == (6, 6)
    assert {status(token) for token in got} == {tokenstatus.VALID}
