"""Two who decide at once about a suggestion, a proposal or a review: one wins, the other is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from approvals import access_review, growth, lastuse, promotion, suggest
from approvals.growth_models import AccessReview, Chore, Promotion, Suggestion
from policies import world
from policies.models import Agent, Rule
from tests.approvals.test_access_review import answers
from tests.approvals.test_suggest import WORLD, approve, offered
from tests.cast import Cast, person
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*verbs: Callable[[], Any]) -> list[str]:
    """What came of each, begun together: "done", or the refusal."""
    gate, said = threading.Barrier(len(verbs)), []

    def run(verb: Callable[[], Any]) -> None:
        try:
            gate.wait(10)
            verb()
            said.append("done")
        except Refused as refused:
            said.append(refused.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(said)


def until_somebody_waits() -> None:
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT pg_sleep(0.01), count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[1]:
                return
    raise AssertionError("nobody waits for a lock")


def test_of_two_editors_one_drafts_it(committed_cast: Cast, settings: Any) -> None:
    settings.AGENTSEC_SUGGEST = {"approvals": 3, "days": 90, "ends_after": 30}
    world.apply(WORLD, by="tests")
    approve(committed_cast)
    row = offered()
    both = [person(name, roles=("editor",)) for name in ("edith", "edgar")]
    said = at_once(
        *(
            lambda user=user: suggest.draft(suggestion_id=row.pk, digest=row.digest, user=user, days=7)
            for user in both
        )
    )
    assert said == ["conflict", "done"]
    assert Rule.objects.filter(name__startswith="spare-").count() == 1
    assert Rule.objects.get(name="crm").when.count("timestamp") == 1
    assert Suggestion.objects.get().state == "drafted"


def test_of_accept_and_decline_one_holds(committed_cast: Cast, settings: Any) -> None:
    settings.AGENTSEC_TRUST = {
        "days": 1, "actions": 1, "failed_percent": 10, "rejected": 2, "pause_days": 30,
    }  # fmt: skip
    Agent.objects.update(mode="read_only")
    committed_cast.agent.refresh_from_db()
    committed_cast.propose("notes.read", {"id": 1})
    [row] = promotion.find()
    about = {"promotion_id": row.pk, "user": committed_cast.administrator}
    said = at_once(
        lambda: promotion.decide(**about, accept=True),
        lambda: promotion.decide(**about, accept=False, reason="no"),
    )
    assert said == ["conflict", "done"]
    row.refresh_from_db()
    assert (row.state == "accepted") is (Agent.objects.get(name="scout").mode == "standard")


def test_two_who_look_at_once_propose_once(committed_cast: Cast, settings: Any) -> None:
    settings.AGENTSEC_TRUST = {
        "days": 1, "actions": 1, "failed_percent": 10, "rejected": 2, "pause_days": 30,
    }  # fmt: skip
    Agent.objects.update(mode="read_only")
    committed_cast.agent.refresh_from_db()
    committed_cast.propose("notes.read", {"id": 1})
    assert at_once(promotion.find, promotion.find) == ["done", "done"]
    assert Entry.objects.filter(kind="trust.proposed").count() == 1


def test_who_decides_holds_no_proposal_while_waiting_for_the_agent(
    committed_cast: Cast, settings: Any
) -> None:
    settings.AGENTSEC_TRUST = {
        "days": 1, "actions": 1, "failed_percent": 10, "rejected": 2, "pause_days": 30,
    }  # fmt: skip
    Agent.objects.update(mode="read_only")
    committed_cast.agent.refresh_from_db()
    committed_cast.propose("notes.read", {"id": 1})
    [row] = promotion.find()
    about = {"promotion_id": row.pk, "user": committed_cast.administrator, "accept": True}
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Agent.objects.select_for_update(no_key=True).get()
        deciding = pool.submit(at_once, lambda: promotion.decide(**about))
        until_somebody_waits()
        Promotion.objects.select_for_update(nowait=True).get(pk=row.pk)
    assert deciding.result() == ["done"]


def test_a_list_is_signed_twice_only_if_both_saw_it_as_it_is(committed_cast: Cast) -> None:
    user = committed_cast.administrator
    user.last_login = timezone.now()
    user.save()
    seen, wish = access_review.fingerprint(access_review.listed()), answers(tool__deploy=("remove", "old"))
    said = at_once(
        lambda: access_review.sign(user=user, decisions=wish, seen=seen),
        lambda: access_review.sign(user=user, decisions=wish, seen=seen),
    )
    assert said == ["conflict", "done"] and AccessReview.objects.count() == 1
    assert Entry.objects.filter(kind="tool.paused").count() <= 1


def test_two_clocks_count_each_action_once_and_look_once(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastuse, "LAG", timezone.timedelta(0))
    done: list[str] = []
    monkeypatch.setitem(growth._HOURLY, "trust", lambda: done.append("trust"))
    committed_cast.deploy()
    assert at_once(growth.tend, growth.tend) == ["done", "done"]
    assert done == ["trust"] and Chore.objects.get(name="last-use").place
