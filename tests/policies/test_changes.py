"""Four eyes: what one person proposes another one confirms, exactly so, and no second account helps."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from policies import accounts, agents, changes, limits, people, releases, secrets, world
from policies.access import actor
from policies.foureyes import NeedsSecond
from policies.foureyes_models import ProposedChange
from policies.models import Agent, AgentKey, Link, Secret, Switch, User
from tests.cast import person
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def one(settings: Any) -> User:
    settings.AGENTSEC_FOUR_EYES = True
    return person("ann", roles=("administrator",))


@pytest.fixture
def other(one: User) -> User:
    return person("bea", roles=("administrator",))


@pytest.fixture
def sam(one: User) -> User:
    return person("sam", "finance", roles=("member",))


@pytest.fixture
def scout(one: User) -> Agent:
    return agents.create_agent(name="scout", by="tests")


def wish(by: User, verb: Any, **about: Any) -> ProposedChange:
    """What a door does: the verb says that it needs a second person, and the wish is kept."""
    with pytest.raises(NeedsSecond) as caught:
        verb(by=actor(by), **about)
    return changes.keep(caught.value, by=actor(by))


def confirm(row: ProposedChange, user: User) -> changes.Confirmed:
    return changes.confirm(change_id=row.pk, user=user)


def refused(row: ProposedChange, user: User) -> str:
    with pytest.raises(Refused) as caught:
        confirm(row, user)
    return caught.value.detail


# Each kind: nothing happens until somebody else confirms


def test_a_role_waits_for_somebody_else(one: User, other: User, sam: User) -> None:
    row = wish(one, accounts.set_roles, user=sam, roles=["administrator"])
    assert User.objects.get(pk=sam.pk).roles == ["member"]
    confirm(row, other)
    assert User.objects.get(pk=sam.pk).roles == ["administrator"]


def test_membership_waits(one: User, other: User, sam: User) -> None:
    row = wish(one, accounts.set_groups, user=sam, groups=["comms", "finance"])
    assert User.objects.get(pk=sam.pk).group_names == {"finance"}
    confirm(row, other)
    assert User.objects.get(pk=sam.pk).group_names == {"comms", "finance"}


def test_an_account_is_switched_off_at_once_and_on_by_two(one: User, other: User, sam: User) -> None:
    accounts.set_active(user=sam, active=False, by=actor(one))
    assert not User.objects.get(pk=sam.pk).is_active
    confirm(wish(one, accounts.set_active, user=User.objects.get(pk=sam.pk), active=True), other)
    assert User.objects.get(pk=sam.pk).is_active


def test_an_address_that_reset_links_go_to_waits(one: User, sam: User) -> None:
    wish(one, accounts.edit, user=sam, values={"email": "ann@example.com"})
    assert User.objects.get(pk=sam.pk).email == ""


def test_a_person_is_created_by_two_and_the_link_goes_to_who_confirmed(one: User, other: User) -> None:
    row = wish(one, people.create_user, name="eva", groups=["comms"], roles=["approver"], email="")
    assert not User.objects.filter(username="eva").exists()
    done = confirm(row, other)
    eva = User.objects.get(username="eva")
    assert ("/welcome/" in done.once, eva.roles, eva.group_names) == (True, ["approver"], {"comms"})


def test_an_agent_is_let_work_by_two_and_paused_by_one(one: User, other: User, scout: Agent) -> None:
    agents.set_mode(agent=scout, mode="paused", by=actor(one))
    row = wish(one, agents.set_mode, agent=scout, mode="standard")
    assert Agent.objects.get().mode == "paused"
    confirm(row, other)
    assert Agent.objects.get().mode == "standard"


def test_a_key_is_issued_by_two_and_shown_to_who_confirmed(one: User, other: User, scout: Agent) -> None:
    ends = timezone.now() + timedelta(days=3)
    row = wish(one, lambda by: agents.issue_key(scout, ["attest"], by=by, expires_at=ends))
    assert not AgentKey.objects.exists()
    key = agents.authenticate_key(confirm(row, other).once)
    assert key is not None and (key.scopes, key.expires_at) == (["attest"], ends)


def test_a_secret_is_stored_by_two_and_read_by_none_of_them(one: User, other: User) -> None:
    row = wish(one, secrets.put, name="database", value="hunter2-and-more")
    assert "hunter2-and-more" not in str(row.__dict__) and not Secret.objects.exists()
    confirm(row, other)
    assert secrets.read("database") == "hunter2-and-more"
    assert bytes(ProposedChange.objects.get().sealed) == b""


def test_anybody_stops_at_once_and_two_let_it_run_again(one: User, other: User) -> None:
    limits.stop(scope="all", reason="odd", by=actor(one))
    row = wish(one, limits.lift, scope="all")
    assert Switch.objects.exists()
    confirm(row, other)
    assert not Switch.objects.exists()


# Exactly as shown, or not at all


def test_what_changed_meanwhile_is_not_applied(one: User, other: User, sam: User) -> None:
    row = wish(one, accounts.set_roles, user=sam, roles=["editor"])
    accounts.set_roles(user=User.objects.get(pk=sam.pk), roles=["auditor"], by="operator")
    assert "no longer as it was" in refused(row, other)
    assert (ProposedChange.objects.get().state, User.objects.get(pk=sam.pk).roles) == (
        "outdated",
        ["auditor"],
    )


def test_a_switch_thrown_anew_is_another_switch(one: User, other: User) -> None:
    limits.stop(scope="all", reason="odd", by=actor(one))
    row = wish(one, limits.lift, scope="all")
    limits.stop(scope="all", reason="worse", by=actor(one))
    assert "no longer as it was" in refused(row, other) and Switch.objects.exists()


def test_what_waited_for_too_long_is_over(
    one: User, other: User, scout: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = wish(one, agents.set_mode, agent=scout, mode="standard")
    monkeypatch.setattr(changes, "LIFE", timedelta(0))
    assert "propose it again" in refused(row, other) and Agent.objects.get().mode == "read_only"


def test_what_somebody_proposed_who_may_no_longer_is_over(one: User, other: User, scout: Agent) -> None:
    row = wish(one, agents.set_mode, agent=scout, mode="standard")
    accounts.set_active(user=one, active=False, by=actor(other))
    assert "may not change it any more" in refused(row, other) and Agent.objects.get().mode == "read_only"


def test_a_change_is_confirmed_once(one: User, other: User, scout: Agent) -> None:
    row = wish(one, agents.issue_key, agent=scout, scopes=["act"])
    confirm(row, other)
    assert "confirmed already" in refused(row, other) and AgentKey.objects.count() == 1


def test_what_somebody_wrote_into_the_database_is_not_what_was_proposed(
    one: User, other: User, sam: User
) -> None:
    row = wish(one, accounts.set_roles, user=sam, roles=["auditor"])
    ProposedChange.objects.update(after={"roles": ["administrator"]})
    assert "not what was proposed" in refused(row, other)


def test_a_change_can_be_refused_or_taken_back(one: User, other: User, scout: Agent) -> None:
    rows = [wish(one, agents.set_mode, agent=scout, mode="standard") for _ in range(2)]
    assert rows[0].pk == rows[1].pk
    changes.refuse(change_id=rows[0].pk, user=other, why="too early")
    again = wish(one, agents.set_mode, agent=scout, mode="standard")
    changes.refuse(change_id=again.pk, user=one)
    assert set(ProposedChange.objects.values_list("state", flat=True)) == {"refused", "withdrawn"}


def test_everything_is_in_the_log(one: User, other: User, scout: Agent) -> None:
    confirm(wish(one, agents.set_mode, agent=scout, mode="standard"), other)
    told = Entry.objects.filter(kind__startswith="change.").order_by("id")
    assert list(told.values_list("kind", "actor")) == [
        ("change.proposed", actor(one)),
        ("change.confirmed", actor(other)),
    ]
    body = record.open_payload(told[1])
    assert body and (body["before"], body["after"], body["proposed_by"]) == (
        "read_only",
        "standard",
        actor(one),
    )


# Nobody is two people


def test_nobody_confirms_their_own(one: User, scout: Agent) -> None:
    assert "yourself" in refused(wish(one, agents.set_mode, agent=scout, mode="standard"), one)


def test_nobody_confirms_what_they_may_not_change(one: User, sam: User, scout: Agent) -> None:
    assert "You may not" in refused(wish(one, agents.set_mode, agent=scout, mode="standard"), sam)


def take_over(account: User, by: User) -> None:
    """Somebody makes a link for another's account and opens it themselves."""
    link = people.reset(user=account, by=actor(by))
    people.redeem(token=link.token, password="correct horse battery staple 9")


def come_back(account: User) -> None:
    """The operator gives somebody a link, by which their account is their own again."""
    link = people.reset(user=account, by="operator")
    people.redeem(token=link.token, password="correct horse battery staple 8")


def test_an_account_that_one_has_taken_over_is_no_second_person(one: User, other: User, scout: Agent) -> None:
    row = wish(one, agents.set_mode, agent=scout, mode="standard")
    take_over(other, one)
    assert "do not count as two" in refused(row, other)


def test_nor_does_one_propose_in_anothers_name_and_confirm_it(one: User, other: User, scout: Agent) -> None:
    take_over(other, one)
    assert "do not count as two" in refused(wish(other, agents.set_mode, agent=scout, mode="standard"), one)


def test_nor_are_two_accounts_that_a_third_has_taken_over(one: User, other: User, scout: Agent) -> None:
    third = person("cyd", roles=("administrator",))
    take_over(other, one)
    take_over(third, other)
    row = wish(third, agents.set_mode, agent=scout, mode="standard")
    assert "do not count as two" in refused(row, one) and "do not count as two" in refused(row, other)


def test_a_new_person_does_not_confirm_for_who_invited_them(one: User, other: User, scout: Agent) -> None:
    row = wish(one, people.create_user, name="eva", roles=["administrator"])
    token = confirm(row, other).once.rpartition("/")[2]
    eva = people.redeem(token=token, password="correct horse battery staple 9")
    assert "do not count as two" in refused(wish(eva, agents.set_mode, agent=scout, mode="standard"), other)
    assert confirm(wish(one, agents.set_mode, agent=scout, mode="standard"), eva).change.decided_by == actor(
        eva
    )


def test_nor_are_two_who_made_each_others_links(one: User, other: User, scout: Agent) -> None:
    take_over(other, one)
    take_over(one, other)
    assert "do not count as two" in refused(wish(one, agents.set_mode, agent=scout, mode="standard"), other)
    third = person("cyd", roles=("administrator",))
    take_over(third, one)
    assert "do not count as two" in refused(wish(third, agents.set_mode, agent=scout, mode="standard"), other)


def test_nor_is_one_that_made_a_link_for_itself_then(one: User, other: User, scout: Agent) -> None:
    take_over(other, one)
    take_over(other, other)
    assert "do not count as two" in refused(wish(one, agents.set_mode, agent=scout, mode="standard"), other)


def test_a_link_that_came_by_mail_is_ones_own(
    one: User, other: User, scout: Agent, settings: Any, mailoutbox: Any
) -> None:
    settings.EMAIL_HOST = "mail.example"
    take_over(other, one)
    before = timezone.now() - timedelta(hours=1)
    Link.objects.update(created_at=before, used_at=before)
    accounts.edit(user=other, values={"email": "bea@example.com"}, by="operator")
    people.request_reset(name="bea")
    token = mailoutbox[0].body.partition("/welcome/")[2].split()[0]
    people.redeem(token=token, password="correct horse battery staple 7")
    confirm(wish(one, agents.set_mode, agent=scout, mode="standard"), other)
    assert Agent.objects.get().mode == "standard"


def test_what_was_proposed_in_anothers_name_stays_so_when_they_are_back(
    one: User, other: User, scout: Agent
) -> None:
    take_over(other, one)
    row = wish(other, agents.set_mode, agent=scout, mode="standard")
    come_back(other)
    assert "do not count as two" in refused(row, one)


def test_a_link_made_in_anothers_name_stays_so_when_they_are_back(
    one: User, other: User, scout: Agent
) -> None:
    third = person("cyd", roles=("administrator",))
    take_over(other, one)
    take_over(third, other)
    come_back(other)
    assert "do not count as two" in refused(wish(one, agents.set_mode, agent=scout, mode="standard"), third)


def test_what_one_drafted_in_anothers_name_one_does_not_publish(one: User, other: User) -> None:
    take_over(other, one)
    world.apply("rules: [{name: all, effect: allow}]", by=actor(other))
    come_back(other)
    with pytest.raises(Refused, match="somebody else"):
        releases.publish(by=actor(one))


def test_whoever_sets_a_password_by_a_link_of_their_own_is_a_person_again(
    one: User, other: User, scout: Agent
) -> None:
    take_over(other, one)
    come_back(other)
    confirm(wish(one, agents.set_mode, agent=scout, mode="standard"), other)
    assert Agent.objects.get().mode == "standard"


def test_a_link_that_nobody_opened_changes_nothing(one: User, other: User, scout: Agent) -> None:
    people.reset(user=other, by=actor(one))
    assert Link.objects.get(user=other, purpose="reset").by == actor(one)
    confirm(wish(one, agents.set_mode, agent=scout, mode="standard"), other)


def test_the_operator_makes_the_second_administrator(one: User, capsys: Any) -> None:
    call_command("user", "create", "second", "--roles", "administrator")
    assert User.objects.get(username="second").roles == ["administrator"]


# The world file


def test_a_file_leaves_a_looser_mode_to_somebody_else(one: User, other: User) -> None:
    report = world.apply("agents: [{name: bot, mode: standard, labels: [trial]}]", by="operator")
    bot = Agent.objects.get(name="bot")
    assert (bot.mode, bot.labels) == ("read_only", ["trial"])
    assert any("waits for somebody else" in line for line in report.changes)
    confirm(ProposedChange.objects.get(), other)
    assert Agent.objects.get(name="bot").mode == "standard"


def test_with_four_eyes_off_everything_holds_at_once(settings: Any) -> None:
    ann = person("ann", roles=("administrator",))
    scout = agents.create_agent(name="scout", by=actor(ann))
    agents.set_mode(agent=scout, mode="standard", by=actor(ann))
    agents.issue_key(scout, by=actor(ann))
    assert (Agent.objects.get().mode, ProposedChange.objects.count()) == ("standard", 0)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_confirm_at_once_one_issues_the_key(one: User, other: User, scout: Agent) -> None:
    third = person("cyd", roles=("administrator",))
    row = wish(one, agents.issue_key, agent=scout, scopes=["act"])
    said: list[str] = []

    def act(user: User) -> None:
        try:
            said.append("done" if confirm(row, user).once else "nothing")
        except Refused as error:
            said.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=[user]) for user in (other, third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(said), AgentKey.objects.count()) == (["conflict", "done"], 1)
