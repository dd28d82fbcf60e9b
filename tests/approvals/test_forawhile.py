"""For a while: one reviewer's yes answers equal calls of the session, until anything about them is worse."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.utils import timezone

from approvals import clock, decisions, forawhile, handout, starting
from approvals.models import Action, Vote
from policies import limits, releases, sessions, world
from policies.limit_models import Limit
from policies.models import Allowance, Release, Rule, User
from policies.verdict import unspared
from tests.approvals.test_views import browser, decide, text
from tests.approvals.test_ways_round import integrate
from tests.cast import MANY, Cast, person
from tests.lengths import LONG
from traces import record
from traces.models import Entry, Session
from traces.problems import Refused

CALLS = 64 if LONG else 24
RESTRICT = """
rules:
  - {name: late, effect: ask, tools: [email.send], approvers: comms, when: "args.subject.contains('URGENT')"}
  - {name: no-casino, effect: block, tools: [email.send], when: "args.body.contains('casino')"}
  - {name: small, effect: ask, tools: [email.send], approvers: comms, mode: shadow}
"""


def mail(cast: Cast, session: Session, **args: Any) -> Action:
    """A mail to everybody, which comms is asked about."""
    return cast.propose(
        "email.send", {"to": MANY, "subject": "News", "body": "Hello", **args}, session=session
    )


def approve(action: Action, user: User, minutes: int = 15, channel: str = "rest") -> decisions.Decision:
    return decisions.approve(
        action_id=action.pk, user=user, digest=action.digest, channel=channel, for_minutes=minutes
    )


def allowed(cast: Cast, **args: Any) -> tuple[Session, Allowance]:
    """A session in which ada has allowed mails to everybody for a while."""
    session = cast.session()
    row = approve(mail(cast, session, **args), cast.approver).allowance
    assert row is not None
    return session, row


def kinds() -> list[str]:
    return list(
        Entry.objects.filter(kind__startswith="allowance.").order_by("id").values_list("kind", flat=True)
    )


def test_an_equal_call_of_the_session_is_not_asked_again(cast: Cast) -> None:
    session, row = allowed(cast)
    again = mail(cast, session, subject="More news")
    assert (again.state, again.allowance) == ("ready", row)
    said = again.verdict["reasons"][0]
    assert "ada allowed" in said and f"{row.until:%H:%M:%S}" in said and "mass-mail" in said


def test_nothing_is_allowed_unless_it_is_ticked(cast: Cast) -> None:
    session = cast.session()
    approve(mail(cast, session), cast.approver, minutes=0)
    assert mail(cast, session).state == "pending" and not Allowance.objects.exists()


def test_the_log_tells_of_each_step(cast: Cast) -> None:
    session, row = allowed(cast)
    action = mail(cast, session)
    judged = record.open_payload(Entry.objects.about(str(action.pk)).get(kind="action.judged"))
    assert [match["rule_id"] for match in judged["verdict"]["matched"]][-1] == f"allowance:{row.pk}"
    forawhile.revoke(allowance_id=row.pk, user=cast.approver)
    assert kinds() == ["allowance.minted", "allowance.revoked"]


@pytest.mark.parametrize(
    "change",
    [
        {"to": [*MANY, "eve@example.com"]},
        {"cc": ["eve@example.com"]},
        {"bcc": []},
        {"to": list(reversed(MANY))},
    ],
    ids=["one more", "a copy", "an empty list", "another order"],
)
def test_another_target_is_asked(cast: Cast, change: dict[str, Any]) -> None:
    session, _ = allowed(cast)
    assert mail(cast, session, **change).state == "pending"


def test_another_session_is_asked(cast: Cast) -> None:
    allowed(cast)
    assert mail(cast, cast.session()).state == "pending"


def test_another_rule_that_asks_still_asks_and_a_block_still_blocks(cast: Cast) -> None:
    world.apply(RESTRICT, by="tests")
    session, _ = allowed(cast)
    assert mail(cast, session, subject="URGENT").state == "pending"
    assert mail(cast, session, body="casino").state == "blocked"
    spared = mail(cast, session)
    assert spared.state == "ready" and [match["name"] for match in spared.verdict["shadow"]] == ["small"]


def test_a_new_label_of_the_session_asks_again(cast: Cast) -> None:
    session, _ = allowed(cast)
    record.add_labels(session=session, labels=["untrusted"], why="a web page", actor="tests")
    assert mail(cast, session).state == "pending"


def test_a_new_finding_asks_again(cast: Cast) -> None:
    session, _ = allowed(cast)
    assert mail(cast, session, subject="Ne\u200bws").findings
    assert Action.objects.latest("created_at").state == "pending"


def test_a_worse_origin_asks_again(cast: Cast) -> None:
    """The same address, once the user named it, is not the same when only a web page holds it."""
    session = cast.session()
    told = {"agent": cast.agent, "session": session}
    sessions.add_event(**told, key=cast.host_key, kind="user_message", text=f"Write to {', '.join(MANY)}")
    row = approve(mail(cast, session), cast.approver).allowance
    assert row is not None and set(row.origins.values()) == {"user"}
    # A value can only be said by fewer people where sources are forgotten; so this is asked of the row.
    row.origins = dict.fromkeys(row.origins, "trusted")
    call = forawhile.call_of(mail(cast, session), releases.current(), asks=frozenset(row.rules))
    assert forawhile.allowances.unlike(row, call) == ""
    worse = dict.fromkeys(call.origins, "untrusted")
    assert "worse place" in forawhile.allowances.unlike(row, forawhile.replace(call, origins=worse))


def test_more_amounts_than_were_approved_are_asked_about(cast: Cast) -> None:
    world.apply(
        """
tools:
  - name: invoice.pay
    effect: write
    authority: [payee]
    parameters: {type: object, properties: {payee: {type: string}, lines: {type: array}}}
rules: [{name: pays, effect: ask, tools: [invoice.pay], approvers: comms}]
""",
        by="tests",
    )
    session, line = cast.session(), {"amount": 100}

    def pay(*lines: dict[str, int]) -> Action:
        return cast.propose("invoice.pay", {"payee": "Acme", "lines": list(lines)}, session=session)

    approve(pay(line, line), cast.approver)
    assert [pay(*[line] * times).state for times in (1, 2, 3)] == ["ready", "ready", "pending"]


def test_when_its_time_is_over_it_asks_again(cast: Cast) -> None:
    session, row = allowed(cast)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forawhile.allowances, "forged", lambda row: "")
        Allowance.objects.update(starts_at=timezone.now() - timedelta(hours=2), until=timezone.now())
        assert mail(cast, session).state == "pending"
    clock.tick()
    row.refresh_from_db()
    assert row.ended == "its time is over" and kinds()[-1] == "allowance.ended"


def test_a_new_release_ends_it_and_an_old_one_published_again_does_not_bring_it_back(cast: Cast) -> None:
    session, row = allowed(cast)
    world.apply("rules: [{name: more, effect: allow, tools: [deploy]}]", by="tests")
    assert mail(cast, session).state == "pending"
    Rule.objects.get(name="more").delete()
    assert releases.publish(by="tests").digest == row.release
    assert mail(cast, session).state == "pending"
    clock.tick()
    row.refresh_from_db()
    assert row.ended == "policy was published anew"


@pytest.mark.parametrize("loss", ["groups", "role", "account"])
def test_whoever_may_no_longer_decide_allows_nothing(cast: Cast, loss: str) -> None:
    session, _ = allowed(cast)
    if loss == "groups":
        cast.approver.groups.remove(Group.objects.get(name="comms"))
    else:
        change = {"roles": ["member"]} if loss == "role" else {"is_active": False}
        User.objects.filter(pk=cast.approver.pk).update(**change)
    assert mail(cast, session).state == "pending"


def test_limits_still_hold(cast: Cast) -> None:
    session, _ = allowed(cast)
    Limit.objects.create(name="mails", tool="email.send", per_day=2)
    mail(cast, session)
    mail(cast, session)
    with pytest.raises(Refused) as refused:
        mail(cast, session)
    assert refused.value.code == "limit"


def test_what_destroys_is_never_allowed_for_a_while(cast: Cast) -> None:
    action = cast.deploy()
    with pytest.raises(Refused, match="destructive"):
        decisions.approve(
            action_id=action.pk, user=cast.approver, digest=action.digest, confirm="production", for_minutes=5
        )
    action.refresh_from_db()
    assert action.state == "pending" and not Vote.objects.exists() and forawhile.offer(action) is None


@pytest.mark.parametrize("amount", [500, 20_000], ids=["two people", "two groups"])
def test_nobody_allows_what_several_must_approve(cast: Cast, amount: int) -> None:
    action = cast.order(amount)
    with pytest.raises(Refused, match="more than one person"):
        approve(action, cast.approver)
    assert forawhile.offer(action) is None


def test_what_a_page_gave_the_agent_is_looked_at_each_time(cast: Cast) -> None:
    """One mistaken yes to an injected call must not be a yes to the next ten."""
    session = cast.session()
    told = {"agent": cast.agent, "session": session}
    sessions.add_event(**told, key=cast.host_key, kind="tool_result", tool="page.fetch", text="\n".join(MANY))
    action = mail(cast, session)
    with pytest.raises(Refused, match="outsiders"):
        approve(action, cast.approver)
    assert forawhile.offer(action) is None


def test_after_an_injection_each_call_is_looked_at(cast: Cast) -> None:
    session = cast.session()
    record.add_labels(session=session, labels=["injection"], why="a web page", actor="tests")
    with pytest.raises(Refused, match="orders to agents"):
        approve(mail(cast, session), cast.approver)


def test_step_up_is_wanted_each_time(cast: Cast) -> None:
    careful = "{name: mass-mail, effect: ask, tools: [email.send], approvers: comms, step_up: true}"
    world.apply(f"rules: [{careful}]", by="tests")
    cast.approver.last_login = timezone.now()
    with pytest.raises(Refused, match="step-up"):
        approve(cast.mass_mail(), cast.approver, channel="browser")


def test_an_edited_call_is_not_allowed_for_a_while(cast: Cast) -> None:
    action = cast.order()
    decisions.edit(
        action_id=action.pk, user=cast.approver, digest=action.digest, args={**action.args, "item": "x"}
    )
    action.refresh_from_db()
    assert forawhile.offer(action) is None


def test_under_an_altered_release_a_call_is_still_read_and_rejected(cast: Cast) -> None:
    action = cast.mass_mail()
    Release.objects.update(digest="0" * 64)
    page = text(browser(cast.approver).get(f"/actions/{action.pk}"))
    assert "Reject" in page and "for_minutes" not in page
    decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="no")
    action.refresh_from_db()
    assert action.state == "rejected"


@pytest.mark.parametrize("minutes", [-1, 61, 10**9])
def test_it_has_a_longest_time(cast: Cast, minutes: int) -> None:
    with pytest.raises(Refused, match="for 1 to 60 minutes"):
        approve(cast.mass_mail(), cast.approver, minutes=minutes)


def test_a_program_is_only_ever_the_same_program(cast: Cast) -> None:
    session = cast.session()
    approve(cast.propose("script.run", {"code": "print('ASK')"}, session=session), cast.approver)
    assert cast.propose("script.run", {"code": "print('ASK')"}, session=session).state == "ready"
    assert cast.propose("script.run", {"code": "print('ASK', 2)"}, session=session).state == "pending"


def test_taking_the_approval_back_takes_the_allowance_back(cast: Cast) -> None:
    session = cast.session()
    first = mail(cast, session)
    approve(first, cast.approver, channel="browser")
    second = mail(cast, session)
    assert second.state == "ready" and second.not_before > timezone.now()
    decisions.undo(action_id=first.pk, user=cast.approver)
    Action.objects.update(not_before=None)
    assert handout.take(second.pk, agent=cast.agent) is None
    second.refresh_from_db()
    assert (second.state, second.allowance, second.verdict["effect"]) == ("pending", None, "ask")


def started(action: Action) -> str:
    starting.start(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    return action.state


def test_it_starts_counts_and_says_so(committed_cast: Cast, sequencer_dsn: str) -> None:
    session, row = allowed(committed_cast)
    action = mail(committed_cast, session)
    assert started(action) == "ready"  # its allowance does not stand under a checkpoint yet
    integrate(sequencer_dsn)
    assert started(action) == "running"
    row.refresh_from_db()
    used = record.open_payload(Entry.objects.about(str(action.pk)).get(kind="allowance.used"))
    assert (row.uses, used["allowance"]) == (1, str(row.pk))


def test_what_was_let_through_and_then_revoked_is_asked_and_can_be_approved(
    committed_cast: Cast, sequencer_dsn: str
) -> None:
    session, row = allowed(committed_cast)
    action = mail(committed_cast, session)
    forawhile.revoke(allowance_id=row.pk, user=committed_cast.approver)
    assert started(action) == "pending" and action.verdict["effect"] == "ask"
    approve(action, committed_cast.approver, minutes=0)
    integrate(sequencer_dsn)
    assert started(action) == "running"


def test_a_label_that_came_between_is_asked_about(committed_cast: Cast, sequencer_dsn: str) -> None:
    session, _ = allowed(committed_cast)
    action = mail(committed_cast, session)
    record.add_labels(session=session, labels=["private"], why="a file", actor="tests")
    integrate(sequencer_dsn)
    assert started(action) == "pending"


def test_the_kill_switch_holds_it(cast: Cast) -> None:
    session, _ = allowed(cast)
    action = mail(cast, session)
    limits.stop(scope="all", reason="a drill", by="tests")
    held = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(held, starting.Held) and "a drill" in held.why


def test_the_rules_own_verdict_can_be_told_again(cast: Cast) -> None:
    session, _ = allowed(cast)
    asked = json.loads(Action.objects.get(session=session).verdict_json)
    spared = json.loads(mail(cast, session).verdict_json)
    strip = {"micros": 0}
    assert unspared(spared) | strip == asked | strip


FIELDS = (
    "session_id, agent_id, tool, target, same, call, labels, origins, findings, most, rules, release,"
    ' release_id, user_id, "group", action_id, vote, made_at, starts_at'
)


def test_a_row_that_somebody_writes_into_the_database_is_no_yes(
    committed_cast: Cast, superuser: psycopg.Connection, sequencer_dsn: str
) -> None:
    """A superuser copies an allowance that has ended, with its real entry, and gives it another hour."""
    session, row = allowed(committed_cast)
    forawhile.revoke(allowance_id=row.pk, user=committed_cast.approver)
    superuser.execute(
        f"INSERT INTO policies_allowance (id, {FIELDS}, until, entry, uses, ended) SELECT gen_random_uuid(),"
        f" {FIELDS}, until + interval '1 hour', entry, 0, '' FROM policies_allowance"
    )
    assert mail(committed_cast, session).state == "pending"
    superuser.execute("UPDATE policies_allowance SET ended_at = NULL, ended = ''")
    assert mail(committed_cast, session).state == "pending"


def test_a_longer_time_written_into_the_database_counts_for_nothing(
    committed_cast: Cast, superuser: psycopg.Connection
) -> None:
    session, _ = allowed(committed_cast)
    superuser.execute("UPDATE policies_allowance SET until = until + interval '1 hour'")
    assert mail(committed_cast, session).state == "pending"


def test_a_waiting_action_is_not_let_through_by_pointing_it_at_an_allowance(
    committed_cast: Cast, superuser: psycopg.Connection, sequencer_dsn: str
) -> None:
    session = committed_cast.session()
    waiting, first = mail(committed_cast, session), mail(committed_cast, session)
    row = approve(first, committed_cast.approver).allowance
    integrate(sequencer_dsn)
    assert row is not None
    superuser.execute(
        "UPDATE approvals_action SET state = 'ready', allowance_id = %s WHERE id = %s", [row.pk, waiting.pk]
    )
    assert started(waiting) == "cancelled"


def test_many_starts_and_a_revocation(committed_cast: Cast, sequencer_dsn: str) -> None:
    """Each start is before the revocation, and then counted, or finds it: nothing starts behind its back."""
    few = {"to": ["a@example.com"], "attachments": ["x"]}
    session, row = allowed(committed_cast, **few)
    actions = [mail(committed_cast, session, **few) for _ in range(CALLS - 1)]
    integrate(sequencer_dsn)
    barrier = threading.Barrier(CALLS)

    def work(number: int) -> str:
        try:
            barrier.wait()
            if number == CALLS - 1:
                forawhile.revoke(allowance_id=row.pk, user=committed_cast.approver)
                return "revoked"
            return type(starting.start(action_id=actions[number].pk, worker="tests")).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CALLS) as pool:
        outcomes = list(pool.map(work, range(CALLS)))
    row.refresh_from_db()
    revoked = Entry.objects.get(kind="allowance.revoked")
    used = Entry.objects.filter(kind="allowance.used")
    assert outcomes.count("Started") == used.count() == row.uses
    assert not used.filter(id__gt=revoked.pk).exists()
    assert set(Action.objects.filter(pk__in=[a.pk for a in actions]).values_list("state", flat=True)) <= {
        "running", "pending",
    }  # fmt: skip


def test_strangers_know_nothing_of_it_and_auditors_end_nothing(cast: Cast) -> None:
    _, row = allowed(cast)
    assert not forawhile.standing(cast.stranger) and forawhile.standing(cast.auditor)
    for user, code in ((cast.stranger, "not_found"), (cast.auditor, "forbidden")):
        with pytest.raises(Refused) as refused:
            forawhile.revoke(allowance_id=row.pk, user=user)
        assert refused.value.code == code
    forawhile.revoke(allowance_id=row.pk, user=person("cy", "comms"))
    assert not forawhile.standing(cast.approver)


def test_the_tick_is_offered_where_one_vote_suffices_and_says_what_may_differ(cast: Cast) -> None:
    card = text(browser(cast.approver).get(f"/actions/{cast.mass_mail().pk}/card"))
    assert 'name="while"' in card and "checked>" not in card
    assert "Same: <b>to</b>, no cc, no bcc." in card and "<b>body</b>, <b>subject</b>." in card
    for action in (cast.deploy(), cast.order()):
        assert 'name="while"' not in text(browser(cast.approver).get(f"/actions/{action.pk}/card"))


def test_the_choice_of_minutes_without_the_tick_is_nothing(cast: Cast) -> None:
    decide(cast.approver, cast.mass_mail(), "approve", for_minutes="60")
    assert not Allowance.objects.exists()


def test_it_is_ticked_shown_and_revoked_in_the_inbox(cast: Cast) -> None:
    session = cast.session()
    response = decide(cast.approver, mail(cast, session), "approve", **{"while": "1", "for_minutes": "15"})
    assert "the same for 15 min" in response["HX-Trigger-After-Settle"]
    row = Allowance.objects.get()
    client = browser(cast.approver)
    assert '<b class="num">1</b> allowance for a while' in text(client.get("/"))
    for address in (f"/traces/sessions/{session.pk}", f"/traces/sessions/{session.pk}/allowances"):
        assert f"/allowances/{row.pk}/revoke" in text(client.get(address))
    assert client.get(f"/allowances/{row.pk}/revoke").status_code == 405
    assert client.post(f"/allowances/{row.pk}/revoke", {"next": "//evil.example"})["Location"] == "/"
    assert "for a while" not in text(client.get("/allowances/strip"))
    assert "revoked by ada" in text(client.get(f"/traces/sessions/{session.pk}"))


@pytest.mark.parametrize("minutes", ["", "0", "-5", "٣", "1e3", "9" * 40, "61"])
def test_garbage_for_minutes_decides_nothing(cast: Cast, minutes: str) -> None:
    action = cast.mass_mail()
    assert (
        decide(cast.approver, action, "approve", **{"while": "1", "for_minutes": minutes}).status_code == 422
    )
    action.refresh_from_db()
    assert action.state == "pending"


def test_card_and_why_page_name_it(cast: Cast) -> None:
    session, _ = allowed(cast)
    action, client = mail(cast, session), browser(cast.approver)
    for address in (f"/actions/{action.pk}", f"/actions/{action.pk}/why"):
        assert "ada allowed the same call in this session until" in text(client.get(address))


def test_strangers_and_auditors_revoke_nothing_by_page(cast: Cast) -> None:
    _, row = allowed(cast)
    for user in (cast.stranger, cast.auditor, cast.administrator):
        browser(user).post(f"/allowances/{row.pk}/revoke")
    row.refresh_from_db()
    assert row.ended == "revoked by root-admin"


def test_an_editor_revokes_it_in_the_admin(cast: Cast) -> None:
    _, row = allowed(cast)
    client = browser(person("edith", roles=("editor",)))
    page = client.get("/admin/policies/allowance/")
    assert "email.send" in text(page)
    client.post("/admin/policies/allowance/", {"action": "revoke", "_selected_action": [str(row.pk)]})
    row.refresh_from_db()
    assert row.ended == "revoked by edith"


DESK = """
tools:
  - name: desk.pay
    runs: agent
    effect: write
    authority: [payee.iban]
    target: memo
    parameters:
      type: object
      properties:
        payee: {type: object, properties: {iban: {type: string}, note: {type: string}}, required: [iban]}
        lines: {type: array, items: {type: object, properties: {amount: {type: number}}}}
        fee: {type: string}
        memo: {type: string}
      required: [payee]
rules: [{name: pays, effect: ask, tools: [desk.pay], approvers: comms}]
"""
PAID = {"payee": {"iban": "DE12", "note": "hi"}, "lines": [{"amount": 5}, {"amount": 9.5}], "fee": "1.50"}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"lines": [{"amount": 9.5}], "fee": "+01.5"}, "ready"),
        ({"fee": "1e9"}, "pending"),
        ({"fee": "USD 1000"}, "pending"),
        ({"payee": {"iban": "DE12", "note": "something else"}}, "ready"),
        ({"lines": [{"amount": 9.51}]}, "pending"),
        ({"lines": [{"amount": -10}]}, "pending"),
        ({"fee": "2"}, "pending"),
        ({"fee": "1,000,000"}, "pending"),
        ({"payee": {"iban": "DE12", "note": "7"}}, "pending"),
        ({"payee": {"iban": "de12"}}, "pending"),
        ({"memo": ""}, "pending"),
    ],
)
def test_within_objects_what_is_affected_is_the_same_and_no_number_is_larger(
    cast: Cast, change: dict[str, Any], state: str
) -> None:
    world.apply(DESK, by="tests")
    session = cast.session()
    assert approve(cast.propose("desk.pay", PAID, session=session), cast.approver).allowance is not None
    assert cast.propose("desk.pay", {**PAID, **change}, session=session).state == state


def test_a_release_published_under_the_reviewers_hand_is_not_answered(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen was asked by the rule as it was; a rule of the same name may ask about more by now."""
    count = decisions.count

    def publish_first(*args: Any, **more: Any) -> decisions.Decision:
        world.apply("rules: [{name: more, effect: allow, tools: [deploy]}]", by="tests")
        return count(*args, **more)

    action = cast.mass_mail()
    monkeypatch.setattr(decisions, "count", publish_first)
    with pytest.raises(Refused, match="published anew") as refused, transaction.atomic():
        approve(action, cast.approver)
    assert refused.value.code == "conflict" and not Allowance.objects.exists()
