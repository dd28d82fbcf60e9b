"""Sign-in, links, reset, account and health, as people meet them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from policies import people
from policies.models import Link, PersonalToken, User
from tests.cast import person
from traces.models import Entry

PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    return response.content.decode()


def choose(client: Client, token: str, password: str = PASSWORD, **more: str) -> Any:
    post = {"password": password, "again": password, **more}
    return client.post(f"/welcome/{token}", post)


def with_password(name: str) -> User:
    user = person(name, "comms")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, name: str, password: str = PASSWORD, **more: str) -> Any:
    return client.post("/sign-in", {"username": name, "password": password, **more})


def test_the_first_link_makes_the_first_administrator_once() -> None:
    link, client = people.setup_link(), Client()
    assert link is not None and "first administrator" in text(client.get(f"/welcome/{link.token}"))
    assert choose(client, link.token, name="ada").status_code == 302
    assert "ada" in text(client.get("/"))
    again = choose(Client(), link.token, name="eve")
    assert again.status_code == 410 and "does not work" in text(again)
    assert not User.objects.filter(username="eve").exists()


def test_opening_an_invitation_does_not_use_it() -> None:
    invited = people.create_user(name="ben", groups=["comms"], by="tests")
    for _ in range(3):
        page = text(Client().get(f"/welcome/{invited.url_token}"))
    assert "Welcome, ben" in page and "comms" in page
    assert choose(Client(), invited.url_token).status_code == 302


def test_a_weak_or_differing_password_is_explained_and_the_link_stays() -> None:
    invited, client = people.create_user(name="ben", by="tests"), Client()
    assert "too short" in text(choose(client, invited.url_token, "short"))
    post = {"password": PASSWORD, "again": "something else entirely"}
    assert "passwords differ" in text(client.post(f"/welcome/{invited.url_token}", post))
    assert choose(client, invited.url_token).status_code == 302


def test_an_expired_link_says_what_to_do() -> None:
    invited = people.create_user(name="ben", by="tests")
    Link.objects.update(expires_at=timezone.now())
    response = Client().get(f"/welcome/{invited.url_token}")
    assert response.status_code == 410 and "An administrator can make a new one" in text(response)


def test_garbage_is_no_link() -> None:
    for token in ("x", "lnk_" + "A" * 43, "lnk_%00", "..%2f", "%E2%80%AE"):
        assert Client().get(f"/welcome/{token}").status_code in (404, 410)


def test_a_demo_link_signs_in_on_this_machine_only_as_often_as_it_is_opened(
    settings: Settings,
) -> None:
    settings.AGENTSEC_DEMO = True
    link = people.demo_link(user=person("ada", "comms"))
    for _ in range(2):
        assert Client().get(f"/welcome/{link.token}").status_code == 302
    assert Client(REMOTE_ADDR="203.0.113.9").get(f"/welcome/{link.token}").status_code == 403
    settings.AGENTSEC_DEMO = False
    assert Client().get(f"/welcome/{link.token}").status_code == 410


def test_signing_in_leads_back_to_the_page_but_never_to_another_site() -> None:
    with_password("ada")
    assert sign_in(Client(), "ada", next="/account")["Location"] == "/account"
    for elsewhere in ("https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"):
        assert sign_in(Client(), "ada", next=elsewhere)["Location"] == "/"


def test_a_wrong_password_says_nothing_of_who_exists() -> None:
    with_password("ada")
    known, unknown = sign_in(Client(), "ada", "wrong"), sign_in(Client(), "nobody", "wrong")
    assert known.status_code == unknown.status_code == 401
    assert "do not match" in text(known) and "do not match" in text(unknown)


def test_ten_wrong_passwords_close_the_door_for_that_name(settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    with_password("ada")
    for _ in range(3):
        response = sign_in(Client(), "ada", "wrong")
    assert response.status_code == 429 and "Too many wrong passwords" in text(response)
    assert sign_in(Client(), "ada").status_code == 429


def test_signing_out_is_never_a_link() -> None:
    client = Client()
    client.force_login(person("ada"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/sign-out").status_code == 405
    client.post("/sign-out")
    assert client.get("/")["Location"].startswith("/sign-in")


def test_a_reset_by_mail_answers_the_same_for_everybody(settings: Settings) -> None:
    settings.EMAIL_HOST = "mail.example"
    ada = person("ada")
    User.objects.filter(pk=ada.pk).update(email="ada@example.com")
    pages = [text(Client().post("/reset", {"name": name})) for name in ("ada", "ADA@example.com", "nobody")]
    assert all("If there is such a person" in page for page in pages)
    # The second request comes too soon for another mail, and its page does not say so either.
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]
    assert "/welcome/lnk_" in mail.outbox[0].body


def test_without_mail_a_reset_says_whom_to_ask(settings: Settings) -> None:
    settings.EMAIL_HOST = ""
    assert "Ask an administrator" in text(Client().post("/reset", {"name": "ada"}))


def test_a_token_is_shown_once_and_ends_when_revoked() -> None:
    client = Client()
    ada = person("ada")
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    made = text(client.post("/account/tokens", {"days": "30"}))
    raw = made.partition('class="secret">')[2].partition("<")[0]
    assert people.authenticate_token(raw) == ada and raw not in text(client.get("/account"))
    token = PersonalToken.objects.get()
    client.post(f"/account/tokens/{token.pk}/revoke")
    assert people.authenticate_token(raw) is None


def test_nobody_revokes_another_persons_token() -> None:
    people.issue_token(person("ada"))
    client = Client()
    client.force_login(person("eve"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(f"/account/tokens/{PersonalToken.objects.get().pk}/revoke").status_code == 404
    assert PersonalToken.objects.filter(revoked_at=None).exists()


def test_a_token_of_nonsense_days_is_refused() -> None:
    client = Client()
    client.force_login(person("ada"), backend="django.contrib.auth.backends.ModelBackend")
    for days in ("", "0", "-1", "367", "²", "9" * 30):
        assert client.post("/account/tokens", {"days": days}).status_code == 422
    assert not PersonalToken.objects.exists()


def test_healthz_is_public_and_says_only_ok() -> None:
    response = Client().get("/healthz")
    assert (response.status_code, text(response)) == (200, "ok\n")


def test_health_names_every_part_and_what_is_wrong() -> None:
    client = Client()
    client.force_login(person("ada"), backend="django.contrib.auth.backends.ModelBackend")
    page = text(client.get("/health"))
    assert all(part in page for part in ("Database", "Redis", "Log", "Workers", "Sandbox", "Clock"))
    assert "PostgreSQL" in page and Client().get("/health").status_code == 302


@pytest.mark.parametrize(
    "wanted", ["nowhere", "sign-out", "//evil.example/", "https://evil.example/", "/\\evil.example"]
)
def test_after_sign_in_nobody_is_sent_elsewhere(wanted: str) -> None:
    with_password("ada")
    assert sign_in(Client(), "ada", next=wanted)["Location"] == "/"


def test_days_without_end_are_no_token() -> None:
    client = Client()
    client.force_login(with_password("ada"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post("/account/tokens", {"days": "9" * 5000}).status_code == 422


@pytest.mark.parametrize("name", ["\x00", "a" * 300])
def test_a_name_that_is_none_is_only_wrong(name: str) -> None:
    assert sign_in(Client(), name).status_code == 401


def test_keys_of_one_character_are_switched_off_by_and_for_oneself_alone() -> None:
    ada, ben = person("ada", "comms"), person("ben", "comms")
    pages = {name: Client() for name in ("ada", "ben")}
    for user in (ada, ben):
        pages[user.username].force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert 'data-keys="on"' in text(pages["ada"].get("/"))
    assert pages["ada"].get("/account/keys").status_code == 405
    answer = pages["ada"].post("/account/keys", {"keys": "off"}, follow=True)
    assert "Switch single-key shortcuts on" in text(answer)
    assert [name for name, page in pages.items() if 'data-keys="off"' in text(page.get("/"))] == ["ada"]
    entry = Entry.objects.get(kind="person.changed")
    assert (entry.actor, entry.span.title) == (f"user:{ada.pk}", "ada switched keys of one character off")
    pages["ada"].post("/account/keys", {"keys": "on"})
    assert 'data-keys="on"' in text(pages["ada"].get("/"))


def test_a_wish_for_the_keys_that_is_none_changes_nothing() -> None:
    ada, page = person("ada", "comms"), Client()
    page.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    assert page.post("/account/keys", {"keys": "maybe"}).status_code == 422
    page.post("/account/keys", {"keys": "on"})
    assert not Entry.objects.filter(kind="person.changed").exists()
    assert Client().post("/account/keys", {"keys": "off"}).headers["Location"].startswith("/sign-in")
