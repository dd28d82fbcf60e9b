"""Deciding: who may, on what they saw, and exactly one of those who race."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from approvals import decisions, queries, starting
from approvals.models import Action, Execution, Vote
from policies.models import Agent, User
from tests.cast import MANY, Cast, person
from traces import record
from traces.models import Entry
from traces.problems import Refused


def refusal(call: object, **arguments: object) -> Refused:
    with pytest.raises(Refused) as refused:
        call(**arguments)  # type: ignore[operator]
    return refused.value


def approve(action: Action, user: User, **more: object) -> decisions.Decision:
    return decisions.approve(action_id=action.pk, user=user, digest=action.digest, channel="rest", **more)  # type: ignore[arg-type]


def test_an_approval_makes_it_ready_and_is_in_the_log(cast: Cast) -> None:
    action = cast.mass_mail()
    assert approve(action, cast.approver, comment="fine").effect == "approved"
    action.refresh_from_db()
    assert (action.state, action.decided_by) == ("ready", "ada")
    vote = record.open_payload(Entry.objects.about(str(action.pk)).get(kind="vote.approve"))
    assert (vote["digest"], vote["comment"], vote["group"]) == (action.digest, "fine", "comms")


def test_a_rejection_ends_it_with_its_reason(cast: Cast) -> None:
    action = cast.mass_mail()
    decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="too many")
    action.refresh_from_db()
    assert (action.state, action.decision_reason) == ("rejected", "too many")


def test_a_stranger_does_not_learn_that_it_exists(cast: Cast) -> None:
    action = cast.mass_mail()
    refused = refusal(decisions.approve, action_id=action.pk, user=cast.stranger, digest=action.digest)
    assert refused.code == "not_found"
    assert not queries.visible(cast.stranger).exists()


def test_an_auditor_reads_and_decides_nothing(cast: Cast) -> None:
    action = cast.mass_mail()
    assert queries.get_visible(cast.auditor, action.pk) == action
    refused = refusal(
        decisions.reject, action_id=action.pk, user=cast.auditor, digest=action.digest, comment="no"
    )
    assert refused.code == "forbidden"


def test_an_administrator_is_no_approver(cast: Cast) -> None:
    action = cast.mass_mail()
    refused = refusal(decisions.approve, action_id=action.pk, user=cast.administrator, digest=action.digest)
    assert refused.code == "not_found"


def test_a_digest_that_is_not_the_current_one_is_a_conflict(cast: Cast) -> None:
    action = cast.mass_mail()
    refused = refusal(decisions.approve, action_id=action.pk, user=cast.approver, digest="0" * 64)
    assert (refused.code, refused.extra["digest"]) == ("conflict", action.digest)


def test_two_people_are_two_people(cast: Cast) -> None:
    action = cast.order()
    assert approve(action, cast.approver).effect == "counted"
    assert refusal(approve, action=action, user=cast.approver).code == "conflict"
    assert approve(action, cast.second).effect == "approved"


def test_one_person_counts_for_one_group(cast: Cast) -> None:
    action = cast.order(amount=20000)  # finance twice and comms once; ada is in both
    assert approve(action, cast.approver).effect == "counted"
    assert approve(action, cast.second).effect == "counted"
    third = person("cleo", "finance", "comms")
    assert approve(action, third).effect == "approved"


def test_a_destructive_action_needs_the_name_of_its_target(cast: Cast) -> None:
    action = cast.deploy()
    assert refusal(approve, action=action, user=cast.approver).extra["confirm"] == "production"
    assert refusal(approve, action=action, user=cast.approver, confirm="staging").code == "invalid"
    assert approve(action, cast.approver, confirm="production").effect == "approved"


def test_an_edit_is_a_new_revision_and_voids_earlier_votes(cast: Cast) -> None:
    action = cast.order()
    approve(action, cast.second)
    args = {**action.args, "item": "pens"}
    decision = decisions.edit(
        action_id=action.pk, user=cast.approver, digest=action.digest, args=args, comment="pens"
    )
    assert decision.effect == "counted"
    action.refresh_from_db()
    assert (action.revision, action.args["item"], action.state) == (2, "pens", "pending")
    assert [vote.user.username for vote in action.votes.filter(void=False)] == ["ada"]
    assert [revision.args_json for revision in action.revisions.all()][0] != action.args_json


def test_the_old_digest_is_worth_nothing_after_an_edit(cast: Cast) -> None:
    action = cast.order()
    old = action.digest
    decisions.edit(
        action_id=action.pk, user=cast.approver, digest=old, args={**action.args, "item": "pens"}, comment=""
    )
    assert refusal(decisions.approve, action_id=action.pk, user=cast.second, digest=old).code == "conflict"


def test_an_editor_of_an_authority_argument_never_suffices_alone(cast: Cast) -> None:
    action = cast.mass_mail()
    args = {**action.args, "to": MANY[:100] + ["other@example.com"]}
    decision = decisions.edit(
        action_id=action.pk, user=cast.approver, digest=action.digest, args=args, channel="rest"
    )
    assert decision.effect == "counted"
    assert "other than ada" in decision.message
    action.refresh_from_db()
    assert action.origins["/to/100"]["origin"] == "reviewer"
    assert approve(action, person("cleo", "comms")).effect == "approved"


def test_an_edit_that_policy_blocks_is_refused(cast: Cast) -> None:
    action = cast.order()
    refused = refusal(
        decisions.edit, action_id=action.pk, user=cast.approver, digest=action.digest,
        args={**action.args, "supplier": "casino royale"},
    )  # fmt: skip
    assert refused.code == "blocked"
    action.refresh_from_db()
    assert (action.revision, action.state) == (1, "pending")


def test_an_edit_that_asks_for_less_still_needs_whom_it_needed(cast: Cast) -> None:
    action = cast.mass_mail()
    args = {**action.args, "to": MANY[:1]}
    decisions.edit(action_id=action.pk, user=cast.approver, digest=action.digest, args=args)
    action.refresh_from_db()
    assert (action.state, action.groups) == ("pending", ["comms"])


def test_a_browser_approval_can_be_taken_back(cast: Cast) -> None:
    action = cast.mass_mail()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, channel="browser")
    action.refresh_from_db()
    assert action.not_before > timezone.now()
    assert decisions.undo(action_id=action.pk, user=cast.approver).effect == "undone"
    action.refresh_from_db()
    assert (action.state, action.decided_by) == ("pending", "")
    assert approve(action, cast.approver).effect == "approved"


def test_after_five_seconds_it_cannot_be_taken_back(cast: Cast) -> None:
    action = cast.mass_mail()
    approve(action, cast.approver)
    Vote.objects.update(at=timezone.now() - timezone.timedelta(seconds=6))
    assert refusal(decisions.undo, action_id=action.pk, user=cast.approver).code == "conflict"


def starts_after(action: Action, given: Vote) -> bool:
    """Whether nothing starts before this approval can no longer be taken back."""
    action.refresh_from_db()
    undoable = given.at + timezone.timedelta(seconds=settings.AGENTSEC_UNDO_SECONDS)
    return action.state == "ready" and action.not_before is not None and action.not_before >= undoable


@pytest.mark.parametrize("last", ["rest", "browser"])
def test_a_later_vote_does_not_cut_the_undo_of_an_earlier_one_short(cast: Cast, last: str) -> None:
    action = cast.order()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    decisions.approve(action_id=action.pk, user=cast.second, digest=action.digest, channel=last)
    assert all(starts_after(action, vote) for vote in action.votes.filter(channel="browser"))
    held = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(held, starting.Held) and held.why.startswith("not before")
    assert decisions.undo(action_id=action.pk, user=cast.approver).effect == "undone"
    action.refresh_from_db()
    assert action.state == "pending"


def test_a_vote_that_is_one_too_many_can_be_undone_as_well(cast: Cast) -> None:
    """Finance twice and comms once: three of finance alone are not enough, and one of them is over."""
    action = cast.order(amount=20_000)
    for name in ("fay", "fred", "finn"):
        decisions.approve(action_id=action.pk, user=person(name, "finance"), digest=action.digest)
    assert approve(action, person("cleo", "comms")).effect == "approved"
    assert all(starts_after(action, vote) for vote in action.votes.filter(channel="browser"))


def test_what_can_no_longer_be_undone_holds_nothing_up(cast: Cast) -> None:
    action = cast.order()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    Vote.objects.update(at=timezone.now() - timezone.timedelta(seconds=6))
    approve(action, cast.second)
    action.refresh_from_db()
    assert (action.state, action.not_before) == ("ready", None)


def test_what_was_taken_back_before_holds_nothing_up(cast: Cast) -> None:
    action = cast.order()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    decisions.undo(action_id=action.pk, user=cast.approver)
    approve(action, cast.second)
    approve(action, person("cleo", "finance"))
    action.refresh_from_db()
    assert (action.state, action.not_before) == ("ready", None)


def test_the_agent_cancels_its_own_and_no_other(cast: Cast) -> None:
    action = cast.mass_mail()
    other = Agent.objects.create(name="other")
    assert refusal(decisions.cancel, action_id=action.pk, agent=other).code == "not_found"
    assert decisions.cancel(action_id=action.pk, agent=cast.agent).state == "cancelled"
    assert refusal(approve, action=action, user=cast.approver).code == "conflict"


def test_the_time_to_decide_ends(cast: Cast) -> None:
    action = cast.mass_mail()
    Action.objects.update(deadline=timezone.now())
    assert refusal(approve, action=action, user=cast.approver).code == "conflict"


def test_fifty_racing_deciders_have_one_winner(committed_cast: Cast) -> None:
    action = committed_cast.propose("script.run", {"code": "print('ASK')"})
    deciders = [person(f"racer{number}", "comms") for number in range(50)]
    barrier = Barrier(len(deciders))

    def decide(numbered: tuple[int, User]) -> str:
        number, user = numbered
        verb = decisions.approve if number % 2 else decisions.reject
        barrier.wait()
        try:
            return verb(
                action_id=action.pk, user=user, digest=action.digest, comment="x", channel="rest"
            ).effect
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(deciders)) as pool:
        outcomes = list(pool.map(decide, enumerate(deciders)))
    assert outcomes.count("conflict") == 49
    entries = Entry.objects.about(str(action.pk))
    assert entries.filter(kind__startswith="vote.").count() == 1
    assert entries.filter(kind__in=["action.ready", "action.rejected"]).count() == 1
    assert Execution.objects.filter(action=action).count() <= 1
