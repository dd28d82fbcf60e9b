"""What rules may ask of a session: what it was opened for, and what happened in it before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from approvals import backtest, decisions, handout, results
from approvals.models import Action
from policies import releases, sessions, sets, trail, world
from policies.facts import Facts
from policies.models import Recall, Rule, Trail
from tests.cast import Cast
from traces import record
from traces.models import Entry, Session
from traces.problems import Refused

pytestmark = pytest.mark.django_db
PURPOSE = "rules:\n  - {name: outside, effect: ask, when: '!session.covers', approvers: comms}\n"
LEAK = """
rules:
  - name: leak
    effect: ask
    when: "'notes.read' in session.read && tool.sends == 'external'"
    approvers: comms
"""
MAIL = {"to": ["ann@example.com"], "subject": "Hello", "body": "…"}


def facts(action: Action) -> dict[str, Any]:
    return dict(json.loads(action.facts_json)["session"])


def mail(cast: Cast, session: Session) -> Action:
    return cast.propose("email.send", MAIL, session=session)


def read_a_note(cast: Cast, session: Session) -> Action:
    """Proposed, started and reported."""
    action = cast.propose("notes.read", {"id": 1}, session=session)
    assert handout.take(action.pk, agent=cast.agent) is not None
    return results.report(agent=cast.agent, action_id=action.pk, status="succeeded", output={"text": "…"})


# What it was opened for


def test_a_tool_that_the_session_was_not_opened_for_is_asked_about(cast: Cast) -> None:
    world.apply(PURPOSE, by="tests")
    session = cast.session(purpose="Read the notes", tools=["notes.*"])
    outside, inside = mail(cast, session), cast.propose("notes.read", {"id": 1}, session=session)
    assert (outside.state, inside.state) == ("pending", "ready")


def test_a_session_that_names_no_tools_is_for_any(cast: Cast) -> None:
    world.apply(PURPOSE, by="tests")
    assert mail(cast, cast.session(purpose="Anything")).state == "ready"


def test_the_starter_set_asks(cast: Cast) -> None:
    sets.apply("starter", by="tests")
    session = cast.session(tools=["notes.*"])
    asked = {match["name"] for match in mail(cast, session).verdict["matched"] if match["effect"] == "ask"}
    assert asked == {"outside-the-purpose"}


def test_what_only_the_agent_says_narrows_and_vouches_for_nothing(cast: Cast) -> None:
    seen = facts(mail(cast, cast.session(attested=False, purpose="Pay", tools=["notes.*"])))
    assert (seen["purpose"], seen["tools"], seen["covers"]) == ("", [], False)
    seen = facts(mail(cast, cast.session(purpose="Write", tools=["email.*"])))
    assert (seen["purpose"], seen["tools"], seen["covers"]) == ("Write", ["email.*"], True)


def test_an_agent_opens_no_wider_session_below_a_narrow_one(cast: Cast) -> None:
    above = cast.session(tools=["notes.*"])
    assert cast.session(attested=False, parent=above.pk).tools == ["notes.*"]
    with pytest.raises(Refused) as refused:
        cast.session(attested=False, parent=above.pk, tools=["notes.read", "email.send"])
    assert refused.value.code == "forbidden"


def test_the_host_application_may_open_what_it_wants(cast: Cast) -> None:
    above = cast.session(tools=["notes.*"])
    assert cast.session(parent=above.pk, tools=["email.send"]).tools == ["email.send"]


@pytest.mark.parametrize("change", [{"tools": []}, {"attested": True}, {"purpose": "Pay everybody"}])
def test_what_it_was_opened_for_is_never_changed(cast: Cast, change: dict[str, Any]) -> None:
    session = cast.session(attested=False, purpose="Read", tools=["notes.*"])
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Session.objects.filter(pk=session.pk).update(**change)


def test_whom_a_session_served_can_still_be_forgotten(cast: Cast) -> None:
    session = cast.session(purpose="Her divorce", user="mia", tools=["notes.*"])
    record.erase_subject(subject="mia", actor="tests")
    session.refresh_from_db()
    assert (session.purpose, session.tools) == ("", ["notes.*"])


def test_the_log_says_what_it_was_opened_for(cast: Cast) -> None:
    session = cast.session(tools=["notes.*"])
    opened = Entry.objects.of_session(session.pk).get(kind="session.opened")
    body = record.open_payload(opened)
    assert isinstance(body, dict) and body["tools"] == ["notes.*"]


def test_the_card_and_the_session_say_it(cast: Cast, client: Client) -> None:
    world.apply(PURPOSE, by="tests")
    session = cast.session(purpose="Read the notes", tools=["notes.*", "wiki.read"])
    action = mail(cast, session)
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    card = client.get(reverse("action", args=[action.pk])).content.decode()
    page = client.get(f"/traces/sessions/{session.pk}").content.decode()
    assert "Outside what the session was opened for: notes.*, wiki.read." in card
    assert "<dt>Opened for</dt><dd><code>notes.*</code>, <code>wiki.read</code></dd>" in page


# What happened before


def test_a_rule_asks_what_was_read_before(cast: Cast) -> None:
    world.apply(LEAK, by="tests")
    session = cast.session()
    before, _, after = mail(cast, session), read_a_note(cast, session), mail(cast, session)
    assert (before.state, after.state) == ("ready", "pending")


def test_what_ran_is_told_by_name_and_what_only_read_is_no_deed(cast: Cast) -> None:
    session = cast.session()
    read_a_note(cast, session)
    handout.take(mail(cast, session).pk, agent=cast.agent)
    seen = facts(mail(cast, session))
    assert (seen["read"], seen["did"], seen["last"]) == (
        ["email.send", "notes.read"],
        ["email.send"],
        "email.send",
    )


def test_actions_are_counted_as_they_are_proposed(cast: Cast) -> None:
    session = cast.session()
    found = [facts(mail(cast, session))["calls"] for _ in range(3)]
    assert (found, facts(mail(cast, cast.session()))["calls"]) == ([0, 1, 2], 0)


def test_what_never_started_did_not_happen(cast: Cast) -> None:
    session = cast.session()
    asked = cast.mass_mail(session)
    decisions.reject(action_id=asked.pk, user=cast.approver, digest=asked.digest, comment="no")
    seen = facts(mail(cast, session))
    assert (seen["read"], seen["did"], seen["last"]) == ([], [], "")


def test_what_the_session_was_told_of_a_tool_counts_as_read(cast: Cast) -> None:
    session = cast.session()
    told = {"agent": cast.agent, "key": cast.key, "session": session, "text": "…", "tool": "payroll.read"}
    sessions.add_event(kind="tool_result", **told)
    sessions.add_event(kind="reasoning", **told | {"tool": "thoughts"})
    seen = facts(mail(cast, session))
    assert (seen["read"], seen["did"], seen["last"]) == (["payroll.read"], [], "")


def test_an_agent_does_not_forget_by_opening_another_session(cast: Cast) -> None:
    world.apply(LEAK, by="tests")
    reserve = cast.session(attested=False)
    read_a_note(cast, cast.session(attested=False))
    fresh, hosted = cast.session(attested=False), cast.session()
    assert [mail(cast, session).state for session in (reserve, fresh, hosted)] == [
        "pending", "pending", "ready",
    ]  # fmt: skip


def test_a_session_below_knows_what_the_one_above_read_long_ago(cast: Cast) -> None:
    above = cast.session()
    read_a_note(cast, above)
    Recall.objects.all().delete()
    assert facts(mail(cast, cast.session(attested=False, parent=above.pk)))["read"] == ["notes.read"]


def test_made_up_names_fill_no_memory(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "MAX_NAMES", 2)
    session = cast.session(attested=False)
    told = {"agent": cast.agent, "key": cast.key, "session": session, "kind": "tool_result", "text": "…"}
    for name in ("one", "two"):
        sessions.add_event(tool=name, **told)
    with pytest.raises(Refused) as refused:
        sessions.add_event(tool="three", **told)
    read_a_note(cast, session)
    assert refused.value.code == "limit"
    assert list(Recall.objects.values_list("tool", flat=True)) == ["notes.read"]
    assert facts(mail(cast, session))["read"] == ["notes.read", "one", "two"]


def test_a_backtest_sees_what_was_seen(cast: Cast) -> None:
    session = cast.session(tools=["notes.*"])
    first, _, second = mail(cast, session), read_a_note(cast, session), mail(cast, session)
    world.apply(LEAK, by="tests")
    Rule.objects.create(name="outside", effect="block", when="!session.covers && session.did == []")
    row = backtest.start(days=1, by="tests")
    done = backtest.step(backtest_id=row.pk, seconds=30)
    [change] = done.others
    assert change.after == "block" and set(change.group.examples) == {str(first.pk), str(second.pk)}
    Rule.objects.filter(name="outside").delete()
    done = backtest.step(backtest_id=backtest.start(days=1, by="tests").pk, seconds=30)
    assert [(change.after, change.group.examples) for change in done.others] == [("ask", [str(second.pk)])]


def test_facts_that_were_stored_before_there_was_a_trail_are_read(cast: Cast) -> None:
    stored = json.loads(mail(cast, cast.session()).facts_json)
    for name in ("purpose", "tools", "covers", "read", "did", "last"):
        del stored["session"][name]
    seen = Facts.from_json(stored).session
    assert (seen.covers, seen.read, seen.tools) == (True, (), ())


def test_a_long_session_costs_no_more(cast: Cast) -> None:
    session = cast.session(attested=False)
    tool = releases.current().tool("email.send")
    for name in ("email.send", "notes.read", "notes.read"):
        trail.note_started(session=session, tool=releases.current().tool(name))
    with transaction.atomic():
        before = len(connection.queries_log)
        connection.force_debug_cursor = True
        try:
            trail.session_facts(session, tool=tool, now=session.started_at)
        finally:
            connection.force_debug_cursor = False
    assert len(connection.queries_log) - before == 2 and Trail.objects.count() == 1


def test_sessions_that_were_there_before_get_their_trail(cast: Cast) -> None:
    session = cast.session()
    read_a_note(cast, session)
    handout.take(mail(cast, session).pk, agent=cast.agent)
    kept = Trail.objects.values().get()
    Trail.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(import_module("approvals.migrations.0007_trail").FORWARD)
    assert Trail.objects.values().get() == kept


def test_every_model_has_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_whoever_proposes_starts_and_reports_at_once_is_all_told(committed_cast: Cast) -> None:
    session = committed_cast.session(attested=False)
    ready = [committed_cast.propose("notes.read", {"id": number}, session=session) for number in range(3)]
    told = {"agent": committed_cast.agent, "key": committed_cast.key, "session": session, "text": "…"}

    def start(number: int) -> None:
        handout.take(ready[number].pk, agent=committed_cast.agent)

    def report(number: int) -> None:
        sessions.add_event(kind="tool_result", tool=f"tool-{number}", **told)

    def propose(number: int) -> None:
        mail(committed_cast, session)

    work = [(verb, number) for number in range(3) for verb in (start, report, propose)]
    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(lambda one: closing(*one), work))
    row = Trail.objects.get(session=session)
    assert (row.calls, row.read) == (6, ["notes.read", "tool-0", "tool-1", "tool-2"])


def closing(verb: Any, number: int) -> None:
    try:
        verb(number)
    finally:
        connection.close()
