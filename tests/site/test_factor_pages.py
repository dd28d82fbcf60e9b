"""Passkeys, apps and recovery codes as people meet them: adding, signing in, losing them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from agentsec_site.pages.entering import FRESH_LIFE, SINCE
from policies import changes, factors, passkeys, people, totp
from policies.access import actor
from policies.factor_models import AuthenticatorApp, Passkey, RecoveryCode
from policies.foureyes import NeedsSecond
from policies.models import User
from tests.authenticator import PRESENT, Authenticator
from tests.cast import person
from tests.page import INLINE
from traces import record, signed
from traces.models import Entry
from traces.problems import Refused

PASSWORD = "correct horse battery staple"
BACKEND = "django.contrib.auth.backends.ModelBackend"
JSON = {"HTTP_ACCEPT": "application/json"}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def named(settings: Any) -> None:
    settings.AGENTSEC_URL = "http://localhost:8000"
    # Hashing passwords slowly is tested elsewhere, and would cost every test a second.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def mina() -> User:
    user = person("mina", "comms")
    user.set_password(PASSWORD)
    user.email = "mina@acme.example"
    user.save()
    return user


@pytest.fixture
def inside(mina: User) -> Client:
    """Her browser, a moment after signing in."""
    client = Client()
    sign_in(client)
    return client


def text(response: Any) -> str:
    return response.content.decode()


def sign_in(client: Client, name: str = "mina", **more: str) -> Any:
    return client.post("/sign-in", {"username": name, "password": PASSWORD, **more})


def who(client: Client) -> str:
    """Who is signed in here; empty where nobody is."""
    page = client.get("/account")
    found = re.search(r"<h1>(.*?)</h1>", text(page))
    return found[1] if page.status_code == 200 and found else ""


def add(
    client: Client, *, kind: str = "ES256", name: str = "Laptop", **other: Any
) -> tuple[Authenticator, Any]:
    device = Authenticator(kind)
    options = client.post(reverse("passkey-options"), **JSON).json()
    answer = json.dumps(device.create(options, **other))
    return device, client.post(reverse("passkey-add"), {"name": name, "answer": answer})


def by_passkey(client: Client, device: Authenticator, **other: Any) -> Any:
    options = client.post(reverse("sign-in-options"), **JSON).json()
    return client.post(
        reverse("sign-in-passkey"), {"answer": json.dumps(device.get(options, **other)), "next": "/"}
    )


def add_app(user: User) -> str:
    secret = totp.new_secret()
    factors.add_app(user=user, secret=secret, code=totp.code(secret, int(time.time()) // 30))
    AuthenticatorApp.objects.update(last_step=0)
    return secret


def now_code(secret: str) -> str:
    return totp.code(secret, int(time.time()) // 30)


def kinds() -> list[str]:
    return list(
        Entry.objects.filter(kind__startswith="person.").order_by("pk").values_list("kind", flat=True)
    )


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "RS256"])
def test_a_passkey_signs_in_without_a_password(inside: Client, kind: str) -> None:
    device, _ = add(inside, kind=kind)
    fresh = Client()
    assert by_passkey(fresh, device).status_code == 302 and who(fresh) == "mina"


def test_the_log_says_by_what_somebody_signed_in(inside: Client) -> None:
    device, _ = add(inside)
    by_passkey(Client(), device)
    said = [record.open_payload(entry)["method"] for entry in Entry.objects.filter(kind="person.signed_in")]
    assert said == ["password", "passkey"]


def test_its_registration_is_an_entry_that_names_no_name(inside: Client, mina: User) -> None:
    device, _ = add(inside)
    entry = Entry.objects.get(kind=signed.ADDED)
    body = {"user": actor(mina), "credential": device.id, "key": device.jwk, "rp_id": "localhost"}
    assert record.open_payload(entry) == body and "mina" not in str(record.open_whole(entry))


@pytest.mark.parametrize("other", [{"flags": PRESENT}, {"origin": "https://evil.example"}])
def test_a_passkey_made_elsewhere_or_unverified_is_not_added(inside: Client, other: dict[str, Any]) -> None:
    assert add(inside, **other)[1].status_code == 422 and not Passkey.objects.exists()


def test_an_offer_is_answered_once(inside: Client) -> None:
    device = Authenticator()
    options = inside.post(reverse("passkey-options"), **JSON).json()
    answers = [json.dumps(device.create(options)), json.dumps(Authenticator().create(options))]
    found = [
        inside.post(reverse("passkey-add"), {"name": "x", "answer": answer}).status_code for answer in answers
    ]
    assert found == [302, 422] and Passkey.objects.count() == 1


@pytest.mark.parametrize(
    "answer", ["", "x", "{}", '{"id": 1}', '{"response": null}', "[" * 5000, '"\\ud800"']
)
def test_garbage_adds_nothing_and_signs_nobody_in(inside: Client, answer: str) -> None:
    inside.post(reverse("passkey-options"), **JSON)
    added = inside.post(reverse("passkey-add"), {"name": "x", "answer": answer}).status_code
    stranger = Client()
    stranger.post(reverse("sign-in-options"), **JSON)
    entered = stranger.post(reverse("sign-in-passkey"), {"answer": answer}).status_code
    assert (added, entered, who(stranger)) == (422, 401, "")


def test_a_challenge_is_answered_once(inside: Client) -> None:
    device, _ = add(inside)
    client = Client()
    options = client.post(reverse("sign-in-options"), **JSON).json()
    answer = json.dumps(device.get(options))
    found = [client.post(reverse("sign-in-passkey"), {"answer": answer}).status_code for _ in range(2)]
    assert found == [302, 401]


def test_a_signature_of_an_approval_signs_nobody_in(inside: Client) -> None:
    device, _ = add(inside)
    client = Client()
    client.post(reverse("sign-in-options"), **JSON)
    wish = {"publicKey": {"challenge": "A" * 43}}
    answer = client.post(reverse("sign-in-passkey"), {"answer": json.dumps(device.get(wish))})
    assert answer.status_code == 401


def test_whose_account_is_off_does_not_come_in_by_passkey(inside: Client) -> None:
    device, _ = add(inside)
    User.objects.filter(username="mina").update(is_active=False)
    assert by_passkey(Client(), device).status_code == 401


def test_behind_the_password_comes_the_second_factor(mina: User) -> None:
    secret, client = add_app(mina), Client()
    assert sign_in(client)["Location"] == reverse("second-factor") and who(client) == ""
    client.post(reverse("second-factor"), {"code": now_code(secret)})
    assert who(client) == "mina"


def test_the_page_wanted_before_is_the_page_after(mina: User) -> None:
    secret, client = add_app(mina), Client()
    sign_in(client, next="/traces")
    assert client.post(reverse("second-factor"), {"code": now_code(secret)})["Location"] == "/traces"


def test_a_code_works_once(mina: User) -> None:
    secret = add_app(mina)
    code, found = now_code(secret), []
    for client in (Client(), Client()):
        sign_in(client)
        found.append(client.post(reverse("second-factor"), {"code": code}).status_code)
    assert found == [302, 403]


def test_after_five_wrong_codes_the_right_one_waits_too(mina: User) -> None:
    secret, client = add_app(mina), Client()
    sign_in(client)
    found = [client.post(reverse("second-factor"), {"code": "000000"}).status_code for _ in range(5)]
    assert (found, client.post(reverse("second-factor"), {"code": now_code(secret)}).status_code) == (
        [403] * 5,
        429,
    )


def test_a_passkey_serves_as_second_factor(inside: Client) -> None:
    device, _ = add(inside)
    client = Client()
    sign_in(client)
    options = client.post(reverse("sign-in-options"), **JSON).json()
    assert [each["id"] for each in options["publicKey"]["allowCredentials"]] == [device.id]
    client.post(reverse("second-factor"), {"answer": json.dumps(device.get(options))})
    assert who(client) == "mina"


def test_somebody_else_s_passkey_is_no_second_factor(inside: Client, mina: User) -> None:
    add_app(mina)
    other, eve = Client(), person("eve", "comms")
    other.force_login(eve, backend=BACKEND)
    session = other.session
    session[SINCE] = time.time()
    session.save()
    device, _ = add(other)
    client = Client()
    sign_in(client)
    options = client.post(reverse("sign-in-options"), **JSON).json()
    answer = client.post(reverse("second-factor"), {"answer": json.dumps(device.get(options))})
    assert (answer.status_code, who(client)) == (403, "")


def test_a_reset_link_does_not_pass_by_the_second_factor(mina: User) -> None:
    add_app(mina)
    client, link = Client(), people.reset(user=mina, by="tests")
    answer = client.post(f"/welcome/{link.token}", {"password": PASSWORD + "!", "again": PASSWORD + "!"})
    assert answer["Location"] == reverse("second-factor") and who(client) == ""


def test_a_password_changed_meanwhile_ends_the_waiting(mina: User) -> None:
    secret, client = add_app(mina), Client()
    sign_in(client)
    mina.set_password("something else entirely")
    mina.save()
    assert client.post(reverse("second-factor"), {"code": now_code(secret)})["Location"] == reverse("sign-in")


def test_without_a_first_factor_there_is_no_second() -> None:
    assert Client().get(reverse("second-factor"))["Location"] == reverse("sign-in")


def test_a_demo_link_still_signs_in(mina: User, settings: Any) -> None:
    settings.AGENTSEC_DEMO = True
    add_app(mina)
    client = Client()
    client.get(f"/welcome/{people.demo_link(user=mina).token}")
    assert who(client) == "mina"


def codes_of(client: Client) -> list[str]:
    page = text(client.post(reverse("codes-make")))
    return re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", page)


def test_recovery_codes_are_shown_once_kept_as_hashes_and_work_once(inside: Client, mina: User) -> None:
    add_app(mina)
    codes = codes_of(inside)
    found = []
    for given in (codes[3], codes[3], codes[4].upper().replace("-", " ")):
        client = Client()
        sign_in(client)
        found.append(client.post(reverse("second-factor"), {"code": given}).status_code)
    kept = str(list(RecoveryCode.objects.values()))
    assert found == [302, 403, 302] and not any(code.replace("-", "") in kept for code in codes)
    assert codes[0] not in text(inside.get(reverse("factors")))


def test_new_codes_end_the_older_ones(inside: Client, mina: User) -> None:
    add_app(mina)
    older = codes_of(inside)
    codes_of(inside)
    with pytest.raises(Refused):
        factors.check_code(user=mina, code=older[0])


def test_codes_alone_open_nothing_once_the_factors_are_gone(inside: Client, mina: User) -> None:
    add_app(mina)
    codes_of(inside)
    factors.remove_app(user=mina, by="tests")
    client = Client()
    sign_in(client)
    assert who(client) == "mina"


PLACES: list[Callable[[], str]] = [
    lambda: reverse("passkey-add"),
    lambda: reverse("passkey-rename", args=[Passkey.objects.get().pk]),
    lambda: reverse("passkey-remove", args=[Passkey.objects.get().pk]),
    lambda: reverse("app-remove"),
    lambda: reverse("codes-make"),
]


@pytest.mark.parametrize("place", PLACES)
def test_a_page_left_open_changes_nobody_s_way_in(
    inside: Client, mina: User, place: Callable[[], str]
) -> None:
    add(inside)
    add_app(mina)
    before = kinds()
    session = inside.session
    session[SINCE] = time.time() - FRESH_LIFE - 1
    session.save()
    answer = inside.post(place(), {"name": "other"})
    assert answer.status_code == 403 and "Sign in again" in text(answer) and kinds() == before


def test_nobody_changes_another_s_passkey(inside: Client) -> None:
    add(inside)
    theirs = Passkey.objects.get()
    Passkey.objects.update(user=person("eve"))
    found = [
        inside.post(reverse(f"passkey-{verb}", args=[theirs.pk]), {"name": "mine"}).status_code
        for verb in ("rename", "remove")
    ]
    assert found == [404, 404] and Passkey.objects.get().name == "Laptop"


def test_a_passkey_is_renamed_and_removed(inside: Client) -> None:
    add(inside)
    key = Passkey.objects.get().pk
    inside.post(reverse("passkey-rename", args=[key]), {"name": "Phone <b>"})
    assert "Phone &lt;b&gt;" in text(inside.get(reverse("factors")))
    inside.post(reverse("passkey-remove", args=[key]))
    assert not Passkey.objects.exists() and kinds()[-1] == signed.REMOVED


def test_the_app_s_page_shows_the_same_secret_until_its_code_is_right(inside: Client, mina: User) -> None:
    page = text(inside.get(reverse("app-add")))
    secret = re.search(r'id="key">([A-Z2-7]+)<', page)[1]  # type: ignore[index]
    wrong = inside.post(reverse("app-add"), {"code": "000000"})
    right = inside.post(reverse("app-add"), {"code": now_code(secret)})
    assert (wrong.status_code, right.status_code, secret in text(wrong)) == (422, 302, True)
    assert secret.encode() not in bytes(AuthenticatorApp.objects.get().sealed)
    assert factors.of(mina).names == ("app",)


@pytest.mark.parametrize("address", ["/sign-in", "/account/factors", "/account/app"])
def test_no_page_needs_inline_scripts_or_styles(inside: Client, address: str) -> None:
    page = text((Client() if address == "/sign-in" else inside).get(address))
    assert not INLINE.search(page)


def test_changes_are_told_by_mail(
    inside: Client, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.EMAIL_HOST = "mail.example"
    with django_capture_on_commit_callbacks(execute=True):
        add(inside)
    assert "passkey “Laptop” was added" in mail.outbox[0].body


@pytest.mark.parametrize(
    ("url", "rp_id"),
    [
        ("http://127.0.0.1:8000", "localhost"),
        ("http://[::1]:8000", "localhost"),
        ("http://localhost:1", "localhost"),
        ("https://agents.example", "agents.example"),
        ("http://agents.example", ""),
        ("https://192.0.2.1", ""),
        ("https://[2001:db8::1]", ""),
        ("", ""),
    ],
)
def test_a_site_is_named_or_has_no_passkeys(settings: Any, url: str, rp_id: str) -> None:
    settings.AGENTSEC_URL = url
    assert (passkeys.site().rp_id, bool(passkeys.site().why_not)) == (rp_id, not rp_id)


def test_a_site_without_a_name_says_so_and_still_signs_in(mina: User, settings: Any) -> None:
    settings.AGENTSEC_URL = "http://192.0.2.1:8000"
    client = Client()
    sign_in(client)
    assert "passkeys belong to a host name" in text(client.get(reverse("factors")))
    assert client.post(reverse("passkey-options"), **JSON).status_code == 503


REQUIRED = ["/", "/admin/", "/traces", "/policies/releases", "/health"]


def test_where_a_second_factor_is_required_nothing_else_works(inside: Client, settings: Any) -> None:
    settings.AGENTSEC_REQUIRE_MFA = True
    found = {inside.get(address).headers.get("Location") for address in REQUIRED}
    assert found == {"/account/factors"}
    assert inside.post("/switch/throw", {"scope": "all"}).status_code == 403
    add(inside)
    assert inside.get("/").status_code == 200


def test_a_token_is_no_way_around_it(mina: User, settings: Any) -> None:
    settings.AGENTSEC_REQUIRE_MFA = True
    token = people.issue_token(mina)
    answer = Client().get("/api/v1/inbox", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403 and "second factor" in text(answer)


def test_who_decides_nothing_needs_none(settings: Any) -> None:
    settings.AGENTSEC_REQUIRE_MFA = True
    client = Client()
    client.force_login(person("otto", roles=("auditor",)), backend=BACKEND)
    assert client.get("/traces").status_code == 200


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(person("boss", roles=("administrator",)), backend=BACKEND)
    return client


def test_an_administrator_resets_what_was_lost(inside: Client, mina: User, boss: Client) -> None:
    add(inside)
    add_app(mina)
    address = reverse("admin:policies_user_factors", args=[mina.pk])
    assert "Forget passkey, app" in text(boss.get(address))
    boss.post(address)
    assert factors.of(mina) == factors.Factors() and kinds()[-2:] == [signed.REMOVED, "person.factors_reset"]


def test_an_editor_resets_nobody_s_factors(mina: User) -> None:
    add_app(mina)
    client = Client()
    client.force_login(person("ed", roles=("editor",)), backend=BACKEND)
    client.post(reverse("admin:policies_user_factors", args=[mina.pk]))
    assert factors.of(mina).names == ("app",)


def test_with_four_eyes_a_second_person_confirms_it(mina: User, settings: Any) -> None:
    add_app(mina)
    ann, bea = (person(name, roles=("administrator",)) for name in ("ann", "bea"))
    settings.AGENTSEC_FOUR_EYES = True
    with pytest.raises(NeedsSecond) as caught:
        factors.reset(user=mina, by=actor(ann))
    row = changes.keep(caught.value, by=actor(ann))
    assert factors.of(mina).names == ("app",)
    changes.confirm(change_id=row.pk, user=bea)
    assert factors.of(mina).names == ()


def test_the_machine_s_operator_helps_the_last_administrator(
    mina: User, capsys: pytest.CaptureFixture[str]
) -> None:
    add_app(mina)
    call_command("user", "forget-factors", "mina")
    assert factors.of(mina).names == ()


def test_codes_can_be_tried_five_times_however_fast(transactional_db: None) -> None:
    user = person("mina", "comms")
    add_app(user)
    found: list[str] = []

    def attempt() -> None:
        try:
            factors.check_code(user=User.objects.get(pk=user.pk), code="000000")
        except Refused as refused:
            found.append(refused.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["forbidden"] * 5 + ["limit"] * 4


def test_a_recovery_code_is_used_once_however_fast(transactional_db: None) -> None:
    user = person("mina", "comms")
    add_app(user)
    code = factors.new_codes(user=user)[0]
    found: list[str] = []

    def attempt() -> None:
        try:
            found.append(factors.check_code(user=User.objects.get(pk=user.pk), code=code))
        except Refused as refused:
            found.append(refused.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["forbidden"] * 3 + ["recovery code"]
