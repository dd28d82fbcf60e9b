"""Several senders at once, on real PostgreSQL: everything is told, and told once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from approvals import decisions
from approvals.notice_models import Notice, Occasion, Outlet
from approvals.notify import routing, sending
from approvals.notify.channel import Destination
from approvals.notify.letters import Letter
from policies.models import User
from tests.cast import Cast, person
from traces.models import Entry
from traces.problems import Refused


def together(works: list[Callable[[], object]]) -> None:
    """Run all at once; an error in one fails the test."""
    barrier, errors = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            work()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if errors:
        raise errors[0]


@pytest.fixture
def crowd(committed_cast: Cast) -> Cast:
    """Nine more people of comms, each with an address."""
    for number in range(9):
        person(f"comms{number}", "comms")
    for user in User.objects.filter(groups__name="comms"):
        User.objects.filter(pk=user.pk).update(email=f"{user.username}@corp.example")
    return committed_cast


def test_four_senders_tell_everybody_once(crowd: Cast) -> None:
    actions = [crowd.deploy(), crowd.deploy()]
    now, told, lock = timezone.now() + timedelta(seconds=16), Counter[tuple[str, str]](), threading.Lock()
    messages = set[str]()

    def deliver(channel: str, letter: Letter, to: Destination) -> None:
        with lock:
            told.update((to.email, item.action) for item in letter.items)
            messages.add(letter.id)

    def work(now: datetime = now) -> None:
        routing.route(now=now)
        while sending.step(now=now, deliver=deliver):
            pass

    together([work] * 4)
    # Where two senders routed one occasion each, the second's notices are owed a message of their own.
    work(now + sending.PAUSE)
    people = User.objects.filter(groups__name="comms")
    assert told == Counter((user.email, str(action.pk)) for user in people for action in actions)
    assert Entry.objects.filter(kind="notice.sent").count() == len(messages)
    assert not Notice.objects.exclude(state="sent").exists()
    assert set(Outlet.objects.values_list("claim", flat=True)) == {None}


def test_a_decision_that_races_the_sender_is_told_or_dropped_and_never_waits(crowd: Cast) -> None:
    actions = [crowd.mass_mail() for _ in range(5)]
    now = timezone.now() + timedelta(seconds=16)
    routing.route(now=now)

    def decide() -> None:
        for action in actions:
            decisions.reject(action_id=action.pk, user=crowd.approver, digest=action.digest, comment="no")

    def send() -> None:
        while sending.step(now=now, deliver=lambda *told: None):
            pass

    together([decide, send, send])
    send()
    assert set(Notice.objects.values_list("state", flat=True)) <= {"sent", "dropped"}


def test_what_is_asked_is_told_if_and_only_if_it_is_asked(committed_cast: Cast) -> None:
    """The outbox stands in the transaction of the ask."""
    with pytest.raises(Refused):
        committed_cast.propose("deploy", {"target": 7})
    assert not Occasion.objects.exists()
    committed_cast.deploy()
    assert Occasion.objects.filter(kind="asked").count() == 1
