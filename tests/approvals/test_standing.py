"""Whether listeners still stand, by a glance: nothing that matters passes it, little else costs a look."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session as SignIn
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone

from approvals import changed, standing
from approvals.live_models import StandingChange
from approvals.standing import Glance, Guest, Roll
from policies.absence_models import Absence
from policies.factor_models import Passkey
from policies.models import User
from tests.cast import Cast, committed_cast, person

__all__ = ["committed_cast"]

HOUR = timedelta(hours=1)


def sign_in(user: User) -> str:
    """The key of a sign-in of theirs."""
    client = Client()
    client.force_login(user)
    return str(client.session.session_key)


def listening(user: User, key: str) -> Roll:
    """A roll of this one socket, looked at once; nothing of the past stirs it any more."""
    guest = Guest.of(user.pk, key)
    assert guest is not None
    roll = Roll((guest,))
    assert standing.fallen(roll) == {}
    return roll


def away(user: User, stand_in: User, *, since: datetime | None = None) -> Absence:
    now = timezone.now()
    return Absence.objects.create(
        user=user, stand_in=stand_in, since=since or now - HOUR, until=now + HOUR, entry=uuid4()
    )


def written(statement: str, *values: object) -> None:
    with connection.cursor() as sql:
        sql.execute(statement, values)


CHANGES: dict[str, Callable[[User, User, str], object]] = {
    "leaves a group": lambda ada, ben, key: ada.groups.clear(),
    "joins a group": lambda ada, ben, key: ada.groups.add(Group.objects.create(name="archive")),
    "a group is renamed": lambda ada, ben, key: Group.objects.filter(name="comms").update(name="crew"),
    "loses a role": lambda ada, ben, key: User.objects.filter(pk=ada.pk).update(roles=["member"]),
    "has a new password": lambda ada, ben, key: User.objects.filter(pk=ada.pk).update(password="!new"),
    "is switched off": lambda ada, ben, key: User.objects.filter(pk=ada.pk).update(is_active=False),
    "is switched off by hand": lambda ada, ben, key: written(
        "UPDATE policies_user SET is_active = false WHERE username = %s", ada.username
    ),
    "signs out": lambda ada, ben, key: SignIn.objects.filter(session_key=key).delete(),
    "a sign-in is cut short": lambda ada, ben, key: SignIn.objects.filter(session_key=key).update(
        expire_date=timezone.now() - HOUR
    ),
    "stands in for somebody": lambda ada, ben, key: away(ben, ada),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_person_is_seen_by_a_glance(committed_cast: Cast, change: str) -> None:
    ada, ben = committed_cast.approver, person("berta", "legal")
    key = sign_in(ada)
    roll = listening(ada, key)
    assert standing.fallen_since(roll) == {}
    CHANGES[change](ada, ben, key)
    assert set(standing.fallen_since(roll)) == {0}
    assert set(standing.fallen_since(roll)) == {0}, "who has fallen stays so"


# What ends a sign-in itself; whoever has one still is only read again.
ENDS = {
    "has a new password", "is switched off", "is switched off by hand", "signs out", "a sign-in is cut short",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_only_whose_sign_in_ended_is_called_signed_out(committed_cast: Cast, change: str) -> None:
    """Berta shares Ada's groups, so what Ada may do stays exactly the same when she stands in."""
    ada = committed_cast.approver
    ben = person("berta", *ada.group_names)
    key = sign_in(ada)
    roll = listening(ada, key)
    CHANGES[change](ada, ben, key)
    told = standing.SIGNED_OUT if change in ENDS else standing.CHANGED
    assert standing.fallen_since(roll) == {0: told}


@pytest.mark.parametrize("what", ["begins", "ends"])
def test_a_planned_absence_of_a_colleague_signs_nobody_out(committed_cast: Cast, what: str) -> None:
    ada = committed_cast.approver
    absent, now = person("berta", *ada.group_names), timezone.now()
    away(absent, ada, since=now + HOUR / 2 if what == "begins" else None)
    roll = listening(ada, sign_in(ada))
    assert roll.vouched is not None
    Absence.objects.update(**({"since": now - HOUR} if what == "begins" else {"until": now}))
    roll.vouched = replace(roll.vouched, until=now)
    assert standing.fallen_since(roll) == {0: standing.CHANGED}


def test_whoever_is_deleted_is_signed_out(committed_cast: Cast) -> None:
    zoe = person("zoe", "archive")
    roll = listening(zoe, sign_in(zoe))
    zoe.delete()
    assert standing.fallen_since(roll) == {0: standing.SIGNED_OUT}


def test_whoever_now_lacks_the_factor_that_the_site_wants_is_at_the_door(
    committed_cast: Cast, settings: Any
) -> None:
    """A socket of theirs would be refused again and again."""
    settings.AGENTSEC_REQUIRE_MFA = True
    ada = committed_cast.approver
    Passkey.objects.create(user=ada, name="key", credential="x", key={}, rp_id="x", handle="x", entry=uuid4())
    roll = listening(ada, sign_in(ada))
    Passkey.objects.all().delete()
    assert standing.fallen_since(roll) == {0: standing.SIGNED_OUT}


def test_whoever_only_uses_what_they_have_costs_no_look(
    committed_cast: Cast, django_assert_num_queries: Callable[..., AbstractContextManager[object]]
) -> None:
    ada = committed_cast.approver
    key = sign_in(ada)
    Passkey.objects.create(user=ada, name="key", credential="x", key={}, rp_id="x", handle="x", entry=uuid4())
    roll = listening(ada, key)
    User.objects.filter(pk=ada.pk).update(last_login=timezone.now())
    SignIn.objects.filter(session_key=key).update(expire_date=timezone.now() + 20 * HOUR)
    Passkey.objects.update(count=7)
    with django_assert_num_queries(1):
        assert standing.fallen_since(roll) == {}


def test_a_change_that_was_not_committed_at_the_look_is_seen_after_it(committed_cast: Cast) -> None:
    """It began before: neither its time nor its number says so, the oldest open transaction does."""
    ada = committed_cast.approver
    key = sign_in(ada)
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as sql:
            sql.execute("UPDATE policies_user SET roles = '{}' WHERE id = %s", [ada.pk])
        roll = listening(ada, key)
        assert standing.fallen_since(roll) == {}
        other.commit()
        assert standing.fallen_since(roll) == {0: standing.CHANGED}
    finally:
        other.close()


def test_a_change_within_a_savepoint_is_seen(committed_cast: Cast) -> None:
    ada = committed_cast.approver
    roll = listening(ada, sign_in(ada))
    with transaction.atomic(), transaction.atomic():
        ada.groups.clear()
    assert standing.fallen_since(roll) == {0: standing.CHANGED}


@pytest.mark.parametrize("what", ["a sign-in ends", "somebody leaves on holiday", "and comes back"])
def test_a_look_holds_until_the_next_thing_comes_of_itself(committed_cast: Cast, what: str) -> None:
    ada, ben, soon = committed_cast.approver, person("berta", "legal"), timezone.now() + timedelta(minutes=5)
    key = sign_in(ada)
    if what == "a sign-in ends":
        SignIn.objects.filter(session_key=key).update(expire_date=soon)
    else:
        away(ben, ada, since=soon if "leaves" in what else timezone.now() - HOUR)
    if what == "and comes back":
        Absence.objects.update(ended_at=soon)
    vouched = listening(ada, key).vouched
    assert vouched is not None and vouched.until == soon


def test_when_that_time_has_come_all_is_looked_at(
    committed_cast: Cast, django_assert_num_queries: Callable[..., AbstractContextManager[object]]
) -> None:
    ada = committed_cast.approver
    roll = listening(ada, sign_in(ada))
    assert roll.vouched is not None
    with django_assert_num_queries(1):
        assert standing.fallen_since(roll) == {}
    roll.vouched = replace(roll.vouched, until=timezone.now() - timedelta(seconds=1))
    with django_assert_num_queries(3):
        assert standing.fallen_since(roll) == {}


def test_nothing_is_built_on_a_look_of_which_changes_are_forgotten(committed_cast: Cast) -> None:
    ada = committed_cast.approver
    roll = listening(ada, sign_in(ada))
    assert roll.vouched is not None and roll.vouched.until < timezone.now() + standing.KEPT / 2
    ada.groups.clear()
    assert standing.forget(timezone.now()) == 0
    assert standing.forget(timezone.now() + standing.KEPT * 1.1) >= 1
    assert not StandingChange.objects.exists()


def test_a_glance_beside_the_rows_costs_no_question_of_its_own(
    committed_cast: Cast, django_assert_num_queries: Callable[..., AbstractContextManager[object]]
) -> None:
    action, ada = committed_cast.mass_mail(), committed_cast.approver
    roll = listening(ada, sign_in(ada))
    with django_assert_num_queries(1):
        glance = Glance(roll.vouched)
        assert [row.pk for row in changed.read([action.pk], glance)] == [action.pk]
        assert standing.fallen_since(roll, glance) == {}


def test_what_changed_before_the_rows_were_read_is_seen_beside_them(committed_cast: Cast) -> None:
    action, ada = committed_cast.mass_mail(), committed_cast.approver
    roll = listening(ada, sign_in(ada))
    glance = Glance(roll.vouched)
    ada.groups.clear()
    changed.read([action.pk], glance)
    assert standing.fallen_since(roll, glance) == {0: standing.CHANGED}


def test_rows_are_read_where_nobody_was_looked_at_yet(committed_cast: Cast) -> None:
    action, ada = committed_cast.mass_mail(), committed_cast.approver
    guest = Guest.of(ada.pk, sign_in(ada))
    assert guest is not None
    roll = Roll((guest,))
    glance = Glance(roll.vouched)
    assert [row.pk for row in changed.read([action.pk], glance)] == [action.pk]
    assert standing.fallen_since(roll, glance) == {} and roll.vouched is not None
