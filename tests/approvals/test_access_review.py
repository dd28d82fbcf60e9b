"""The access review: everything with its last use, kept or removed by a person, signed as one entry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from approvals import access_review, lastuse
from approvals.access_review import Decided
from approvals.growth_models import AccessReview, LastUse
from approvals.holdings import Holding
from policies import changes, people, releases, secrets
from policies.foureyes_models import ProposedChange
from policies.models import AgentKey, PersonalToken, Rule, Secret, Tool, User
from tests.cast import Cast, person
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db
OLD = timedelta(days=100)
LEFT = (("role", "approver"), ("group", "finance"))


@pytest.fixture
def signer(cast: Cast) -> User:
    cast.administrator.last_login = timezone.now()
    cast.administrator.save()
    return cast.administrator


def item(kind: str, name: str, detail: str = "") -> Holding:
    found = [each for each in access_review.listed() if (each.kind, each.name) == (kind, name)]
    return next(each for each in found if detail in each.detail)


def answers(**changes: tuple[str, str]) -> dict[tuple[str, str], Decided]:
    """Keep everything, with a reason where one is needed, but for `kind__key`."""
    found = {
        (each.kind, each.key): Decided("keep", "needed" if each.proposed else "")
        for each in access_review.listed()
    }
    for field, (choice, reason) in changes.items():
        kind, _, key = field.partition("__")
        found[kind, key] = Decided(choice, reason)
    return found


def sign(user: User, decisions: dict[tuple[str, str], Decided]) -> AccessReview:
    seen = access_review.fingerprint(access_review.listed())
    return access_review.sign(user=user, decisions=decisions, seen=seen, note="spring")


def watch(kind: str, name: str, at: Any = None) -> None:
    LastUse.objects.update_or_create(
        kind=kind, name=name, defaults={"at": at, "since": timezone.now() - OLD}
    )  # fmt: skip


def gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastuse, "LAG", timedelta(0))
    lastuse.gather()


def test_a_call_is_the_last_use_of_its_tool_and_of_the_rules_that_spoke(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    when = cast.deploy().created_at
    gather(monkeypatch)
    assert (item("tool", "deploy").last_used, item("rule", "deploys").last_used) == (when, when)
    assert item("rule", "orders").last_used is None


def test_gathering_goes_on_where_it_ended(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastuse, "CHUNK", 2)
    monkeypatch.setattr(lastuse, "LAG", timedelta(0))
    last = [cast.deploy() for _ in range(3)][-1]
    assert [lastuse.gather() for _ in range(3)] == [2, 1, 0]
    assert item("tool", "deploy").last_used == last.created_at


def test_what_just_happened_waits_for_those_that_commit_late(cast: Cast) -> None:
    cast.deploy()
    assert lastuse.gather() == 0


def test_an_allow_that_nobody_used_is_proposed_and_a_safeguard_is_not(cast: Cast) -> None:
    for name in ("mail", "no-gambling"):
        watch("rule", name)
    assert [(item("rule", name).unused, item("rule", name).proposed) for name in ("mail", "no-gambling")] == [
        (True, True),
        (True, False),
    ]


def test_a_rule_that_has_ended_is_proposed_whatever_its_effect(cast: Cast) -> None:
    Rule.objects.filter(name="no-gambling").update(until=timezone.now() - timedelta(hours=1))
    assert item("rule", "no-gambling").proposed


def test_what_was_watched_for_a_short_time_only_is_not_called_unused(cast: Cast) -> None:
    lastuse.gather()
    assert not any(each.unused for each in access_review.listed())


def test_a_key_that_nobody_used_is_proposed(cast: Cast) -> None:
    AgentKey.objects.filter(pk=cast.key.pk).update(created_at=timezone.now() - OLD, last_used_at=None)
    found = item("key", f"{cast.key.prefix}… of scout", "act")
    assert found.proposed and not item("key", f"{cast.host_key.prefix}… of scout").unused


def test_an_approver_who_never_votes_is_proposed(cast: Cast) -> None:
    User.objects.update(date_joined=timezone.now() - OLD, last_login=timezone.now())
    assert item("role", "ada", "Approver").proposed and not item("role", "ada", "Member").unused
    assert item("group", "ada", "comms").proposed


def test_removing_does_what_the_page_says(cast: Cast, signer: User) -> None:
    secrets.put(name="billing", value="a-value-of-its-own", by="tests")
    people.issue_token(cast.approver)
    token = PersonalToken.objects.get()
    sign(
        signer,
        answers(
            tool__deploy=("remove", "gone"), secret__billing=("remove", "gone"),
            **{f"key__{cast.key.pk}": ("remove", "x"), f"token__{token.pk}": ("remove", "x")},
            **{f"{what}__{cast.second.pk}:{name}": ("remove", "left") for what, name in LEFT},
        ),
    )  # fmt: skip
    second = User.objects.get(pk=cast.second.pk)
    assert Tool.objects.get(name="deploy").paused and not Secret.objects.exists()
    assert AgentKey.objects.get(pk=cast.key.pk).revoked_at and PersonalToken.objects.get().revoked_at
    assert (second.roles, second.group_names) == (["member"], frozenset())


def test_two_roles_of_one_person_go_in_one_review(cast: Cast, signer: User) -> None:
    gone = {f"role__{cast.second.pk}:{role}": ("remove", "left") for role in ("approver", "member")}
    sign(signer, answers(**gone))
    assert User.objects.get(pk=cast.second.pk).roles == []


def test_with_four_eyes_two_roles_of_one_person_go_by_one_confirmation(
    cast: Cast, signer: User, settings: Any
) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    pk = cast.approver.pk
    gone = {f"role__{pk}:{role}": ("remove", "left") for role in ("approver", "member")}
    sign(signer, answers(**gone))
    assert User.objects.get(pk=pk).roles == ["approver", "member"]
    changes.confirm(change_id=ProposedChange.objects.get().pk, user=person("bea", roles=("administrator",)))
    assert User.objects.get(pk=pk).roles == []


def test_the_entry_holds_the_whole_list_and_every_decision(cast: Cast, signer: User) -> None:
    review = sign(signer, answers(tool__deploy=("remove", "gone")))
    body = record.open_payload(Entry.objects.get(uuid=review.entry))
    assert isinstance(body, dict)
    lines = {(line["kind"], line["key"]): line for line in body["items"]}
    assert set(lines) >= {(each.kind, each.key) for each in access_review.listed()}
    gone = lines["tool", "deploy"]
    assert (gone["choice"], gone["reason"], gone["done"]) == ("remove", "gone", "paused")
    assert (body["removed"], body["by"], body["note"]) == (1, "root-admin", "spring")


def test_a_rule_is_left_to_the_editors_by_who_is_none(cast: Cast, signer: User) -> None:
    review = sign(signer, answers(rule__mail=("remove", "unused")))
    assert Rule.objects.get(name="mail").enabled
    body = record.open_payload(Entry.objects.get(uuid=review.entry))
    assert isinstance(body, dict)
    assert [line["done"] for line in body["items"] if line["key"] == "mail"] == ["left to the policy editors"]


def test_an_editor_who_signs_disables_it_in_the_draft_alone(cast: Cast) -> None:
    both = person("boss", roles=("administrator", "editor"))
    both.last_login = timezone.now()
    both.save()
    sign(both, answers(rule__mail=("remove", "unused")))
    assert releases.changes(releases.draft_content()) == ["rule mail: enabled changed"]


def test_nobody_but_an_administrator_signs(cast: Cast) -> None:
    for user in (cast.approver, cast.second, cast.auditor, cast.stranger):
        user.last_login = timezone.now()
        with pytest.raises(Refused, match="may not"):
            sign(user, answers())


def test_who_signed_in_long_ago_signs_in_again_first(cast: Cast) -> None:
    for at in (None, timezone.now() - timedelta(minutes=11)):
        cast.administrator.last_login = at
        with pytest.raises(Refused, match="sign in again"):
            sign(cast.administrator, answers())
    assert not AccessReview.objects.exists()


def test_a_list_that_changed_is_looked_at_again(cast: Cast, signer: User) -> None:
    seen, decisions = access_review.fingerprint(access_review.listed()), answers()
    people.issue_token(cast.approver)
    with pytest.raises(Refused, match="changed since"):
        access_review.sign(user=signer, decisions=decisions, seen=seen)


def test_a_use_meanwhile_is_no_change(cast: Cast, signer: User) -> None:
    seen, decisions = access_review.fingerprint(access_review.listed()), answers()
    watch("tool", "deploy", timezone.now())
    access_review.sign(user=signer, decisions=decisions, seen=seen)
    assert AccessReview.objects.count() == 1


def test_against_what_is_proposed_takes_a_reason(cast: Cast, signer: User) -> None:
    watch("rule", "mail")
    for wish in ({"rule__mail": ("keep", " ")}, {"tool__deploy": ("remove", "")}):
        with pytest.raises(Refused, match="needs a reason"):
            sign(signer, answers(**wish))


def test_nothing_is_left_undecided(cast: Cast, signer: User) -> None:
    decisions = answers()
    decisions.popitem()
    with pytest.raises(Refused, match="keep or remove"):
        sign(signer, decisions)


def test_one_removal_that_is_refused_undoes_all(cast: Cast, signer: User) -> None:
    role = f"role__{signer.pk}:administrator"
    with pytest.raises(Refused, match="root-admin"):
        sign(signer, answers(**{role: ("remove", "x")}, tool__deploy=("remove", "x")))
    assert not Tool.objects.get(name="deploy").paused and not AccessReview.objects.exists()


def test_the_next_one_is_due_after_so_many_days(cast: Cast, signer: User, settings: Any) -> None:
    settings.AGENTSEC_REVIEW_DAYS = 30
    assert not access_review.due().now
    review = sign(signer, answers())
    assert access_review.due().at == review.signed_at + timedelta(days=30)
    AccessReview.objects.update(next_due=timezone.now() - timedelta(days=1))
    assert access_review.due().now
