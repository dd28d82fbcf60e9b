"""Backtests on stored actions, the “why?” of one, and what rules in shadow would have done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from approvals import backtest, decisions, explain, shadow
from approvals.models import Action, Backtest
from policies import world
from policies.arguments import canonical
from policies.models import Release, Rule
from tests.cast import Cast, person
from tests.page import INLINE
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def editor(client: Client, cast: Cast) -> Client:
    client.force_login(
        person("edith", roles=("editor",)), backend="django.contrib.auth.backends.ModelBackend"
    )
    return client


def tried(days: int = 1) -> backtest.Progress:
    row = backtest.start(days=days, by="tests")
    return backtest.step(backtest_id=row.pk, seconds=30)


def changes(found: list[Any]) -> list[tuple[str, str, int, list[str]]]:
    return [(item.before, item.after, item.group.count, item.group.examples) for item in found]


def test_an_unchanged_draft_changes_nothing(cast: Cast) -> None:
    cast.deploy(), cast.mass_mail(), cast.propose("notes.read", {"id": 1})
    done = tried()
    assert (done.done, done.difference.judged, done.difference.same) == (True, 3, 3)


def test_a_draft_shows_what_people_rejected_and_it_would_let_through(cast: Cast) -> None:
    rejected, waiting = cast.deploy(), cast.deploy("staging")
    decisions.reject(action_id=rejected.pk, user=cast.approver, digest=rejected.digest, comment="no")
    Rule.objects.filter(name="deploys").update(effect="allow", approvers="")
    done = tried()
    assert changes(done.rejected) == [("ask", "allow", 1, [str(rejected.pk)])]
    assert changes(done.others) == [("ask", "allow", 1, [str(waiting.pk)])]
    assert done.alarming == 1


def test_steps_count_each_call_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest, "_CHUNK", 2)
    wanted = {str(cast.deploy(f"host-{number}").pk) for number in range(5)}
    # The same instant for all: the order then rests on their ids alone.
    Action.objects.update(created_at=Action.objects.latest("created_at").created_at)
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    row = backtest.start(days=1, by="tests")
    seen = []
    while not (done := backtest.step(backtest_id=row.pk, seconds=0.000001)).done:
        seen.append(done.difference.judged)
    assert done.difference.judged == 5 and set(done.others[0].group.examples) == wanted
    assert backtest.step(backtest_id=row.pk).difference.judged == 5


def test_it_speaks_of_the_draft_as_it_was(cast: Cast) -> None:
    cast.deploy()
    row = backtest.start(days=1, by="tests")
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    done = backtest.step(backtest_id=row.pk)
    assert done.stale and done.difference.changed == 0


def test_a_draft_that_was_altered_in_the_database_is_refused(cast: Cast) -> None:
    cast.deploy()
    row = backtest.start(days=1, by="tests")
    Backtest.objects.update(content=row.content.replace('"ask"', '"allow"'))
    with pytest.raises(Refused, match="altered"):
        backtest.step(backtest_id=row.pk)


def test_calls_that_the_draft_does_not_touch_are_not_even_read(cast: Cast) -> None:
    untouched, changed = cast.order(), cast.deploy()
    Action.objects.filter(pk=untouched.pk).update(facts_json="gone")
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    found = tried().difference
    assert (found.judged, found.same, found.unread) == (2, 1, 0)
    [[change]] = [found.changes(rejected=False)]
    assert change.group.examples == [str(changed.pk)]


def test_a_release_that_was_altered_vouches_for_nothing(cast: Cast) -> None:
    action = cast.order()
    altered = Release.objects.get(digest=action.release)
    Action.objects.filter(pk=action.pk).update(facts_json="gone")
    Rule.objects.filter(name="orders").update(effect="block", approvers="")
    rules = json.loads(altered.content)
    next(rule for rule in rules["rules"] if rule["name"] == "orders").update(effect="block", approvers="")
    Release.objects.filter(pk=altered.pk).update(content=canonical(rules).decode())
    assert tried().difference.unread == 1


def test_a_draft_that_does_not_compile_says_where(cast: Cast) -> None:
    Rule.objects.filter(name="deploys").update(when="args.target ==")
    with pytest.raises(Refused, match="deploys"):
        backtest.start(days=1, by="tests")


@pytest.mark.parametrize("days", [0, -1, 366])
def test_it_looks_back_a_year_at_most(cast: Cast, days: int) -> None:
    with pytest.raises(Refused, match="1 to 365"):
        backtest.start(days=days, by="tests")


def test_the_command_prints_the_difference(cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    action = cast.deploy()
    Rule.objects.filter(name="deploys").update(effect="block", approvers="")
    call_command("backtest", days=3)
    told = capsys.readouterr().out
    assert "1 calls of 3 days judged" in told and "ask → block: 1, by deploys (1)" in told
    assert str(action.pk) in told


def test_the_page_works_a_backtest_off_and_runs_nothing_inline(editor: Client, cast: Cast) -> None:
    action = cast.deploy()
    Rule.objects.filter(name="deploys").update(effect="allow", approvers="")
    page = editor.post("/policies/backtest/start", {"days": "7"}, follow=True)
    body = page.content.decode()
    assert "0 of 1 calls judged" in body and 'hx-trigger="load, submit"' in body
    [row] = Backtest.objects.all()
    step = editor.post(f"/policies/backtest/{row.pk}/step", headers={"HX-Request": "true"}).content.decode()
    assert "1 of 1 calls would have come out otherwise" in step and str(action.pk) in step
    assert "hx-trigger" not in step
    assert not INLINE.search(body + editor.get("/policies/backtest").content.decode() + step)


@pytest.mark.parametrize("days", ["", "0", "x", "²", "9" * 5000, "-1", "1e3"])
def test_the_page_refuses_what_is_no_number_of_days(editor: Client, days: str) -> None:
    page = editor.post("/policies/backtest/start", {"days": days}, follow=True)
    assert "1 to 365 days" in page.content.decode() and not Backtest.objects.exists()


@pytest.mark.parametrize("path", ["backtest", "backtest/1", "shadow", "simulate"])
def test_a_member_finds_none_of_it(client: Client, cast: Cast, path: str) -> None:
    client.force_login(cast.stranger, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(f"/policies/{path}").status_code == 403


def test_publishing_leads_to_the_backtest(editor: Client) -> None:
    assert reverse("policy-backtest") in editor.get(reverse("admin:policies_publish")).content.decode()


def test_why_lists_every_rule_with_what_it_saw(cast: Cast) -> None:
    told = explain.of_action(cast.order(amount=500))
    lines = {line.name: line for line in told.lines}
    assert (lines["orders"].outcome, lines["dear-orders"].outcome) == ("matched", "no match")
    [saw] = lines["dear-orders"].saw
    assert (saw.name, saw.value.text, saw.there) == ("args.amount", "500", True)
    elsewhere = {rule.name: rule.why for rule in told.elsewhere}
    assert elsewhere["deploys"] == "It is about other tools: deploy." and "orders" not in elsewhere


def test_why_says_what_is_built_in(cast: Cast) -> None:
    cast.agent.mode = "read_only"
    cast.agent.save()
    told = explain.of_action(cast.deploy())
    assert (told.lines[0].name, told.lines[0].effect, told.verdict.effect) == ("agent-mode", "block", "block")


def test_what_a_condition_names_is_found_and_texts_are_not() -> None:
    facts = {"args": {"code": "x", "to": ["a"]}, "session": {"labels": []}, "origin": {}}
    condition = (
        "args.code.contains('args.secret') && size(args.to) > 1 || has(args.gone) || 'a' in session.labels"
    )
    seen = {saw.name: saw.there for saw in explain.values_seen(condition, facts)}
    assert seen == {"args.code": True, "args.to": True, "args.gone": False, "session.labels": True}


def test_the_page_why_is_for_those_who_may_read_the_action(client: Client, cast: Cast) -> None:
    action = cast.propose("order.place", {"supplier": "<b>casino</b>", "amount": 5})
    for user, status in ((cast.auditor, 200), (cast.stranger, 404)):
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        page = client.get(f"/actions/{action.pk}/why")
        assert page.status_code == status
    client.force_login(cast.auditor, backend="django.contrib.auth.backends.ModelBackend")
    body = client.get(f"/actions/{action.pk}/why").content.decode()
    assert "no-gambling" in body and "&lt;b&gt;casino" in body and "<b>casino" not in body
    assert not INLINE.search(body)


def test_rules_in_shadow_are_counted_by_what_really_came_of_it(cast: Cast) -> None:
    world.apply(
        "rules:\n"
        "  - {name: no-deploys, effect: block, tools: [deploy], mode: shadow}\n"
        "  - {name: ask-reads, effect: ask, tools: [notes.read], approvers: comms, mode: shadow}\n"
        "  - {name: free-orders, effect: allow, tools: [order.place], mode: shadow}\n",
        by="tests",
    )
    asked, read = cast.deploy(), cast.propose("notes.read", {"id": 1})
    cast.order()
    found = {item.name: item for item in shadow.counts()}
    assert [(name, item.matched, item.changed) for name, item in sorted(found.items())] == [
        ("ask-reads", 1, 1),
        ("free-orders", 1, 0),
        ("no-deploys", 1, 1),
    ]
    assert found["no-deploys"].really == {"ask": 1} and found["no-deploys"].examples == [str(asked.pk)]
    assert found["ask-reads"].examples == [str(read.pk)]


def test_the_admin_shows_what_a_shadow_rule_would_have_done(editor: Client, cast: Cast) -> None:
    world.apply("rules:\n  - {name: no-deploys, effect: block, tools: [deploy], mode: shadow}\n", by="tests")
    cast.deploy()
    rule = Rule.objects.get(name="no-deploys")
    for address in (
        reverse("admin:policies_rule_changelist"),
        reverse("admin:policies_rule_change", args=[rule.pk]),
        "/policies/shadow",
    ):
        body = editor.get(address).content.decode()
        assert "Would have changed" in body and not INLINE.search(body), address
    other = reverse("admin:policies_rule_change", args=[Rule.objects.get(name="mail").pk])
    assert "Would have changed" not in editor.get(other).content.decode()


def test_a_backtest_writes_nothing_into_the_log(cast: Cast) -> None:
    cast.deploy()
    before = Entry.objects.count()
    tried()
    assert Entry.objects.count() == before


def test_what_a_reviewer_allowed_for_a_while_is_no_change_of_the_rules(cast: Cast) -> None:
    first = cast.mass_mail()
    decisions.approve(
        action_id=first.pk, user=cast.approver, digest=first.digest, channel="rest", for_minutes=5
    )
    assert cast.mass_mail(session=first.session).state == "ready"
    assert tried().difference.same == 2
