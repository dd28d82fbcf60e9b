"""People come in by a link, get tokens, lose them; nobody gets further than the link they were given."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from policies import people
from policies.models import Link, PersonalToken, User
from traces import record
from traces.models import Entry
from traces.problems import Refused

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> Iterator[None]:
    """Real hashes cost half a second each and are Django's to test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    yield


def invited(name: str = "ann", **fields: Any) -> people.Invited:
    return people.create_user(name=name, by="operator", **fields)


def refused(code: str, verb: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        verb(**arguments)
    assert caught.value.code == code
    return caught.value.detail


def test_a_person_is_created_with_groups_that_are_made_and_said() -> None:
    made = invited(groups=["comms", "finance"])
    assert (made.new_groups, made.user.group_names, made.user.roles) == (
        ("comms", "finance"),
        {"comms", "finance"},
        ["approver", "member"],
    )


def test_an_invitation_sets_a_password_once() -> None:
    made = invited()
    people.redeem(token=made.url_token, password=PASSWORD)
    assert User.objects.get().check_password(PASSWORD)
    refused("gone", people.redeem, token=made.url_token, password="another long password")


def test_an_invitation_ends_after_half_an_hour() -> None:
    made = invited()
    Link.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    refused("gone", people.redeem, token=made.url_token, password=PASSWORD)


def test_links_live_for_half_an_hour() -> None:
    ends = invited().link.expires_at
    assert timedelta(minutes=29) < ends - timezone.now() <= timedelta(minutes=30)


def test_looking_at_a_link_does_not_use_it() -> None:
    made = invited()
    people.peek(made.url_token)
    assert people.redeem(token=made.url_token, password=PASSWORD).username == "ann"


def test_a_bad_password_leaves_the_link_usable() -> None:
    made = invited()
    refused("invalid", people.redeem, token=made.url_token, password="short")
    assert people.redeem(token=made.url_token, password=PASSWORD).pk == made.user.pk


@pytest.mark.parametrize(
    "token",
    ["", "x", "lnk_" + "a" * 43, "ask_" + "a" * 43, "lnk_\x00" + "a" * 42, "lnk_" + "ä" * 43, "a" * 10_000],
)
def test_what_is_no_link_is_gone(token: str) -> None:
    invited()
    refused("gone", people.redeem, token=token, password=PASSWORD)


def test_whoever_has_signed_in_keeps_the_name_that_decisions_know() -> None:
    made = people.create_user(name="anm", by="tests")
    people.edit(user=made.user, values={"username": "ann"}, by="tests")
    ann = people.redeem(token=made.url_token, password=PASSWORD)
    refused("conflict", people.edit, user=ann, values={"username": "eve"}, by="tests")
    assert User.objects.get().username == "ann"


def test_a_reset_ends_tokens_and_an_invitation_does_not() -> None:
    made = people.create_user(name="ann", by="tests")
    token = people.issue_token(made.user)
    people.redeem(token=made.url_token, password=PASSWORD)
    assert people.authenticate_token(token) == made.user
    people.redeem(token=people.reset(user=made.user, by="tests").token, password=PASSWORD)
    assert people.authenticate_token(token) is None


def test_the_database_holds_no_link_that_could_be_opened() -> None:
    made = invited()
    assert made.url_token not in str(list(Link.objects.values()))


def test_a_newer_link_ends_the_older_one() -> None:
    made = invited()
    people.invite(user=made.user, by="operator")
    refused("gone", people.redeem, token=made.url_token, password=PASSWORD)


def test_a_link_of_somebody_switched_off_does_not_open() -> None:
    made = invited()
    people.set_active(user=made.user, active=False, by="operator")
    refused("forbidden", people.redeem, token=made.url_token, password=PASSWORD)


def test_the_first_link_makes_the_first_administrator() -> None:
    link = people.setup_link()
    user = people.redeem(token=link.token, password=PASSWORD, name="root-ann")
    assert "administrator" in user.roles and user.is_staff and people.setup_link() is None


def test_a_setup_link_makes_one_administrator_only() -> None:
    link = people.setup_link()
    invited("boss", roles=["administrator"])
    refused("gone", people.redeem, token=link.token, password=PASSWORD, name="late")


def test_a_second_setup_link_ends_the_first() -> None:
    first, second = people.setup_link(), people.setup_link()
    refused("gone", people.redeem, token=first.token, password=PASSWORD, name="ann")
    assert people.redeem(token=second.token, password=PASSWORD, name="ann").username == "ann"


@pytest.mark.django_db(transaction=True)
def test_of_ten_who_open_one_setup_link_at_once_one_becomes_administrator() -> None:
    link, outcomes = people.setup_link(), []

    def open_it(number: int) -> None:
        try:
            outcomes.append(people.redeem(token=link.token, password=PASSWORD, name=f"ann{number}").username)
        except Refused as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=open_it, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["gone"] * 9 and people.administrators().count() == 1


def test_a_demo_link_signs_in_as_often_as_it_is_opened_on_loopback(settings: Any) -> None:
    settings.AGENTSEC_DEMO = True
    token = people.demo_link(user=invited().user).token
    assert [
        people.open_demo(token=token, remote=remote).username for remote in ("127.0.0.1", "::1", "127.0.0.1")
    ] == ["ann"] * 3


@pytest.mark.parametrize("remote", ["192.0.2.1", "", "localhost", "127.0.0.1.example"])
def test_a_demo_link_opens_nowhere_else(settings: Any, remote: str) -> None:
    settings.AGENTSEC_DEMO = True
    token = people.demo_link(user=invited().user).token
    refused("forbidden", people.open_demo, token=token, remote=remote)


def test_a_demo_link_opens_nothing_outside_of_a_demo(settings: Any) -> None:
    settings.AGENTSEC_DEMO = False
    token = people.demo_link(user=invited().user).token
    refused("gone", people.open_demo, token=token, remote="127.0.0.1")


def test_a_demo_link_sets_no_password() -> None:
    token = people.demo_link(user=invited().user).token
    refused("gone", people.redeem, token=token, password=PASSWORD)


def test_an_invitation_is_no_demo_link(settings: Any) -> None:
    settings.AGENTSEC_DEMO = True
    refused("gone", people.open_demo, token=invited().url_token, remote="127.0.0.1")


def test_a_name_that_is_taken_is_refused() -> None:
    invited()
    assert (
        refused("conflict", people.create_user, name="ann", by="operator")
        == "There is already a person called ann."
    )


@pytest.mark.parametrize("name", ["", "a b", "-x", "a" * 101, "ann\n", "ann\x00", "änn", "../x"])
def test_a_bad_name_is_refused(name: str) -> None:
    refused("invalid", people.create_user, name=name, by="operator")


@pytest.mark.parametrize("group", ["", " ", "a,b", "@user", "x" * 151, "a\nb", "a\x00"])
def test_a_bad_group_is_refused_and_nobody_is_created(group: str) -> None:
    refused("invalid", people.create_user, name="ann", groups=[group], by="operator")
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["x", "a@b", "a@b.example\nBcc: c@d.example", "a\x00@b.example", "@" * 300])
def test_what_is_no_address_is_refused(email: str) -> None:
    refused("invalid", people.create_user, name="ann", email=email, by="operator")


def test_an_unknown_role_is_refused() -> None:
    assert "is not a role" in refused(
        "invalid", people.create_user, name="ann", roles=["root"], by="operator"
    )


def test_a_placeholder_is_completed_and_could_do_nothing_before() -> None:
    ghost = people.placeholder(name="ops-lead", by="operator")
    refused("forbidden", people.issue_token, user=ghost)
    assert (invited("ops-lead").user.pk, User.objects.get().is_active) == (ghost.pk, True)


def test_the_last_administrator_keeps_the_role() -> None:
    boss = invited("boss", roles=["administrator"]).user
    refused("conflict", people.set_roles, user=boss, roles=["member"], by="operator")
    refused("conflict", people.set_active, user=boss, active=False, by="operator")


@pytest.mark.django_db(transaction=True)
def test_two_administrators_cannot_each_remove_the_other() -> None:
    bosses = [invited(name, roles=["administrator"]).user for name in ("one", "two")]
    barrier, outcomes = threading.Barrier(2), []

    def remove(user: User) -> None:
        barrier.wait()
        try:
            people.set_active(user=user, active=False, by="operator")
            outcomes.append("done")
        except Refused as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=[boss]) for boss in bosses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(outcomes), people.administrators().count()) == (["conflict", "done"], 1)


# Tokens


def test_a_token_names_its_person_and_counts_its_uses() -> None:
    raw = people.issue_token(invited().user)
    found = [people.authenticate_token(raw) for _ in range(3)]
    assert ([user.username for user in found], PersonalToken.objects.get().uses) == (["ann"] * 3, 3)


def test_a_token_ends_on_its_day() -> None:
    raw = people.issue_token(invited().user, days=1)
    PersonalToken.objects.update(expires_at=timezone.now())
    assert people.authenticate_token(raw) is None


def test_a_revoked_token_is_no_token() -> None:
    raw = people.issue_token(invited().user)
    people.revoke_token(token=PersonalToken.objects.get(), by="operator")
    assert people.authenticate_token(raw) is None


def test_a_token_of_somebody_switched_off_is_no_token() -> None:
    user = invited().user
    raw = people.issue_token(user)
    people.set_active(user=user, active=False, by="operator")
    assert people.authenticate_token(raw) is None


def test_the_prefix_alone_is_no_token() -> None:
    raw = people.issue_token(invited().user)
    guesses = [
        raw[:12],
        raw[:-1],
        raw + "a",
        raw[:-1] + ("a" if raw[-1] != "a" else "b"),
        raw.upper(),
        " " + raw,
    ]
    assert [people.authenticate_token(guess) for guess in guesses] == [None] * 6


@pytest.mark.parametrize("days", [0, -1, 367, 10**9])
def test_a_token_lives_at_most_a_year(days: int) -> None:
    refused("invalid", people.issue_token, user=invited().user, days=days)


# Reset by mail, and the log


def test_a_reset_link_goes_to_the_address_that_is_known(settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    invited(email="ann@example.com")
    people.request_reset(name="ANN@example.com")
    token = mail.outbox[0].body.split("/welcome/")[1].split()[0]
    assert (mail.outbox[0].to, people.redeem(token=token, password=PASSWORD).username) == (
        ["ann@example.com"],
        "ann",
    )


@pytest.mark.parametrize("name", ["", "nobody", "ann", "ann\x00"])
def test_asking_for_a_reset_tells_nothing(settings: Any, name: str) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    invited()
    assert (people.request_reset(name=name), mail.outbox) == (None, [])


def test_asking_again_and_again_sends_one_mail(settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    invited(email="ann@example.com")
    for _ in range(5):
        people.request_reset(name="ann")
    assert len(mail.outbox) == 1


def test_without_mail_a_reset_says_whom_to_ask() -> None:
    assert "administrator" in refused("unavailable", people.request_reset, name="ann")


def test_the_log_tells_who_did_what_and_holds_no_token() -> None:
    made = invited(groups=["comms"])
    raw = people.issue_token(made.user, by="operator")
    kinds = set(Entry.objects.values_list("kind", flat=True))
    said = "".join(str(record.open_whole(entry)) for entry in Entry.objects.all())
    assert kinds == {
        "group.created",
        "person.groups",
        "person.roles",
        "person.created",
        "person.invited",
        "token.issued",
    }
    assert not [secret for secret in (raw, made.url_token, made.link.url) if secret in said]


def test_a_person_can_be_erased_from_the_log() -> None:
    user = invited("unforgettable").user
    record.erase_subject(subject=f"person:{user.pk}", actor="operator")
    said = [record.open_payload(entry) for entry in Entry.objects.filter(kind__startswith="person.")]
    assert said and not any(said)
