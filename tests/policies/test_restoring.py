"""Rolling back: one step, the old content to the digit, nothing lost unsaid, and four eyes as ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from policies import foureyes, limits, releases, restoring, soundness
from policies.models import Agent, Case, Release, Rule, Tool
from policies.restoring import RolledBack
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def two(db: None) -> tuple[Release, Release]:
    """A first release that asks, and a second one that allows, with another tool."""
    Tool.objects.create(name="mail", effect="write", authority=["to"], parameters={"type": "object"})
    Rule.objects.create(name="mails", effect="ask", tools=["mail"], approvers="comms", quorum=2)
    first = releases.publish(by="user:1")
    Rule.objects.filter(name="mails").update(effect="allow", approvers="", quorum=1)
    Rule.objects.create(name="more", effect="allow")
    Tool.objects.create(name="odd")
    Tool.objects.filter(name="mail").update(effect="read", authority=[])
    return first, releases.publish(by="user:2")


def back(release: Release, by: str = "user:3", **more: Any) -> RolledBack:
    return restoring.roll_back(release_id=release.pk, by=by, **more)


def published() -> Any:
    return record.open_payload(Entry.objects.filter(kind=releases.PUBLISHED).order_by("-id")[0])


def test_what_an_earlier_release_held_decides_again(two: tuple[Release, Release]) -> None:
    done = back(two[0])
    assert done.release is not None
    assert (releases.current().release_id, releases.current().digest) == (done.release.pk, two[0].digest)


def test_the_draft_is_what_decides_afterwards(two: tuple[Release, Release]) -> None:
    back(two[0])
    assert releases.draft_content() == json.loads(two[0].content)


def test_the_log_says_to_which_release(two: tuple[Release, Release]) -> None:
    back(two[0], note="the mails were wrong")
    told = published()
    assert (told["rolled_back_to"], told["note"], told["despite"]) == (two[0].pk, "the mails were wrong", [])


def test_edits_that_nobody_published_are_gone_and_named(two: tuple[Release, Release]) -> None:
    Rule.objects.create(name="unpublished", effect="block")
    done = back(two[0])
    told = record.open_payload(Entry.objects.get(kind=foureyes.RESTORED))
    assert "rule unpublished: removed" in done.changed
    assert told and told["changes"] == list(done.changed)


def test_a_pause_outlives_its_tool(two: tuple[Release, Release]) -> None:
    Tool.objects.filter(name="odd").update(paused=True)
    back(two[0])
    agent = Agent.objects.create(name="scout")
    assert limits.thrown(agent, tool="odd") is not None


def test_a_pause_stays_a_pause(two: tuple[Release, Release]) -> None:
    Tool.objects.filter(name="mail").update(paused=True)
    back(two[0])
    assert Tool.objects.get(name="mail").paused


def test_a_case_that_would_fail_has_to_be_put_up_with_by_name(two: tuple[Release, Release]) -> None:
    Case.objects.create(name="mails pass", tool="mail", expect="allow")
    with pytest.raises(Refused, match="case mails pass"):
        back(two[0])
    assert Rule.objects.get(name="mails").effect == "allow"
    back(two[0], despite=["mails pass", "a case that nobody knows"])
    assert published()["despite"] == ["mails pass"]


def test_what_was_never_published_is_nothing_to_go_back_to(two: tuple[Release, Release]) -> None:
    forged = Release.objects.create(digest=two[0].digest, content=two[0].content, published_by="user:1")
    releases.publish(by="operator")
    with pytest.raises(Refused, match="never published"):
        back(forged)


def test_a_release_that_was_altered_is_nothing_to_go_back_to(two: tuple[Release, Release]) -> None:
    text = two[0].content.replace('"quorum":2', '"quorum":1')
    Release.objects.filter(pk=two[0].pk).update(content=text)
    soundness._sound.cache_clear()
    with pytest.raises(Refused, match="was altered"):
        back(two[0])


def test_an_altered_release_can_be_left_behind(two: tuple[Release, Release]) -> None:
    Release.objects.filter(pk=two[1].pk).update(content=two[0].content)
    soundness._sound.cache_clear()
    releases._load.cache_clear()
    assert back(two[0]).release is not None and releases.current().digest == two[0].digest


def test_of_what_decides_already_no_copy_is_made(two: tuple[Release, Release]) -> None:
    with pytest.raises(Refused, match="decides already"):
        back(two[1])
    with pytest.raises(Refused, match="There is no release"):
        restoring.roll_back(release_id=99_999, by="user:3")


def test_who_looked_at_another_release_is_told(two: tuple[Release, Release]) -> None:
    with pytest.raises(Refused, match="was published meanwhile"):
        back(two[0], deciding=two[0].digest)


def test_a_field_that_no_longer_exists_refuses_the_whole(two: tuple[Release, Release]) -> None:
    content = json.loads(two[0].content)
    content["rules"][0]["colour"] = "red"
    with pytest.raises(Refused, match="cannot read an old one"):
        restoring.restore(content=content, by="user:3", what="an old one")


def test_the_outlook_says_what_would_happen(two: tuple[Release, Release]) -> None:
    Case.objects.create(name="mails pass", tool="mail", expect="allow")
    seen = restoring.outlook(two[0].pk)
    assert (seen.deciding, [problem.name for problem in seen.failing], seen.broken) == (
        two[1],
        ["mails pass"],
        (),
    )
    assert {item.line for item in seen.difference.items} >= {"rule more: removed", "tool odd: removed"}


# Four eyes


def test_with_four_eyes_one_sets_the_draft_and_another_publishes(
    settings: Any, two: tuple[Release, Release]
) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    assert (back(two[0]).release, back(two[0]).release) == (None, None)
    assert back(two[0], by="user:4").release is not None


def test_whose_edits_are_gone_may_confirm_the_way_back(settings: Any, two: tuple[Release, Release]) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    releases.edit(row=Rule.objects.get(name="more"), values={"effect": "block"}, by="user:1")
    assert back(two[0], by="user:2").release is None
    assert back(two[0], by="user:1").release is not None


def test_an_edit_after_the_way_back_counts_again(settings: Any, two: tuple[Release, Release]) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    back(two[0], by="user:2")
    releases.edit(row=Rule.objects.get(name="mails"), values={"quorum": 1}, by="user:1")
    for by in ("user:1", "user:2"):
        with pytest.raises(Refused, match="somebody else"):
            releases.publish(by=by)


# Publishing what was seen, and races


def test_a_draft_that_changed_since_it_was_seen_is_not_published(two: tuple[Release, Release]) -> None:
    Rule.objects.create(name="late", effect="allow")
    with pytest.raises(Refused, match="has changed since you looked"):
        releases.publish(by="user:1", seen=two[1].digest)


def race(*acts: Callable[[], object]) -> list[str]:
    """Everything at once; what was refused."""
    refused: list[str] = []

    def run(act: Callable[[], object]) -> None:
        try:
            act()
        except Refused as error:
            refused.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


@pytest.mark.django_db(transaction=True)
def test_rolling_back_beside_publishing_leaves_one_truth(two: tuple[Release, Release]) -> None:
    Rule.objects.create(name="late", effect="block")
    refused = race(lambda: back(two[0]), lambda: releases.publish(by="user:1"), lambda: back(two[0]))
    newest = Release.objects.order_by("-id")[0]
    assert set(refused) <= {"conflict"}
    assert newest.digest == releases.current().digest
    assert json.loads(newest.content) == releases.draft_content()


@pytest.mark.django_db(transaction=True)
def test_of_two_who_go_back_at_once_one_publishes(two: tuple[Release, Release]) -> None:
    before = Release.objects.count()
    assert race(lambda: back(two[0]), lambda: back(two[0], by="user:4")) == ["conflict"]
    assert Release.objects.count() == before + 1
