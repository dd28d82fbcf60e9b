"""Votes, escalation and expiry at the same moment, on real threads: one outcome, and a log that says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

from django.db import connections
from django.utils import timezone

from approvals import clock, decisions, escalation
from approvals.models import Action, Widening
from policies import absences, world
from policies.models import User
from tests.approvals.test_escalation import RULES
from tests.cast import Cast, committed_cast, person
from traces.models import Entry
from traces.problems import Refused

__all__ = ["committed_cast"]
ENDS = ["action.ready", "action.rejected", "action.expired"]


def at_once(*acts: Callable[[], object]) -> list[str]:
    """Run each in a thread of its own, all at the same moment; the code of what was refused."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], object]) -> str:
        barrier.wait()
        try:
            act()
            return "done"
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def vote(action: Action, user: User, verb: Callable[..., object]) -> Callable[[], object]:
    return lambda: verb(action_id=action.pk, user=user, digest=action.digest, comment="x", channel="rest")


def due(action: Action) -> None:
    past = timezone.now() - timedelta(minutes=11)
    Action.objects.filter(pk=action.pk).update(changed_at=past, escalates_at=timezone.now())


def test_votes_escalation_and_expiry_have_one_outcome(committed_cast: Cast) -> None:
    world.apply(RULES, by="tests")
    lead, late = person("lea", "leads"), timezone.now() + timedelta(hours=1)
    for _ in range(3):
        action = committed_cast.mass_mail()
        due(action)
        at_once(
            vote(action, committed_cast.approver, decisions.approve),
            vote(action, lead, decisions.approve),
            vote(action, lead, decisions.reject),
            lambda: clock.escalate(timezone.now()),
            lambda: clock.escalate(timezone.now()),
            lambda: clock.expire(late),
        )
        kinds = list(Entry.objects.about(str(action.pk)).values_list("kind", flat=True))
        assert sum(kind in ENDS for kind in kinds) == 1
        assert kinds.count("action.escalated") == Widening.objects.filter(action=action).count() <= 1
        ended = next(at for at, kind in enumerate(kinds) if kind in ENDS)
        assert "action.escalated" not in kinds[ended:]


def test_many_clocks_take_a_step_once(committed_cast: Cast) -> None:
    world.apply(RULES, by="tests")
    action = committed_cast.mass_mail()
    due(action)
    at_once(*[lambda: escalation.escalate(action_id=action.pk)] * 8)
    assert Entry.objects.about(str(action.pk)).filter(kind="action.escalated").count() == 1


def test_two_who_name_each_other_at_once_do_not_both_go(committed_cast: Cast) -> None:
    ada, ben = committed_cast.approver, committed_cast.second
    until = timezone.now() + timedelta(days=1)

    def go(user: User, stand_in: User) -> Callable[[], object]:
        return lambda: absences.go_away(
            user=User.objects.get(pk=user.pk), since=None, until=until, stand_in=stand_in, by="user:1"
        )

    assert sorted(at_once(go(ada, ben), go(ben, ada))) == ["done", "invalid"]
