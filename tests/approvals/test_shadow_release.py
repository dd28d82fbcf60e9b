"""A whole release in shadow: it counts what it would change, and nothing that it holds reaches a call."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import decisions, shadow_counts, shadow_release
from approvals.models import Action
from approvals.shadow_models import ShadowRelease
from policies import releases
from policies.models import Release, Rule, User
from tests.cast import Cast, person
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db
LATER = timedelta(minutes=1)


@pytest.fixture
def shadow(cast: Cast) -> ShadowRelease:
    """A draft that blocks deploys and lets every order pass, in shadow beside rules that ask."""
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    Rule.objects.filter(name__in=["orders", "dear-orders"]).update(effect="allow", approvers="")
    return shadow_release.start(by="user:1", note="a trial")


def count() -> shadow_counts.Counted:
    shadow_release.step(now=timezone.now() + LATER)
    return shadow_counts.counted(ShadowRelease.objects.get())


def told(changes: list[shadow_counts.Changed]) -> list[tuple[str, str, int]]:
    return [(change.before, change.after, change.count) for change in changes]


def test_what_decides_goes_on_deciding(cast: Cast, shadow: ShadowRelease) -> None:
    assert [cast.deploy().state, cast.order().state] == ["pending", "pending"]


def test_it_counts_what_it_would_have_changed(cast: Cast, shadow: ShadowRelease) -> None:
    cast.deploy()
    cast.order()
    cast.order()
    cast.mass_mail()
    found = count()
    assert (found.row.judged, found.row.same, found.changed) == (4, 1, 3)
    assert told(found.others) == [("ask", "allow", 2), ("ask", "block", 1)]
    change = found.others[0]
    assert (change.by_tool, change.by_rule_now, change.looser) == (
        [("order.place", 2)],
        [("orders", 2)],
        True,
    )


def test_calls_that_people_reject_stand_apart_even_if_they_do_so_later(
    cast: Cast, shadow: ShadowRelease
) -> None:
    action = cast.order()
    assert count().alarming == 0
    decisions.reject(
        action_id=action.pk, user=cast.second, digest=action.digest, comment="no", channel="browser"
    )
    found = count()
    assert (told(found.rejected), found.others, found.alarming) == ([("ask", "allow", 1)], [], 1)


def test_no_call_is_counted_twice_and_none_from_before(cast: Cast, shadow: ShadowRelease) -> None:
    cast.deploy()
    assert [count().row.judged, count().row.judged] == [1, 1]


def test_what_was_just_proposed_waits_for_what_comes_in_late(cast: Cast, shadow: ShadowRelease) -> None:
    cast.deploy()
    assert shadow_release.step() == 0
    assert shadow_counts.counted(shadow).behind == 1


def test_a_call_that_it_cannot_judge_is_counted_and_stops_nothing(
    cast: Cast, shadow: ShadowRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*given: Any, **more: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(shadow_release.backtest, "judge", breaks)
    action = cast.deploy()
    found = count()
    assert (action.state, found.row.failed, found.row.failure) == (
        "pending",
        1,
        "RuntimeError: out of order",
    )


def test_facts_that_cannot_be_read_are_counted_so(cast: Cast, shadow: ShadowRelease) -> None:
    Action.objects.filter(pk=cast.deploy().pk).update(facts_json="{}")
    cast.deploy()
    assert (count().row.failed, count().changed) == (1, 1)


def test_an_altered_one_judges_nothing_and_is_not_published(cast: Cast, shadow: ShadowRelease) -> None:
    cast.order()
    ShadowRelease.objects.update(content=shadow.content.replace('"allow"', '"ask"'))
    assert count().row.failed == 1
    with pytest.raises(Refused, match="was altered"):
        shadow_release.promote(shadow_id=shadow.pk, by="user:2")


def test_one_that_somebody_wrote_into_the_database_is_not_published(
    cast: Cast, shadow: ShadowRelease
) -> None:
    shadow_release.drop(shadow_id=shadow.pk, by="user:1")
    about = {"digest": shadow.digest, "content": shadow.content, "last_at": shadow.last_at}
    forged = ShadowRelease.objects.create(by="user:1", **about)
    with pytest.raises(Refused, match="The log does not hold"):
        shadow_release.promote(shadow_id=forged.pk, by="user:2")


def test_where_a_call_is_judged_the_release_in_shadow_is_not_even_looked_up(
    cast: Cast, shadow: ShadowRelease
) -> None:
    with CaptureQueriesContext(connection) as asked:
        cast.deploy()
    assert not [query for query in asked.captured_queries if "shadowrelease" in query["sql"]]


def test_one_at_a_time(cast: Cast, shadow: ShadowRelease) -> None:
    with pytest.raises(Refused, match="in shadow already"):
        shadow_release.start(by="user:2")


def test_what_decides_already_is_not_put_in_shadow(cast: Cast) -> None:
    with pytest.raises(Refused, match="nothing to compare"):
        shadow_release.start(by="user:1")


def test_what_does_not_compile_is_not_put_in_shadow(cast: Cast) -> None:
    Rule.objects.create(name="broken", effect="block", when="oops(")
    with pytest.raises(Refused, match="does not compile"):
        shadow_release.start(by="user:1")


def test_stopping_counts_the_last_calls_and_then_none(cast: Cast, shadow: ShadowRelease) -> None:
    cast.deploy()
    assert shadow_release.stop(shadow_id=shadow.pk, by="user:1").judged == 1
    cast.deploy()
    assert count().row.judged == 1
    assert shadow_counts.counted(ShadowRelease.objects.get()).behind == 0


def test_exactly_what_was_in_shadow_is_published(cast: Cast, shadow: ShadowRelease) -> None:
    Rule.objects.create(name="since-then", effect="block")
    done = shadow_release.promote(shadow_id=shadow.pk, by="user:1")
    assert done is not None and releases.current().digest == shadow.digest
    assert not Rule.objects.filter(name="since-then").exists()
    assert ShadowRelease.objects.get().state == "promoted"


def test_a_promotion_of_what_one_edited_is_left_to_another(
    cast: Cast, shadow: ShadowRelease, settings: Any
) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    releases.edit(row=Rule.objects.get(name="mail"), values={"effect": "block"}, by="user:7")
    assert shadow_release.promote(shadow_id=shadow.pk, by="user:1") is None
    assert Release.objects.count() == 1 and ShadowRelease.objects.get().state == "running"
    assert shadow_release.promote(shadow_id=shadow.pk, by="user:2") is not None


def test_what_is_dropped_is_forgotten_and_ended(cast: Cast, shadow: ShadowRelease) -> None:
    cast.deploy()
    count()
    shadow_release.drop(shadow_id=shadow.pk, by="user:1")
    assert (shadow.verdicts.count(), ShadowRelease.objects.get().state) == (0, "dropped")
    for act in (shadow_release.stop, shadow_release.drop, shadow_release.promote):
        with pytest.raises(Refused, match="dropped already"):
            act(shadow_id=shadow.pk, by="user:1")


def test_each_step_is_in_the_log(cast: Cast, shadow: ShadowRelease) -> None:
    shadow_release.stop(shadow_id=shadow.pk, by="user:1")
    shadow_release.promote(shadow_id=shadow.pk, by="user:1")
    kinds = (
        Entry.objects.filter(kind__startswith="policy.shadow").order_by("id").values_list("kind", flat=True)
    )
    assert list(kinds) == ["policy.shadow_started", "policy.shadow_stopped", "policy.shadow_promoted"]


# In the browser


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def seen(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.content.decode()))


def test_a_draft_is_put_in_shadow_watched_and_published(cast: Cast) -> None:
    client = browser(person("eva", roles=("editor",)))
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    page = client.get("/policies/shadow").content.decode()
    digest = re.search(r'name="seen" value="(\w+)"', page)
    assert digest is not None
    client.post("/policies/shadow/start", {"seen": digest[1], "note": "deploys\0"})
    cast.deploy()
    count()
    row = ShadowRelease.objects.get()
    assert "1 of 1 calls would have come out otherwise" in seen(client.get("/policies/shadow"))
    assert "changed rule deploys" in seen(client.get(f"/policies/shadow/{row.pk}"))
    assert "without:" not in seen(client.get(f"/policies/shadow/{row.pk}"))
    Rule.objects.filter(name="orders").update(quorum=7)
    assert "without:rule orders: quorum changed" in seen(client.get(f"/policies/shadow/{row.pk}"))

    answer = client.post(f"/policies/shadow/{row.pk}/promote", {"note": "\0"}, follow=True)
    assert "decides from now on" in seen(answer) and releases.current().digest == row.digest


def test_an_auditor_watches_and_decides_nothing(cast: Cast, shadow: ShadowRelease) -> None:
    client = browser(cast.auditor)
    assert "Stop counting" not in seen(client.get("/policies/shadow"))
    for act in ("stop", "promote", "drop"):
        assert client.post(f"/policies/shadow/{shadow.pk}/{act}").status_code == 403
    assert client.post("/policies/shadow/start").status_code == 403
    assert browser(cast.approver).get("/policies/shadow").status_code == 403
