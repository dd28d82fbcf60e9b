"""The credentials page: everything that opens something, what needs attention first, and an end to each."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from approvals import concerns, credentials
from approvals.warning_models import Warned, WarningNotice
from policies import agents, changes, people, secrets
from policies.models import (
    AgentKey,
    Grant,
    PastValue,
    PersonalToken,
    ProposedChange,
    Secret,
    Switch,
    User,
)
from tests.cast import Cast, person
from tests.gateway.caller import Caller
from tests.page import INLINE
from traces.models import Entry

pytestmark = pytest.mark.django_db
OLD = timedelta(days=200)
PAGE = "/policies/credentials"


@pytest.fixture
def browser(client: Client, cast: Cast) -> Any:
    def sign_in(*roles: str) -> Client:
        user = person("-".join(roles), roles=roles)
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


def stuck(cast: Cast) -> Grant:
    now = timezone.now()
    return Grant.objects.create(
        action_id=cast.propose("notes.read", {"id": 1}).pk, agent=cast.agent, tool="notes.read",
        digest="0" * 64, issuer="nobody", minted_at=now - timedelta(hours=1),
        expires_at=now - timedelta(minutes=55),
        state="revoking", attempts=3, problem="its database is away",
    )  # fmt: skip


def names(text: str) -> list[str]:
    return re.findall(r"<td><b>([^<]+)</b>", text)


def test_what_needs_attention_comes_first(cast: Cast, browser: Any) -> None:
    stuck(cast)
    AgentKey.objects.filter(pk=cast.key.pk).update(expires_at=timezone.now() + timedelta(hours=5))
    secrets.put(
        name="crm", value="crm-value-00417", by="tests", expires_at=timezone.now() + timedelta(days=9)
    )
    text = browser("auditor").get(PAGE).content.decode()
    assert names(text)[:3] == ["scout, notes.read", f"{cast.key.prefix}… of scout", "crm"]
    assert "its database is away" in text and "ends within 1 day" in text and "ends within 14 days" in text
    assert not INLINE.search(text) and "crm-value-00417" not in text


def test_every_kind_is_there_with_its_owner(cast: Cast) -> None:
    cast.agent.owner = cast.approver
    cast.agent.save()
    people.issue_token(cast.second)
    secrets.put(name="crm", value="crm-value-00417", by=f"user:{cast.administrator.pk}")
    found = {(item.kind, item.owner) for item in credentials.listed()}
    assert found == {
        ("key", "ada"), ("token", "ben"), ("secret", "root-admin"), ("signing", "this site")
    }  # fmt: skip
    host = next(item for item in credentials.listed() if "host" in item.detail)
    assert host.name.startswith(cast.host_key.prefix)


@pytest.mark.parametrize("roles", [("approver",), ("member",), ("editor",)])
def test_it_is_for_administrators_and_auditors(browser: Any, cast: Cast, roles: tuple[str, ...]) -> None:
    client = browser(*roles)
    assert client.get(PAGE).status_code == 403
    key = cast.key.pk
    for path in (f"{PAGE}/key/{key}/rotate", f"{PAGE}/secret/x/rotate", f"{PAGE}/remove"):
        assert (
            client.post(path, {"item": f"key:{key}", "confirmed": "yes", "overlap": "1"}).status_code == 403
        )
    assert AgentKey.objects.usable(timezone.now()).count() == 2


def test_an_auditor_sees_all_and_ends_nothing(browser: Any, cast: Cast) -> None:
    client = browser("auditor")
    text = client.get(PAGE).content.decode()
    assert "Rotate…" not in text and "Revoke…" not in text
    client.post(f"{PAGE}/remove", {"item": f"key:{cast.key.pk}", "confirmed": "yes"})
    assert AgentKey.objects.usable(timezone.now()).count() == 2


def test_removing_asks_first(browser: Any, cast: Cast) -> None:
    client, item = browser("administrator"), f"key:{cast.key.pk}"
    asked = client.post(f"{PAGE}/remove", {"item": item})
    assert asked.status_code == 200 and cast.key.prefix in asked.content.decode()
    assert AgentKey.objects.usable(timezone.now()).count() == 2
    client.post(f"{PAGE}/remove", {"item": item, "confirmed": "yes"})
    assert agents.authenticate_key(cast.raw_key) is None
    assert client.get(f"{PAGE}/remove").status_code == 405


def test_the_unused_go_with_one_click_and_what_was_used_meanwhile_stays(browser: Any, cast: Cast) -> None:
    people.issue_token(cast.second)
    AgentKey.objects.update(created_at=timezone.now() - OLD, last_used_at=None)
    PersonalToken.objects.update(created_at=timezone.now() - OLD)
    client = browser("administrator")
    assert "Remove 3 unused…" in client.get(PAGE).content.decode()
    asked = client.post(f"{PAGE}/remove", {"item": "unused"}).content.decode()
    items = re.findall(r'name="item" value="([^"]+)"', asked)
    assert len(items) == 3
    agents.authenticate_key(cast.raw_key)
    done = client.post(f"{PAGE}/remove", {"item": items, "why": "unused", "confirmed": "yes"}, follow=True)
    assert "1 of them changed meanwhile" in done.content.decode()
    left = AgentKey.objects.usable(timezone.now())
    assert [key.pk for key in left] == [cast.key.pk] and PersonalToken.objects.get().revoked_at


def test_a_new_key_works_beside_the_old_one_and_keeps_its_end(browser: Any, cast: Cast) -> None:
    ends = timezone.now() + timedelta(days=5)
    AgentKey.objects.filter(pk=cast.key.pk).update(expires_at=ends)
    client = browser("administrator")
    page = f"{PAGE}/key/{cast.key.pk}/rotate"
    assert client.get(page).status_code == 200
    shown = client.post(page, {"overlap": "30"})
    (raw,) = re.findall(r"ask_[A-Za-z0-9_-]{43}", shown.content.decode())
    fresh, old = agents.authenticate_key(raw), AgentKey.objects.get(pk=cast.key.pk)
    assert fresh is not None and (fresh.expires_at, fresh.scopes) == (ends, ["act"])
    assert agents.authenticate_key(cast.raw_key) is not None and old.expires_at is not None
    assert old.expires_at - timezone.now() < timedelta(minutes=31)
    assert "no-store" in shown["Cache-Control"] and raw not in str(list(Entry.objects.values()))


def test_a_new_end_can_be_chosen(browser: Any, cast: Cast) -> None:
    client = browser("administrator")
    client.post(f"{PAGE}/key/{cast.key.pk}/rotate", {"overlap": "0", "days": "30"})
    newest = AgentKey.objects.order_by("-pk")[0]
    assert newest.expires_at is not None
    assert timedelta(days=29) < newest.expires_at - timezone.now() <= timedelta(days=30)
    assert agents.authenticate_key(cast.raw_key) is None


def test_of_several_keys_the_new_one_ends_with_the_first(cast: Cast) -> None:
    ends = timezone.now() + timedelta(days=5)
    AgentKey.objects.filter(pk=cast.host_key.pk).update(scopes=["act"])
    AgentKey.objects.filter(pk=cast.key.pk).update(expires_at=ends)
    raw = agents.rotate(agent=cast.agent, by="tests")
    fresh = agents.authenticate_key(raw)
    assert fresh is not None and fresh.expires_at == ends


def test_a_secret_gets_a_new_value_and_the_one_before_works_on(browser: Any, cast: Cast) -> None:
    secrets.put(name="crm", value="crm-value-00417", by="tests")
    client, page = browser("administrator"), f"{PAGE}/secret/crm/rotate"
    refused = client.post(page, {"value": "short", "overlap": "10"})
    assert refused.status_code == 422 and "could not be masked" in refused.content.decode()
    client.post(page, {"value": "crm-value-00418", "overlap": "10", "days": "90"})
    assert secrets.usable("crm") == ("crm-value-00418", "crm-value-00417")
    text = client.get(PAGE).content.decode()
    assert "the value before works until" in text and "crm-value" not in text
    assert Secret.objects.get().expires_at is not None


@pytest.mark.parametrize(
    "wrong", [{"overlap": "-1"}, {"overlap": "99999999999"}, {"overlap": ""}, {"overlap": "1", "days": "0"}]
)
def test_an_odd_overlap_or_end_changes_nothing(browser: Any, cast: Cast, wrong: dict[str, str]) -> None:
    assert browser("administrator").post(f"{PAGE}/key/{cast.key.pk}/rotate", wrong).status_code == 422
    assert AgentKey.objects.count() == 2


@pytest.mark.parametrize("key", ["999999", "1' OR 1=1"])
def test_what_is_not_there_is_not_found(browser: Any, key: str) -> None:
    client = browser("administrator")
    assert client.get(f"{PAGE}/key/{key}/rotate").status_code == 404
    assert client.get(f"{PAGE}/secret/{key}/rotate").status_code == 404


@override_settings(AGENTSEC_FOUR_EYES=True)
def test_with_four_eyes_a_new_key_and_a_new_value_wait_for_somebody_else(browser: Any, cast: Cast) -> None:
    secrets.put(name="crm", value="crm-value-00417", by="operator")
    client = browser("administrator")
    client.post(f"{PAGE}/key/{cast.key.pk}/rotate", {"overlap": "1"})
    client.post(f"{PAGE}/secret/crm/rotate", {"value": "crm-value-00418", "overlap": "10", "days": "3"})
    waiting = list(ProposedChange.objects.order_by("pk"))
    assert ([row.kind for row in waiting], AgentKey.objects.count()) == (["agent.key", "secret"], 2)
    assert secrets.read("crm") == "crm-value-00417"
    changes.confirm(change_id=waiting[1].pk, user=cast.administrator)
    assert secrets.usable("crm") == ("crm-value-00418", "crm-value-00417")
    assert PastValue.objects.get().usable_until and Secret.objects.get().expires_at


def test_a_stuck_grant_is_a_banner_for_who_may_end_it_and_ends_by_itself(browser: Any, cast: Cast) -> None:
    found = stuck(cast)
    client = browser("administrator")
    health = client.get("/health").content.decode()
    assert "A grant cannot be ended" in health and "1 cannot be ended; each is tried again" in health
    assert "its database is away" in client.get(reverse("admin:index")).content.decode()
    Grant.objects.filter(pk=found.pk).update(state="revoked")
    assert "A grant cannot be ended" not in client.get("/health").content.decode()


def test_the_banner_is_not_for_others(browser: Any, cast: Cast) -> None:
    stuck(cast)
    assert "A grant cannot be ended" not in browser("auditor").get("/health").content.decode()


def test_a_grant_is_ended_now(browser: Any, cast: Cast) -> None:
    now = timezone.now()
    living = Grant.objects.create(
        action_id=cast.propose("notes.read", {"id": 1}).pk, agent=cast.agent, tool="notes.read",
        digest="0" * 64, issuer="none", minted_at=now, expires_at=now + timedelta(minutes=5),
    )  # fmt: skip
    browser("administrator").post(f"{PAGE}/remove", {"item": f"grant:{living.pk}", "confirmed": "yes"})
    living.refresh_from_db()
    assert living.state == "revoked"


def test_a_secret_that_does_not_open_or_is_too_short_says_so(cast: Cast) -> None:
    Secret.objects.create(name="foreign", sealed=b"\0" * 40)
    Secret.objects.create(name="short", sealed=secrets.seal("short", b"abc"))
    said = {item.name: item.why for item in credentials.listed() if item.kind == "secret"}
    assert "does not open" in said["foreign"] and "not masked" in said["short"]


# Warnings


def test_an_end_that_comes_near_is_said_once_a_stage_to_its_owner_and_the_administrators(cast: Cast) -> None:
    for user, mail in ((cast.approver, "ada@corp.example"), (cast.administrator, "root@corp.example")):
        User.objects.filter(pk=user.pk).update(email=mail)
    cast.agent.owner = cast.approver
    cast.agent.save()
    with override_settings(EMAIL_HOST="localhost"):
        for days, said in ((20, 0), (13, 1), (12, 0), (2, 1), (0.5, 1), (0.4, 0)):
            AgentKey.objects.filter(pk=cast.key.pk).update(expires_at=timezone.now() + timedelta(days=days))
            ends = AgentKey.objects.get(pk=cast.key.pk).expires_at
            Warned.objects.update(until=ends.isoformat())
            assert (days, concerns.note_expiring()) == (days, said)
    told = {notice.outlet.user.username for notice in WarningNotice.objects.select_related("outlet__user")}
    assert told == {"ada", "root-admin"} and Entry.objects.filter(kind="credential.warned").count() == 3


# What people type


def test_a_form_that_holds_a_value_is_refused_and_kept_nowhere(browser: Any, cast: Cast) -> None:
    secrets.put(name="crm", value="crm value/00417", by="tests")
    client = browser("administrator")
    answer = client.post("/switch/throw", {"kind": "all", "reason": "it leaked crm value/00417"})
    assert answer.status_code == 422 and "secret crm" in answer.content.decode()
    assert "crm value" not in answer.content.decode() and not Switch.objects.exists()
    admin = Caller(people.issue_token(cast.administrator))
    status, told = admin.post("/switch", {"scope": "all", "reason": "crm value/00417"})
    assert (status, told["code"], Switch.objects.count()) == (422, "invalid", 0)
    client.post("/switch/throw", {"kind": "all", "reason": "the secret crm leaked"})
    assert Switch.objects.exists()


def test_who_signs_in_with_such_a_password_still_signs_in(client: Client, cast: Cast) -> None:
    secrets.put(name="crm", value="crm-value-00417", by="tests")
    answer = client.post("/sign-in", {"username": "nobody", "password": "crm-value-00417"})
    assert answer.status_code == 401


# The REST door


def test_over_rest_the_same_is_seen_and_done(cast: Cast) -> None:
    admin = Caller(people.issue_token(cast.administrator))
    secrets.put(name="crm", value="crm-value-00417", by="tests")
    status, told = admin.get("/credentials")
    assert status == 200 and {item["kind"] for item in told["credentials"]} == {
        "key", "token", "secret", "signing",
    }  # fmt: skip
    status, made = admin.post(f"/credentials/key/{cast.key.pk}/rotate", {"overlap_minutes": 5})
    assert status == 200 and agents.authenticate_key(made["key"]) is not None
    body = {"value": "crm-value-00418", "overlap_minutes": 5}
    assert admin.post("/credentials/secret/crm/rotate", body)[0] == 204
    assert secrets.usable("crm") == ("crm-value-00418", "crm-value-00417")
    assert admin.delete(f"/credentials/key/{cast.host_key.pk}")[0] == 204
    assert agents.authenticate_key(cast.raw_host_key) is None


def test_over_rest_nobody_else_does_it(cast: Cast) -> None:
    secrets.put(name="crm", value="crm-value-00417", by="tests")
    for user in (cast.approver, cast.auditor, cast.stranger):
        caller = Caller(people.issue_token(user))
        assert caller.get("/credentials")[0] == (200 if user == cast.auditor else 403)
        assert caller.post(f"/credentials/key/{cast.key.pk}/rotate", {})[0] == 403
        assert caller.post("/credentials/secret/crm/rotate", {"value": "crm-value-00418"})[0] == 403
        assert caller.delete("/credentials/secret/crm")[0] == 403
    assert Caller(cast.raw_key).get("/credentials")[0] in (401, 403)
