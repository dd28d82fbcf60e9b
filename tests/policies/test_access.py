"""One table of role and verb: what it lets through, and that Django's own permissions never do more."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db import IntegrityError

from policies import access
from policies.access import TABLE, Verb, may
from policies.models import Role, User
from tests.cast import Cast, person
from traces.problems import Refused


def someone(*roles: str, groups: tuple[str, ...] = (), active: bool = True) -> User:
    """A person who never reaches the database."""
    user = User(username="someone", roles=list(roles), is_active=active)
    user._group_names = frozenset(groups)
    return user


def test_every_verb_has_a_row_and_no_role_is_made_up() -> None:
    assert set(TABLE) == set(Verb) and all(set(row) <= set(Role) for row in TABLE.values())


def test_an_approver_decides_what_their_group_is_asked() -> None:
    assert may(someone("approver", groups=("comms",)), Verb.ACTION_DECIDE, groups=["comms", "ops"]).allowed


def test_an_approver_of_another_group_neither_sees_nor_decides() -> None:
    user = someone("approver", groups=("finance",))
    assert not [
        verb for verb in (Verb.ACTION_READ, Verb.ACTION_DECIDE) if may(user, verb, groups=["comms"]).allowed
    ]


def test_membership_without_the_role_decides_nothing() -> None:
    assert not may(someone("member", groups=("comms",)), Verb.ACTION_DECIDE, groups=["comms"]).allowed


def test_an_auditor_reads_everything_and_decides_nothing() -> None:
    auditor = someone("auditor", groups=("comms",))
    reads = [
        may(auditor, verb, groups=["ops"], team="x").allowed
        for verb in (Verb.ACTION_READ, Verb.TRACE_READ, Verb.POLICY_READ)
    ]
    assert (reads, may(auditor, Verb.ACTION_DECIDE, groups=["comms"]).allowed) == ([True] * 3, False)


def test_an_administrator_has_people_keys_and_secrets_and_no_say() -> None:
    administrator = someone("administrator", groups=("comms",))
    allowed = {verb for verb in Verb if may(administrator, verb, groups=["comms"], team="comms").allowed}
    assert {Verb.PEOPLE_EDIT, Verb.KEYS_EDIT, Verb.SECRETS_EDIT} <= allowed
    assert not allowed & {Verb.ACTION_READ, Verb.ACTION_DECIDE, Verb.TRACE_READ, Verb.POLICY_EDIT}


def test_a_member_reads_the_traces_of_their_team_only() -> None:
    member = someone("member", groups=("finance",))
    assert [may(member, Verb.TRACE_READ, team=team).allowed for team in ("finance", "ops", "")] == [
        True,
        False,
        False,
    ]


def test_an_agent_without_a_team_is_nobodys_to_read() -> None:
    assert not may(someone("member", groups=("",)), Verb.TRACE_READ, team="").allowed


@pytest.mark.parametrize("verb", Verb)
def test_whoever_is_switched_off_may_nothing(verb: Verb) -> None:
    assert not may(
        someone(*Role.values, groups=("comms",), active=False), verb, team="comms", groups=["comms"]
    ).allowed


@pytest.mark.parametrize("verb", Verb)
def test_nobody_signed_in_may_nothing(verb: Verb) -> None:
    assert not may(AnonymousUser(), verb, team="comms", groups=["comms"]).allowed


@pytest.mark.parametrize("verb", Verb)
def test_a_person_without_roles_may_nothing(verb: Verb) -> None:
    assert not may(someone(groups=("comms",)), verb, team="comms", groups=["comms"]).allowed


def test_the_answer_is_no_bool() -> None:
    with pytest.raises(TypeError):
        bool(may(someone("auditor"), Verb.POLICY_READ))


def test_a_refusal_says_which_role_is_missing_where() -> None:
    with pytest.raises(Refused, match="as approver only in an asked group") as caught:
        access.require(someone("approver"), Verb.ACTION_DECIDE, groups=["comms"])
    assert caught.value.code == "forbidden"


def test_queries_and_single_answers_agree_on_teams() -> None:
    member = someone("member", groups=("finance", "ops"))
    assert access.teams_read(member) == {
        team for team in ("finance", "ops", "hr", "") if may(member, Verb.TRACE_READ, team=team).allowed
    }


def test_only_an_auditor_reads_every_team() -> None:
    everybody = [role for role in Role.values if access.teams_read(someone(role, groups=("x",))) is None]
    assert everybody == ["auditor"]


@pytest.mark.django_db
def test_permissions_of_groups_open_no_second_way_into_the_admin(cast: Cast) -> None:
    comms = Group.objects.get(name="comms")
    comms.permissions.set(Permission.objects.all())
    cast.approver.user_permissions.set(Permission.objects.all())
    user = User.objects.get(pk=cast.approver.pk)
    found = [
        name
        for name in ("policies.change_rule", "policies.view_user", "auth.delete_group")
        if user.has_perm(name)
    ]
    assert (found, user.has_module_perms("policies"), user.has_module_perms("axes")) == ([], False, False)


@pytest.mark.django_db
def test_the_database_takes_no_superuser() -> None:
    with pytest.raises(IntegrityError, match="user_never_superuser"):
        User.objects.create(username="root", is_superuser=True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "staff"),
    [("administrator", True), ("editor", True), ("auditor", True), ("approver", False), ("member", False)],
)
def test_the_admin_is_open_to_whoever_finds_something_there(role: str, staff: bool) -> None:
    assert person("somebody", roles=(role,)).is_staff is staff
