"""Ways round the people who are asked: forged rows, weaker sign-ins, edits, times, names that look alike."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from approvals import decisions, evidence, execution, pipeline, presenters, starting
from approvals.models import Action, Vote
from policies import releases, sessions, world
from policies.arguments import canonical, digest
from policies.models import Release, User
from policies.rules import RELEASE_DOMAIN
from tests.cast import Cast, person
from traces import bundle, sequencer
from traces.models import Entry
from traces.problems import Refused


def integrate(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        while sequencer.integrate_once(connection):
            pass


def started(action: Action) -> str:
    execution.start_when_covered(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action.state


def asked_script(cast: Cast) -> Action:
    return cast.propose("script.run", {"code": "print('ASK')"})


def test_a_vote_that_stands_in_a_table_only_starts_nothing(committed_cast: Cast, sequencer_dsn: str) -> None:
    """Whoever writes to the database points a row at an entry that is under a checkpoint already."""
    action = asked_script(committed_cast)
    integrate(sequencer_dsn)
    Vote.objects.create(
        action=action, revision=1, digest=action.digest, user=committed_cast.approver, group="comms",
        verdict="approve", entry=Entry.objects.about(str(action.pk)).first().uuid,
    )  # fmt: skip
    Action.objects.filter(pk=action.pk).update(state="ready")
    assert started(action) == "cancelled"
    assert "log" in action.decision_reason


def test_the_vote_of_another_person_is_not_borrowed(committed_cast: Cast, sequencer_dsn: str) -> None:
    action = committed_cast.deploy()
    decisions.approve(
        action_id=action.pk, user=committed_cast.approver, digest=action.digest, channel="rest",
        confirm="production",
    )  # fmt: skip
    integrate(sequencer_dsn)
    Vote.objects.update(user=person("eve", "comms"))
    assert started(action) == "cancelled"


def test_a_vote_taken_back_is_not_brought_back_in_its_table(committed_cast: Cast, sequencer_dsn: str) -> None:
    action = asked_script(committed_cast)
    decisions.approve(action_id=action.pk, user=committed_cast.approver, digest=action.digest)
    decisions.undo(action_id=action.pk, user=committed_cast.approver)
    integrate(sequencer_dsn)
    Vote.objects.update(void=False)
    Action.objects.filter(pk=action.pk).update(state="ready", not_before=None)
    assert started(action) == "cancelled"


def test_an_action_that_forgets_whom_it_asked_starts_nothing(committed_cast: Cast) -> None:
    action = asked_script(committed_cast)
    Action.objects.filter(pk=action.pk).update(state="ready", approvals_json="[]", groups=[])
    assert started(action) == "cancelled"


def test_honest_votes_still_start_it_edited_or_not(committed_cast: Cast, sequencer_dsn: str) -> None:
    plain, edited = asked_script(committed_cast), asked_script(committed_cast)
    vote = {"user": committed_cast.approver, "channel": "rest"}
    decisions.approve(action_id=plain.pk, digest=plain.digest, **vote)
    args = {"code": "print('ASK again')"}
    decisions.edit(action_id=edited.pk, digest=edited.digest, args=args, **vote)
    integrate(sequencer_dsn)
    assert started(plain) == started(edited) == "running"


def test_a_release_that_nobody_published_decides_nothing(cast: Cast) -> None:
    content = releases.draft_content()
    content["rules"] = []
    frozen = digest(RELEASE_DOMAIN, content)
    Release.objects.create(digest=frozen, content=canonical(content).decode(), published_by="eve")
    with pytest.raises(Refused, match="never published"):
        cast.mass_mail()


STEP_UP = """
rules:
  - {name: deploys, effect: ask, tools: [deploy], approvers: comms, step_up: true}
"""


@pytest.fixture
def careful(cast: Cast) -> Cast:
    world.apply(STEP_UP, by="tests")
    return cast


def approve_deploy(cast: Cast, channel: str) -> decisions.Decision:
    action = cast.deploy()
    return decisions.approve(
        action_id=action.pk, user=cast.approver, digest=action.digest, confirm="production", channel=channel
    )


def test_a_token_never_satisfies_step_up(careful: Cast) -> None:
    User.objects.update(last_login=timezone.now())
    with pytest.raises(Refused, match="token") as refused:
        approve_deploy(careful, "rest")
    assert refused.value.code == "forbidden"


def test_a_fresh_sign_in_is_no_step_up(careful: Cast) -> None:
    User.objects.update(last_login=timezone.now())
    with pytest.raises(Refused, match="add a passkey"):
        approve_deploy(careful, "browser")


def test_a_rejection_needs_no_step_up(careful: Cast) -> None:
    action = careful.deploy()
    told = {"action_id": action.pk, "user": careful.approver, "digest": action.digest, "comment": "no"}
    assert decisions.reject(**told, channel="rest").effect == "rejected"


def test_an_undone_approval_does_not_bring_the_start_forward(cast: Cast) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    action = cast.mass_mail(not_before=tomorrow)
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    decisions.undo(action_id=action.pk, user=cast.approver)
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, channel="rest")
    held = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(held, starting.Held)
    assert held.why.startswith("not before")


UNDECLARED = """
rules:
  - {name: unknown, effect: ask, tools: ["*"], when: "!tool.declared", approvers: comms}
"""


def test_who_takes_an_argument_of_an_unknown_tool_away_does_not_suffice_alone(cast: Cast) -> None:
    """Of a tool that nobody declared every argument may say who is affected; so may its absence."""
    world.apply(UNDECLARED, by="tests")
    action = cast.propose("disk.wipe", {"only": "cache", "fast": True})
    decision = decisions.edit(
        action_id=action.pk, user=cast.approver, digest=action.digest, args={"fast": True},
        confirm="disk.wipe", channel="rest",
    )  # fmt: skip
    assert decision.effect == "counted"


@pytest.mark.parametrize("target", ["", "  ", "\t", "\u3000"])
def test_a_blank_target_is_not_confirmed_by_typing_nothing(cast: Cast, target: str) -> None:
    action = cast.deploy(target)
    with pytest.raises(Refused, match="destructive"):
        decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest, confirm="")


@pytest.mark.parametrize("tool", ["\u0435mail.send", "email.send ", "email.send\u200b", "email\uff0esend"])
def test_a_tool_that_only_looks_like_another_has_no_name(cast: Cast, tool: str) -> None:
    with pytest.raises(Refused, match="name"):
        cast.propose(tool, {"to": ["a@example.com"], "subject": "", "body": ""})


def test_a_replay_after_an_edit_is_still_the_same_action(cast: Cast) -> None:
    session = cast.session()
    known = {"session": session, "idempotency_key": "once", "tool_call_id": "call"}
    action = cast.mass_mail(**known)
    args = {**action.args, "body": "Better"}
    decisions.edit(action_id=action.pk, user=cast.approver, digest=action.digest, args=args)
    assert cast.mass_mail(**known).pk == action.pk
    other = {"to": ["a@example.com"], "subject": "", "body": ""}
    with pytest.raises(Refused, match="another call"):
        cast.propose("email.send", other, session=session, tool_call_id="call")


def test_a_pile_of_texts_cannot_keep_the_firewall_busy(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand small texts with something in each: as many looks would take a minute."""
    looks = []
    inspect = pipeline.judging.firewall.inspect
    monkeypatch.setattr(
        pipeline.judging.firewall, "inspect", lambda text, **more: looks.append(text) or inspect(text, **more)
    )
    action = cast.propose(
        "email.send", {"to": [f"a\u200bb{n}" for n in range(20_000)], "subject": "", "body": ""}
    )
    assert action.state == "blocked"
    assert len(looks) <= 2_001


def test_a_card_with_very_many_findings_is_read_at_once(cast: Cast) -> None:
    """Each finding used to read all of the arguments again: this card took half a minute."""
    texts = [f"a\u200bb{n}" for n in range(1_500)]
    action = cast.propose("script.run", {"code": "print('ASK')", "files": {"x": texts, "y": ["z"] * 40_000}})
    Action.objects.filter(pk=action.pk).update(
        findings_json=json.dumps([{**action.findings[0], "path": f"/files/x/{n}"} for n in range(1_500)])
    )
    began = time.perf_counter()
    card = presenters.card(Action.objects.get(pk=action.pk), user=cast.approver)
    assert card.findings[-1].excerpt == texts[-1]
    assert time.perf_counter() - began < 5


def test_evidence_does_not_fill_the_memory_of_the_site(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mebibyte of one letter is stored in a hundred bytes; a thousand of them are opened by one click."""
    monkeypatch.setattr(bundle, "MAX_OPENED", 1_000_000)
    action = committed_cast.mass_mail()
    told = {"agent": committed_cast.agent, "key": committed_cast.key, "session": action.session}
    for _ in range(2):
        sessions.add_event(**told, kind="reasoning", text="a" * 600_000)
    with pytest.raises(Refused) as refused:
        evidence.export(action=action, user=committed_cast.approver)
    assert refused.value.code == "too_large"
