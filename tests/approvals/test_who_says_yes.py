"""Ways round the people who are asked that open only where two kinds of asking meet."""

from __future__ import annotations

from datetime import datetime, timedelta
from datetime import timezone as zones

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from approvals import confirming, decisions, starting, wordlinks
from approvals.models import Action, Execution
from approvals.word_models import ConfirmationLink
from policies import absences, access, tokens, world
from policies.models import User
from tests.cast import Cast, person
from traces import proofs
from traces.problems import Refused

RULES = """
rules:
  - {name: orders, effect: ask, tools: [order.place], approvers: "@user"}
  - {name: dear-orders, effect: ask, tools: [order.place], approvers: comms, when: args.amount > 10000}
"""
DEAR = {"supplier": "Acme", "item": "paper", "amount": 20_000}


@pytest.fixture
def asking(cast: Cast) -> Cast:
    """Orders ask the user; dear ones comms too."""
    world.apply(RULES, by="tests")
    return cast


def order(cast: Cast, user: str, amount: int = 20_000) -> Action:
    return cast.propose("order.place", {**DEAR, "amount": amount}, session=cast.session(user=user))


def approve(action: Action, user: User) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest")


def start(action: Action) -> starting.Started | starting.Held | starting.Dropped:
    return starting.start(action_id=action.pk, worker="tests")


@pytest.mark.parametrize("name", ["ADA", "Ada@Example.com", " ada"])
def test_one_person_under_two_spellings_is_not_two(asking: Cast, name: str) -> None:
    User.objects.filter(username="ada").update(email="ada@example.com")
    action = order(asking, name)
    speaker = confirming.of_host(key=asking.host_key, name=action.session.user)
    confirming.approve(action_id=action.pk, speaker=speaker, digest=action.digest)
    with pytest.raises(Refused, match="counts once"):
        approve(action, User.objects.get(username="ada"))


def test_nobody_becomes_the_user_by_a_group_of_that_name(asking: Cast) -> None:
    eve = person("eve", "elsewhere")
    eve.groups.add(Group.objects.create(name="@user"))
    action = order(asking, "dana", amount=5)
    with pytest.raises(Refused) as caught:
        approve(action, User.objects.get(pk=eve.pk))
    assert caught.value.code == "forbidden"


def test_a_link_that_nobody_made_carries_no_word(asking: Cast) -> None:
    action = order(asking, "dana", amount=5)
    token = tokens.mint("lnk")
    ConfirmationLink.objects.create(
        session=action.session, key=asking.host_key, sha256=token.sha256,
        expires_at=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    client = Client()
    client.post(f"/mine/{token.raw}")
    client.post(f"/mine/actions/{action.pk}/decide", {"digest": action.digest, "verdict": "approve"})
    outcome = start(action)
    assert isinstance(outcome, starting.Dropped) and "link" in outcome.why


def test_a_link_that_was_ended_is_not_brought_back_in_its_table(asking: Cast) -> None:
    action = order(asking, "dana", amount=5)
    client = Client()
    client.post("/mine/" + wordlinks.make(key=asking.host_key, session=action.session).url.rpartition("/")[2])
    client.post(f"/mine/actions/{action.pk}/decide", {"digest": action.digest, "verdict": "approve"})
    wordlinks.revoke(key=asking.host_key, session=action.session)
    ConfirmationLink.objects.update(revoked_at=None)
    outcome = start(action)
    assert isinstance(outcome, starting.Dropped) and "link" in outcome.why


def test_an_honest_link_still_carries_its_word(asking: Cast) -> None:
    action = order(asking, "dana", amount=5)
    client = Client()
    client.post("/mine/" + wordlinks.make(key=asking.host_key, session=action.session).url.rpartition("/")[2])
    client.post(f"/mine/actions/{action.pk}/decide", {"digest": action.digest, "verdict": "approve"})
    client.post("/mine/leave")
    assert isinstance(start(action), starting.Held)


def test_an_editor_whose_name_is_wiped_does_not_suffice(cast: Cast) -> None:
    action = cast.mass_mail()
    args = {**action.args, "to": ["other@example.com"]}
    decisions.edit(action_id=action.pk, user=cast.approver, digest=action.digest, args=args, channel="rest")
    Action.objects.filter(pk=action.pk).update(needs_other_than="", state="ready")
    outcome = start(action)
    assert isinstance(outcome, starting.Dropped) and "altered outside" in outcome.why


def test_an_absence_said_in_another_time_zone_is_the_same_absence(cast: Cast) -> None:
    zoe, action = person("zoe", "archive"), cast.mass_mail()
    there = zones(timedelta(hours=2))
    until = datetime.now(there) + timedelta(days=2)
    absences.go_away(
        user=cast.approver, since=None, until=until, stand_in=zoe, by=access.actor(cast.approver)
    )
    approve(action, User.objects.get(pk=zoe.pk))
    assert isinstance(start(action), starting.Held)


@pytest.mark.parametrize("end", ["cancelled", "expired", "running"])
def test_what_ended_or_ran_is_not_set_back_to_ready_by_its_row(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Somebody with the database alone wants an approved call once more."""
    monkeypatch.setattr(proofs, "is_covered", lambda entries: True)
    action = cast.mass_mail()
    approve(action, cast.approver)
    if end == "cancelled":
        decisions.cancel(action_id=action.pk, agent=cast.agent)
    elif end == "expired":
        decisions.expire(action=Action.objects.get(pk=action.pk))
    else:
        assert isinstance(start(action), starting.Started)
        Execution.objects.update(ended_at=timezone.now())
    Action.objects.update(state="ready", deadline=timezone.now() + timedelta(hours=1))
    outcome = start(action)
    assert isinstance(outcome, starting.Dropped) and "altered outside" in outcome.why


def test_nor_is_what_a_rule_allowed(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "is_covered", lambda entries: True)
    action = cast.propose("script.run", {"code": "print(1)"})
    assert isinstance(start(action), starting.Started)
    Execution.objects.update(ended_at=timezone.now())
    Action.objects.update(state="ready", deadline=timezone.now() + timedelta(hours=1))
    assert isinstance(start(action), starting.Dropped)
