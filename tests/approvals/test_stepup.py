"""Step-up: an approval counts where its voter's passkey signed exactly it, and starts nothing otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from approvals import decisions, signing, starting, stepup
from approvals.models import Action, Vote
from policies import passkeys, world
from policies.models import Passkey, User
from tests.authenticator import PRESENT, Authenticator
from tests.cast import Cast, person
from traces import proofs, record, signed
from traces.models import Entry
from traces.problems import Refused

BACKEND = "django.contrib.auth.backends.ModelBackend"
STEP_UP = """
rules:
  - {name: deploys, effect: ask, tools: [deploy], approvers: comms, step_up: true}
  - {name: orders, effect: ask, tools: [order.place], approvers: finance, quorum: 2}
  - {name: dear, effect: ask, tools: [order.place], approvers: comms, when: args.amount > 9999, step_up: true}
"""


def equip(user: User, kind: str = "ES256") -> Authenticator:
    """Give somebody a passkey, as their browser would."""
    device = Authenticator(kind)
    options, state = passkeys.offer(user)
    passkeys.register(user=user, state=state, answer=json.dumps(device.create(options)), name="laptop")
    return device


@pytest.fixture
def careful(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> Cast:
    monkeypatch.setattr(settings, "AGENTSEC_URL", "http://127.0.0.1:8000")
    monkeypatch.setattr(proofs, "is_covered", lambda entries: True)
    monkeypatch.setattr(settings, "AGENTSEC_UNDO_SECONDS", 0)
    world.apply(STEP_UP, by="tests")
    return cast


@pytest.fixture
def device(careful: Cast) -> Authenticator:
    return equip(careful.approver)


def signature(action: Action, user: User, device: Authenticator, *, comment: str = "", **other: Any) -> str:
    wish = signing.request(action_id=action.pk, user=user, digest=action.digest, comment=comment)
    return json.dumps(device.get(wish, **other))


def approve(action: Action, user: User, **more: Any) -> decisions.Decision:
    more = {"confirm": action.target, **more}
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, **more)


def start(action: Action) -> starting.Started | starting.Held | starting.Dropped:
    return starting.start(action_id=action.pk, worker="w")


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "RS256"])
def test_a_signed_approval_counts_and_starts(careful: Cast, kind: str) -> None:
    device, action = equip(careful.approver, kind), careful.deploy()
    answer = signature(action, careful.approver, device, comment="go")
    approve(action, careful.approver, comment="go", answer=answer)
    assert isinstance(start(action), starting.Started)


def test_the_vote_s_entry_holds_the_signature_and_names_the_registration(
    careful: Cast, device: Authenticator
) -> None:
    action = careful.deploy()
    approve(action, careful.approver, answer=signature(action, careful.approver, device))
    entry = Entry.objects.get(uuid=Vote.objects.get().entry)
    held = record.open_payload(entry)["signature"]
    registration = Entry.objects.get(uuid=held["passkey"])
    assert (registration.kind, held["credential"]) == (signed.ADDED, device.id)


def test_without_a_signature_it_does_not_count(careful: Cast, device: Authenticator) -> None:
    with pytest.raises(Refused, match="approve it with your passkey"):
        approve(careful.deploy(), careful.approver)


def test_who_has_no_passkey_is_told_where_to_add_one(careful: Cast) -> None:
    with pytest.raises(Refused, match="add a passkey on your account page"):
        approve(careful.deploy(), careful.approver)


def refuse(action: Action, user: User, answer: str, **more: Any) -> None:
    with pytest.raises(Refused) as refused:
        approve(action, user, answer=answer, **more)
    assert refused.value.code in ("forbidden", "invalid") and not Vote.objects.exists()


def test_a_signature_of_another_comment_does_not_count(careful: Cast, device: Authenticator) -> None:
    action = careful.deploy()
    answer = signature(action, careful.approver, device, comment="only staging")
    refuse(action, careful.approver, answer, comment="")


def test_a_signature_of_another_action_does_not_count(careful: Cast, device: Authenticator) -> None:
    answer = signature(careful.deploy(), careful.approver, device)
    refuse(careful.deploy(), careful.approver, answer)


def test_somebody_else_s_signature_does_not_count(careful: Cast, device: Authenticator) -> None:
    other = person("cleo", "comms")
    action = careful.deploy()
    mine = signature(action, other, equip(other))
    refuse(action, careful.approver, mine)


@pytest.mark.parametrize("other", [{"flags": PRESENT}, {"origin": "https://evil.example"}, {"cross": True}])
def test_a_signature_made_elsewhere_or_unverified_does_not_count(
    careful: Cast, device: Authenticator, other: dict[str, Any]
) -> None:
    action = careful.deploy()
    refuse(action, careful.approver, signature(action, careful.approver, device, **other))


@pytest.mark.parametrize(
    "answer", ["x", "{}", "[]", '{"id": null, "response": {}}', '"' * 9, "\x00", '{"id":"\\ud800"}']
)
def test_garbage_is_no_signature(careful: Cast, device: Authenticator, answer: str) -> None:
    refuse(careful.deploy(), careful.approver, answer)


def test_a_passkey_that_was_copied_is_noticed(careful: Cast, device: Authenticator) -> None:
    Passkey.objects.update(count=1000)
    action = careful.deploy()
    refuse(action, careful.approver, signature(action, careful.approver, device))


def test_a_removed_passkey_signs_nothing(careful: Cast, device: Authenticator) -> None:
    action = careful.deploy()
    answer = signature(action, careful.approver, device)
    passkeys.remove(user=careful.approver, passkey_id=Passkey.objects.get().pk, by="tests")
    refuse(action, careful.approver, answer)


def test_an_edit_is_signed_as_the_edited_call(careful: Cast, device: Authenticator) -> None:
    action = careful.order(20000)
    args = {**action.args, "item": "less paper"}
    told: dict[str, Any] = {
        "action_id": action.pk,
        "user": careful.approver,
        "digest": action.digest,
        "args": args,
    }
    wish = signing.request(**told, comment="why")
    assert action.digest == Action.objects.get().digest
    decisions.edit(**told, comment="why", answer=json.dumps(device.get(wish)))
    assert Vote.objects.get().group == "comms"


def test_a_signature_of_the_call_before_the_edit_does_not_count(careful: Cast, device: Authenticator) -> None:
    action = careful.order(20000)
    answer = signature(action, careful.approver, device, comment="why")
    with pytest.raises(Refused, match="another decision"):
        decisions.edit(
            action_id=action.pk, user=careful.approver, digest=action.digest, comment="why", answer=answer,
            args={**action.args, "item": "less paper"},
        )  # fmt: skip
    assert Action.objects.get().revision == 1


def test_where_no_rule_wants_it_nothing_is_signed(careful: Cast, device: Authenticator) -> None:
    action = careful.mass_mail()
    wish = signing.request(action_id=action.pk, user=careful.approver, digest=action.digest, comment="")
    assert wish == {}


def forge(action: Action, user: User, held: dict[str, Any] | None, group: str = "comms") -> None:
    """What a compromised server could do afterwards: write the entry, the vote, and that it is ready."""
    body = {
        "by": user.username, "group": group, "verdict": "approve", "comment": "", "digest": action.digest,
        "revision": 1, "channel": "browser", **({"signature": held} if held is not None else {}),
    }  # fmt: skip
    with transaction.atomic():
        entry = record.append(
            kind="vote.approve",
            actor=f"user:{user.pk}",
            session=action.session,
            action=str(action.pk),
            body=body,
        )
    Vote.objects.create(
        action=action, revision=1, digest=action.digest, user=user, group=group, verdict="approve",
        entry=entry.uuid,
    )  # fmt: skip
    Action.objects.filter(pk=action.pk).update(state="ready", not_before=None)


def registered(device: Authenticator, user: User, actor: str = "") -> str:
    body = {"user": f"user:{user.pk}", "credential": device.id, "key": device.jwk, "rp_id": "localhost"}
    with transaction.atomic():
        entry = record.append(
            kind=signed.ADDED, actor=actor or f"user:{user.pk}", subject=record.SITE, body=body
        )
    return str(entry.uuid)


def test_a_forged_approval_starts_nothing(careful: Cast, device: Authenticator) -> None:
    """The vote's entry is genuine, written with the server's own keys; only the passkey's part is not."""
    user, found = careful.approver, []
    entry, thief = str(Passkey.objects.get().entry), Authenticator()
    for number in range(8):
        action = careful.deploy(f"host-{number}")
        wanted = stepup.challenge(action, user, verdict="approve", comment="")
        held: list[dict[str, Any] | None] = [
            None,
            {},
            {**thief.sign(wanted), "passkey": entry},
            {**thief.sign(wanted), "passkey": registered(thief, user, "agentsec")},
            {**thief.sign(wanted), "passkey": "nothing"},
            {**device.sign(wanted[::-1]), "passkey": entry},
            {**device.sign(wanted), "passkey": str(Entry.objects.first().uuid)},  # type: ignore[union-attr]
            {**thief.sign(wanted), "credential": device.id, "passkey": entry},
        ]
        forge(action, user, held[number])
        found.append(type(start(action)).__name__)
    assert found == ["Dropped"] * 8


def test_a_key_that_is_registered_after_the_vote_does_not_carry_it(careful: Cast) -> None:
    action, thief = careful.deploy(), Authenticator()
    forge(action, careful.approver, {})
    later = registered(thief, careful.approver)
    vote = Vote.objects.get()
    assert "signed" in stepup.contradiction(action, [vote]) and later


def test_a_row_of_a_passkey_that_nobody_registered_carries_nothing(careful: Cast) -> None:
    """Somebody with the database alone adds a passkey of their own to ada's account and uses it."""
    thief = Authenticator()
    Passkey.objects.create(
        user=careful.approver, name="laptop", credential=thief.id, key=thief.jwk, rp_id="localhost",
        handle="", entry=Entry.objects.first().uuid,  # type: ignore[union-attr]
    )  # fmt: skip
    action = careful.deploy()
    approve(action, careful.approver, answer=signature(action, careful.approver, thief))
    found = start(action)
    assert isinstance(found, starting.Dropped) and "not signed by their passkey" in found.why


def test_what_a_passkey_signed_that_was_removed_is_asked_again(careful: Cast, device: Authenticator) -> None:
    action = careful.deploy()
    approve(action, careful.approver, answer=signature(action, careful.approver, device))
    passkeys.remove(user=careful.approver, passkey_id=Passkey.objects.get().pk, by="tests")
    outcome = start(action)
    assert isinstance(outcome, starting.Dropped) and "removed since" in outcome.why
    assert Action.objects.get().state == "pending" and stepup.forgeries() == []


def test_a_passkey_that_is_removed_beside_it_changes_nothing(careful: Cast, device: Authenticator) -> None:
    action, spare = careful.deploy(), equip(careful.approver)
    approve(action, careful.approver, answer=signature(action, careful.approver, device))
    other = Passkey.objects.get(credential=spare.id)
    passkeys.remove(user=careful.approver, passkey_id=other.pk, by="tests")
    assert isinstance(start(action), starting.Started)


def test_the_page_asks_for_the_signature_of_what_its_form_says(
    careful: Cast, device: Authenticator, client: Client
) -> None:
    client.force_login(careful.approver, backend=BACKEND)
    action = careful.deploy()
    form = {"verdict": "approve", "digest": action.digest, "comment": " a\r\nb "}
    wish = client.post(f"/actions/{action.pk}/sign", form).json()
    answer = json.dumps(device.get(wish))
    sent = {**form, "confirm": "production", "answer": answer}
    client.post(f"/actions/{action.pk}/decide", sent)
    assert Vote.objects.get().comment == "a\nb"


def test_a_stranger_gets_nothing_to_sign(careful: Cast, client: Client) -> None:
    client.force_login(careful.stranger, backend=BACKEND)
    assert client.post(f"/actions/{careful.deploy().pk}/sign", {"verdict": "approve"}).status_code == 404


def test_the_panel_says_what_is_missing(careful: Cast, client: Client) -> None:
    client.force_login(careful.approver, backend=BACKEND)
    page = client.get(f"/actions/{careful.deploy().pk}/card").content.decode()
    assert "You have no passkey yet" in page and "data-signs" not in page


def test_who_has_none_may_still_answer_for_their_other_group(careful: Cast, client: Client) -> None:
    client.force_login(careful.approver, backend=BACKEND)
    action = careful.order(20000)
    page = client.get(f"/actions/{action.pk}/card").content.decode()
    assert "You have no passkey yet" not in page and 'id="approve-form"' in page
    client.post(f"/actions/{action.pk}/decide", {"verdict": "approve", "digest": action.digest})
    assert Vote.objects.get().group == "finance"


def test_with_a_passkey_the_panel_asks_for_it(careful: Cast, device: Authenticator, client: Client) -> None:
    client.force_login(careful.approver, backend=BACKEND)
    page = client.get(f"/actions/{careful.deploy().pk}/card").content.decode()
    assert f"/actions/{Action.objects.get().pk}/sign" in page
