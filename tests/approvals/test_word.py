"""The user's own word: dana, whom a session serves, gives it by her application, a link, or signed in."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

import tests.cast
from approvals import (
    alike,
    confirming,
    decisions,
    drawing,
    evidence,
    execution,
    mine,
    queries,
    word,
    wordlinks,
)
from approvals.confirming import Speaker
from approvals.models import Action
from approvals.word_models import ConfirmationLink, Word
from policies import agents, people, world
from policies.models import Agent, AgentKey, Role, User
from policies.tooling import ToolDef
from tests.cast import Cast, make_cast, person
from tests.frozen import copied
from traces import sequencer
from traces.models import Entry, Session
from traces.problems import Refused

WORLD = tests.cast.WORLD.replace("approvers: finance, quorum: 2", 'approvers: "@user"').replace(
    "tools: [deploy], approvers: comms", 'tools: [deploy], approvers: "@user"'
)
ORDER = {"supplier": "Acme", "item": "paper", "amount": 500}


@pytest.fixture(autouse=True)
def no_wrong_links_so_far() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def make_asking() -> Cast:
    """The cast where orders and deploys ask the user; dear orders ask comms too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tests.cast, "WORLD", WORLD)
        return make_cast()


@pytest.fixture
def asking(db: None) -> Cast:
    return copied(make_asking)


@pytest.fixture
def committed_asking(transactional_db: None) -> Cast:
    return copied(make_asking)


def order(cast: Cast, user: str = "dana", amount: int = 500, **about: Any) -> Action:
    return cast.propose("order.place", {**ORDER, "amount": amount}, session=cast.session(user=user, **about))


def host(cast: Cast, name: str = "dana") -> Speaker:
    return confirming.of_host(key=cast.host_key, name=name)


def approve(action: Action, speaker: Speaker, **said: Any) -> str:
    told = {"digest": action.digest, **said}
    return confirming.approve(action_id=action.pk, speaker=speaker, **told).effect


def vote(cast: Cast, action: Action) -> str:
    """Ada approves for comms."""
    told = {"action_id": action.pk, "digest": action.digest, "channel": "rest"}
    return decisions.approve(user=cast.approver, **told).effect


def reject(action: Action, speaker: Speaker, comment: str = "") -> str:
    done = confirming.reject(action_id=action.pk, speaker=speaker, digest=action.digest, comment=comment)
    return done.effect


def refusal(action: Action, speaker: Speaker, **said: Any) -> str:
    with pytest.raises(Refused) as caught:
        approve(action, speaker, **said)
    action.refresh_from_db()
    assert action.state == "pending"
    return caught.value.code


def link(cast: Cast, session: Session, **said: Any) -> str:
    """The path of a fresh link."""
    return "/mine/" + wordlinks.make(key=cast.host_key, session=session, **said).url.rpartition("/")[2]


def opened(cast: Cast, session: Session) -> Client:
    """A browser in which the link of this session was opened."""
    client = Client()
    assert client.post(link(cast, session)).headers["Location"] == "/mine"
    return client


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def answer(client: Client, action: Action, verdict: str = "approve", **said: Any) -> str:
    """What the page says after the answer."""
    post = {"digest": action.digest, "verdict": verdict, **said}
    return text(client.post(f"/mine/actions/{action.pk}/decide", post, follow=True))


def replaced(action: Action, *, tool: str, args: dict[str, Any], **changes: Any) -> Action:
    """The action as one of another tool, as far as drawing it goes; nothing of that is stored."""
    action.tool, action.args_json = tool, json.dumps(args)
    for name, value in changes.items():
        setattr(action, name, value)
    return action


def text(response: Any) -> str:
    return str(response.content.decode())


def state(action: Action) -> str:
    action.refresh_from_db()
    return action.state


# ---- through the host application


def test_the_users_word_lets_it_go_on(asking: Cast) -> None:
    action = order(asking)
    assert (approve(action, host(asking)), state(action)) == ("approved", "ready")
    assert action.decided_by == "the person it serves"


def test_the_log_holds_whose_word_it_was_and_by_which_way(asking: Cast) -> None:
    action = order(asking)
    approve(action, host(asking), comment="please")
    entry = Entry.objects.about(str(action.pk)).get(kind="vote.approve")
    assert entry.actor == f"host:{asking.host_key.pk}"
    assert "by the host’s word" in entry.span.title


def test_evidence_and_trace_tell_it(asking: Cast) -> None:
    action = order(asking)
    approve(action, host(asking))
    told = evidence.chapters(Entry.objects.about(str(action.pk)).select_related("subject_key"))
    assert [said["body"]["by"] for said in told["votes"]] == ["dana"]
    page = text(browser(asking.auditor).get(f"/traces/sessions/{action.session_id}"))
    assert "the host application" in page
    assert "dana approved, by the host’s word" in text(browser(asking.auditor).get(f"/actions/{action.pk}"))


def test_the_users_no_ends_it_whatever_was_said_before(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    assert approve(action, host(asking)) == "counted"
    assert (reject(action, host(asking), "changed my mind"), state(action)) == ("rejected", "rejected")
    assert action.decision_reason == "changed my mind"


def test_where_both_are_asked_both_are_needed(asking: Cast) -> None:
    session = asking.session(user="dana")
    first, second = (
        asking.propose("order.place", {**ORDER, "amount": 20_000}, session=session) for _ in "12"
    )
    assert [approve(first, host(asking)), vote(asking, first)] == ["counted", "approved"]
    assert [vote(asking, second), approve(second, host(asking))] == ["counted", "approved"]


def test_an_act_key_gives_nobodys_word(asking: Cast) -> None:
    with pytest.raises(Refused, match="attest"):
        confirming.of_host(key=asking.key, name="dana")
    sly = Speaker("dana", key=asking.key)
    assert refusal(order(asking), sly) == "forbidden"


def test_another_agents_host_knows_nothing_of_it(asking: Cast) -> None:
    world.apply("agents:\n  - {name: other, mode: standard}\n", by="tests")
    raw = agents.issue_key(Agent.objects.get(name="other"), ["attest"], by="tests")
    key = agents.authenticate_key(raw)
    assert key is not None
    assert refusal(order(asking), confirming.of_host(key=key, name="dana")) == "not_found"


def test_only_exactly_the_same_name_is_the_same_user(asking: Cast) -> None:
    action = order(asking)
    names = ["Dana", "dana ", " dana", "dana\u200b", "d\u0430na", "dana\u0301", "", "erin"]
    assert {refusal(action, host(asking, name)) for name in names} == {"forbidden"}


def test_a_key_that_was_revoked_meanwhile_says_nothing_more(asking: Cast) -> None:
    action = order(asking)
    agents.revoke(agent=asking.agent, by="tests", prefix=asking.host_key.prefix)
    assert refusal(action, host(asking)) == "forbidden"


def test_a_word_is_given_once_and_for_what_was_seen(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    assert refusal(action, host(asking), digest="0" * 64) == "conflict"
    approve(action, host(asking))
    assert refusal(action, host(asking)) == "conflict"


def test_a_destructive_one_is_typed(asking: Cast) -> None:
    action = asking.propose("deploy", {"target": "production"}, session=asking.session(user="dana"))
    assert refusal(action, host(asking), confirm="staging") == "invalid"
    assert approve(action, host(asking), confirm="production") == "approved"


def test_what_does_not_ask_the_user_is_not_theirs_to_confirm(asking: Cast) -> None:
    action = asking.mass_mail(session=asking.session(user="dana"))
    assert refusal(action, host(asking)) == "not_found"


# ---- where nobody's word counts


def test_without_an_attested_user_nobody_can_say_yes_and_all_are_told(asking: Cast) -> None:
    auditor = browser(asking.auditor)
    for action in (order(asking, attested=False), order(asking, "")):
        assert word.note(action)["state"] == "impossible"
        assert not mine.of_agent(asking.agent).exists()
        assert "nobody can give it" in text(auditor.get(f"/actions/{action.pk}/card"))
        assert refusal(action, host(asking)) == "forbidden"
        with pytest.raises(Refused, match="nobody’s word counts"):
            wordlinks.make(key=asking.host_key, session=action.session)


def test_an_act_keys_child_of_an_attested_session_serves_nobody(asking: Cast) -> None:
    parent = asking.session(user="dana")
    action = order(asking, "dana", attested=False, parent=parent.pk)
    assert refusal(action, host(asking)) == "forbidden"


# ---- reviewers beside the user


def test_it_waits_for_no_reviewer_and_an_auditor_reads_along(asking: Cast) -> None:
    action = order(asking)
    assert not queries.inbox(asking.approver).exists()
    card = text(browser(asking.auditor).get(f"/actions/{action.pk}/card"))
    assert "<b>dana</b>’s own word" in card and 'id="approve-form"' not in card
    assert "@user" not in card and "nobody" not in card.lower().replace("no reviewer", "")
    assert "waits for dana’s own word" in text(browser(asking.auditor).get("/"))


def test_what_only_the_user_answers_cannot_be_ticked_to_decide_many(asking: Cast) -> None:
    order(asking)
    asking.auditor.roles = [*asking.auditor.roles, Role.APPROVER]
    asking.auditor.save()
    page = text(browser(asking.auditor).get("/"))
    assert 'id="bulk-pick"' in page and 'class="tick"' not in page


def test_an_edit_asks_the_user_again(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    approve(action, host(asking))
    old = action.digest
    decisions.edit(
        action_id=action.pk, user=asking.approver, digest=old, args={**ORDER, "amount": 15_000},
        channel="rest",
    )  # fmt: skip
    action.refresh_from_db()
    assert word.asked_of(action) == "dana"
    assert refusal(action, host(asking), digest=old) == "conflict"
    assert approve(action, host(asking)) == "approved"


def test_one_person_is_not_two(asking: Cast) -> None:
    """Ada is of comms, and the session serves her."""
    action = order(asking, "ada", amount=20_000)
    with pytest.raises(Refused, match="counts once"):
        decisions.approve(action_id=action.pk, user=asking.approver, digest=action.digest)
    assert "counts once" in text(browser(asking.approver).get(f"/actions/{action.pk}/card"))


def test_what_nobody_answered_says_whose_word_did_not_come(asking: Cast) -> None:
    dear, nobodys = order(asking, amount=20_000), order(asking, attested=False)
    for action in (dear, nobodys):
        decisions.expire(action=action)
    assert "nobody of comms decided within 15 min; the user’s own word did not come" in dear.decision_reason
    assert "without `attest`" in nobodys.decision_reason


def test_what_users_agreed_to_suggests_no_rule(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    approve(action, host(asking))
    vote(asking, action)
    assert alike.groups() == []


def test_who_reads_along_under_that_name_is_shown_the_way(asking: Cast) -> None:
    action = order(asking, "olga")
    assert 'href="/mine"' in text(browser(asking.auditor).get(f"/actions/{action.pk}/panel"))


def test_the_agent_hears_how_its_users_word_stands(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    assert word.note(action)["state"] == "waiting"
    approve(action, host(asking))
    assert word.note(Action.objects.get(pk=action.pk)) == {"state": "given"}


def test_no_rule_wants_step_up_of_the_user(asking: Cast) -> None:
    rule = '{name: orders, effect: ask, tools: [order.place], approvers: "@user", step_up: true}'
    with pytest.raises(Refused, match="cannot want step-up"):
        world.apply(f"rules:\n  - {rule}\n", by="tests")


def test_a_word_never_answers_step_up(asking: Cast) -> None:
    """As a release of an older version may want it."""
    action = order(asking)
    Action.objects.filter(pk=action.pk).update(
        approvals_json=action.approvals_json.replace('"step_up": false', '"step_up": true')
    )
    dana = person("dana", roles=())
    assert refusal(action, host(asking)) == refusal(action, confirming.of_account(dana)) == "forbidden"


# ---- a link of their own


def test_the_link_shows_what_is_asked_and_takes_the_answer(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    page = text(client.get("/mine"))
    assert "Order paper for 500 from Acme" in page and "You answer as <b>dana</b>" in page
    assert "Confirmed" in answer(client, action)
    assert state(action) == "ready" and action.not_before is not None


def test_looking_at_a_link_opens_nothing(asking: Cast) -> None:
    action = order(asking)
    address, scanner, dana = link(asking, action.session), Client(), Client()
    for _ in range(3):
        response = scanner.get(address)
        assert response.status_code == 200 and "agentsec_mine" not in response.cookies
        scanner.head(address)
    assert "Acme" not in text(scanner.get(address))
    assert dana.post(address).status_code == 302


def test_a_link_opens_once(asking: Cast) -> None:
    action = order(asking)
    address, dana, thief = link(asking, action.session), Client(), Client()
    dana.post(address)
    assert thief.get(address).status_code == thief.post(address).status_code == 410
    assert thief.get("/mine").status_code == 403
    assert dana.get(address).headers["Location"] == "/mine"


def test_the_address_of_a_link_is_told_to_nobody(asking: Cast) -> None:
    response = Client().get(link(asking, order(asking).session))
    assert response.headers["Referrer-Policy"] == "strict-origin"
    assert "no-store" in response.headers["Cache-Control"]
    cookie = Client().post(link(asking, order(asking).session)).cookies["agentsec_mine"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/mine"


def test_what_does_not_work_does_not_say_why(asking: Cast) -> None:
    session = order(asking).session
    over, ended, used = (link(asking, asking.session(user="dana")) for _ in range(3))
    ConfirmationLink.objects.filter(session__in=[]).update(expires_at=timezone.now())
    Client().post(used)
    newest = list(ConfirmationLink.objects.order_by("created_at"))
    ConfirmationLink.objects.filter(pk=newest[0].pk).update(expires_at=timezone.now())
    wordlinks.revoke(key=asking.host_key, session=newest[1].session)
    never = link(asking, session)[:-2] + "xx"
    pages = {text(Client().get(address)) for address in (over, ended, used, never)}
    told = {page.partition('name="csrf-token"')[0] + page.partition("<main")[2] for page in pages}
    assert len(told) == 1


def test_who_tries_many_links_waits(asking: Cast) -> None:
    guess = "/mine/lnk_" + "x" * 43
    codes = {Client().get(guess).status_code for _ in range(31)}
    assert codes == {410, 429}
    assert Client().get(link(asking, order(asking).session)).status_code == 429


def test_an_ended_link_shows_and_does_nothing(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    wordlinks.revoke(key=asking.host_key, session=action.session)
    assert client.get("/mine").status_code == 403
    assert client.get("/mine/asks").status_code == 401
    assert "has ended" in answer(client, action) and state(action) == "pending"


def test_a_link_that_ends_between_the_page_and_the_click_decides_nothing(asking: Cast) -> None:
    action = order(asking)
    opened(asking, action.session)
    held = ConfirmationLink.objects.get(session=action.session)
    speaker = confirming.of_link(held)
    ConfirmationLink.objects.update(expires_at=timezone.now())
    assert refusal(action, speaker) == "forbidden"


def test_a_link_knows_one_session_only(asking: Cast) -> None:
    mine_, other = order(asking), order(asking)
    erins = order(asking, "erin")
    client = opened(asking, mine_.session)
    page = text(client.get("/mine"))
    assert str(mine_.pk) in page and str(other.pk) not in page and str(erins.pk) not in page
    for action in (other, erins):
        response = client.post(
            f"/mine/actions/{action.pk}/decide", {"digest": action.digest, "verdict": "approve"}
        )
        assert response.status_code == 404 and state(action) == "pending"


def test_the_page_names_no_reviewer_and_links_to_no_trace(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    client = opened(asking, action.session)
    client.force_login(asking.second, backend="django.contrib.auth.backends.ModelBackend")
    answer(client, action)
    decisions.reject(action_id=action.pk, user=asking.approver, digest=action.digest, comment="too dear")
    page = text(client.get("/mine"))
    assert "rejected" in page
    for hidden in ("ada", "ben", "too dear", "/traces", "comms"):
        assert not re.search(rf"(?<!\w){hidden}(?!\w)", page), hidden
    assert not re.search(r"\bada\b", answer(client, action))


def test_another_sites_form_decides_nothing(asking: Cast) -> None:
    action = order(asking)
    client = Client(enforce_csrf_checks=True)
    client.cookies = opened(asking, action.session).cookies
    post = {"digest": action.digest, "verdict": "approve"}
    assert client.post(f"/mine/actions/{action.pk}/decide", post).status_code == 403
    assert client.get(f"/mine/actions/{action.pk}/decide", post).status_code == 405
    assert state(action) == "pending"


def test_garbage_is_answered_in_words(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    edit = {"verdict": "edit", "digest": action.digest}
    for post in ({}, {"verdict": "yes"}, {"verdict": "approve", "digest": "x\x00"}, edit):
        page = client.post(f"/mine/actions/{action.pk}/decide", post, follow=True)
        assert page.status_code == 200 and "Nothing was done" in text(page)
    for path in ("%00", "lnk_", "lnk_" + "\u00e9" * 43, "x" * 5000, "..%2f"):
        assert client.get(f"/mine/{path}").status_code in (404, 410)
    assert "Rejected" in answer(client, action, "reject", comment="no\x00 way" + "x" * 20_000)
    action.refresh_from_db()
    assert action.decision_reason.startswith("no") and "\x00" not in action.decision_reason


def test_undo_within_five_seconds_and_not_later(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    assert "Undo" in answer(client, action)
    assert "Taken back" in text(client.post(f"/mine/actions/{action.pk}/undo", follow=True))
    assert state(action) == "pending"
    answer(client, action)
    Word.objects.update(at=timezone.now() - timedelta(seconds=6))
    assert "too late" in text(client.post(f"/mine/actions/{action.pk}/undo", follow=True))
    assert state(action) == "ready"


@pytest.mark.parametrize("last", ["host", "link"])
def test_the_word_by_key_does_not_cut_a_reviewers_undo_short(asking: Cast, last: str) -> None:
    """A dear order asks comms too: Ada approves in her browser, then dana's application says yes for her."""
    action = order(asking, amount=20_000)
    decisions.approve(action_id=action.pk, user=asking.approver, digest=action.digest)
    if last == "host":
        approve(action, host(asking))
    else:
        answer(opened(asking, action.session), action)
    action.refresh_from_db()
    (vote,) = action.votes.all()
    assert action.state == "ready" and action.not_before >= vote.at + timedelta(seconds=5)


def test_a_vote_over_rest_does_not_cut_the_undo_of_the_word_short(asking: Cast) -> None:
    action = order(asking, amount=20_000)
    answer(opened(asking, action.session), action)
    decisions.approve(action_id=action.pk, user=asking.approver, digest=action.digest, channel="rest")
    action.refresh_from_db()
    (said,) = action.words.all()
    assert action.state == "ready" and action.not_before >= said.at + timedelta(seconds=5)


def test_who_is_done_leaves_nothing_behind(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    kept = client.cookies["agentsec_mine"].value
    client.post("/mine/leave")
    client.cookies["agentsec_mine"] = kept
    assert client.get("/mine").status_code == 403


def test_the_page_asks_again_only_what_changed(asking: Cast) -> None:
    action = order(asking)
    client = opened(asking, action.session)
    mark = mine.view(confirming.of_account(User(username="dana"))).mark
    assert client.get(f"/mine/asks?seen={mark}").status_code == 204
    reject(action, host(asking))
    assert "You rejected" in text(client.get(f"/mine/asks?seen={mark}"))


def test_a_host_makes_so_many_links_and_no_more(asking: Cast) -> None:
    session = asking.session(user="dana")
    with pytest.raises(Refused, match="At most 30"):
        for _ in range(31):
            link(asking, session)


# ---- signed in under exactly that name


def test_who_is_signed_in_under_that_name_needs_no_link(asking: Cast) -> None:
    action, dana = order(asking), browser(person("dana", roles=()))
    assert "Acme" in text(dana.get("/mine"))
    assert "Confirmed" in answer(dana, action)
    assert Word.objects.get().actor.startswith("user:")


def test_another_account_sees_and_confirms_nothing(asking: Cast) -> None:
    action, erin = order(asking), browser(person("erin"))
    assert "Nothing waits for you" in text(erin.get("/mine"))
    assert erin.post(f"/mine/actions/{action.pk}/decide", {"verdict": "approve"}).status_code == 404


def test_where_users_are_others_than_people_accounts_say_nothing(asking: Cast, settings: Any) -> None:
    settings.AGENTSEC_WORD_BY_ACCOUNT = False
    action, dana = order(asking), person("dana", roles=())
    assert browser(dana).get("/mine").status_code == 403
    assert refusal(action, confirming.of_account(dana)) == "not_found"


@pytest.mark.parametrize("by_account", [True, False])
def test_who_is_told_who_sees_and_who_confirms_are_the_same(
    asking: Cast, settings: Any, by_account: bool
) -> None:
    settings.AGENTSEC_WORD_BY_ACCOUNT = by_account
    action, dana = order(asking), person("dana", roles=())
    namesake = person("dan", roles=())
    User.objects.filter(pk=namesake.pk).update(email="dana")
    namesake.refresh_from_db()
    for account, expected in ((dana, by_account), (namesake, False)):
        speaker = confirming.of_account(account)
        told = word.is_served(account, action.session)
        assert (told, mine.asked(speaker).exists()) == (expected, expected)
        if not expected:
            assert refusal(action, speaker) == "not_found"


# ---- what they are shown


def test_they_see_the_amount_as_reviewers_do_and_nothing_of_earlier_payments(asking: Cast) -> None:
    paid = order(asking, amount=70)
    Action.objects.filter(pk=paid.pk).update(state="succeeded")
    first, second = order(asking, amount=20_000), order(asking, amount=9_000)
    page = text(browser(person("dana", roles=())).get("/mine"))
    assert re.findall(r'money-amount num">([0-9,]+)', page) == ["20,000", "9,000"]
    for words in (
        "first payment",
        "this recipient before",
        "more than any of them",
        str(paid.pk) + '"><time',
    ):
        assert words not in page
    assert str(paid.pk) in text(browser(asking.approver).get(f"/actions/{first.pk}/card"))
    assert second.pk != first.pk


def test_what_folds_away_there_stands_above_it(asking: Cast) -> None:
    args = {"path": "notes.txt", "old_string": "second class", "new_string": "first class"}
    action = replaced(order(asking), tool="files.edit", args=args)
    ask = mine._ask(action)
    assert [figure.form for figure in ask.payload.figures] == ["changed"]
    shown = render_to_string("mine/_ask.html", {"ask": ask, "action": action})
    assert "removed: </span>- second class" in shown and "Shown above as a difference" in shown


def test_two_mails_on_one_page_are_switched_each_by_itself(asking: Cast) -> None:
    mail = {"to": ["a@b.example"], "subject": "Hi", "body": "<p>Dear <b>all</b></p>"}
    asks = [mine._ask(replaced(order(asking), tool="email.send", args=mail)) for _ in "12"]
    pages = [render_to_string("mine/_ask.html", {"ask": ask, "action": ask.action}) for ask in asks]
    names = [set(re.findall(r'type="radio" name="([^"]+)"', page)) for page in pages]
    assert [len(found) for found in names] == [1, 1] and names[0] != names[1]


def test_of_the_tools_own_program_they_are_told_nothing(asking: Cast) -> None:
    action = replaced(order(asking), tool="report.print", args={"name": "spring"}, runs="shell")
    tool = ToolDef("report.print", config={"argv": ["/opt/internal/print", "{name}"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "tool_of", lambda action: tool)
        assert "/opt/internal" not in str(mine._ask(action).payload)
        drawn = drawing.drawn(action, user=asking.approver, authority=frozenset())
    assert "/opt/internal" in str(drawn)


# ---- more than a page holds


def test_what_waits_beyond_the_page_is_counted_and_not_told_as_missed(
    asking: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine, "MOST", 2)
    session = asking.session(user="dana")
    waiting = [asking.propose("order.place", {**ORDER, "amount": n}, session=session) for n in (1, 2, 3)]
    page = text(browser(person("dana", roles=())).get("/mine"))
    assert page.count('class="card mine-ask"') == 2
    assert ("And 1 more waits" in page, 'data-waiting="3"' in page) == (True, True)
    assert "You did not answer" not in page
    reject(waiting[0], host(asking))
    page = text(browser(User.objects.get(username="dana")).get("/mine"))
    assert 'id="mine-more" hidden' in page and "You rejected" in page


def test_where_more_was_answered_than_the_page_holds_it_says_so(
    asking: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine, "MOST", 2)
    session, dana = asking.session(user="dana"), browser(person("dana", roles=()))
    for n in (1, 2, 3):
        reject(asking.propose("order.place", {**ORDER, "amount": n}, session=session), host(asking))
        assert ("Older ones are not shown" in text(dana.get("/mine"))) == (n == 3)


# ---- at the start everything is checked again


def integrate(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        while sequencer.integrate_once(connection):
            pass


def started(action: Action, dsn: str) -> str:
    integrate(dsn)
    Action.objects.filter(pk=action.pk).update(not_before=None)
    execution.start_when_covered(action_id=action.pk, worker="tests")
    return state(action)


def confirmed(cast: Cast, way: str = "host") -> Action:
    """An action that asks the user alone, confirmed by them."""
    action = order(cast)
    if way == "host":
        approve(action, host(cast))
    elif way == "link":
        wordlinks.redeem(link(cast, action.session).rpartition("/")[2])
        approve(action, confirming.of_link(ConfirmationLink.objects.select_related("session").get()))
    else:
        approve(action, confirming.of_account(person("dana", roles=())))
    return action


def test_an_honest_word_starts_it(committed_asking: Cast, sequencer_dsn: str) -> None:
    actions = [confirmed(committed_asking, way) for way in ("host", "link", "account")]
    assert [started(action, sequencer_dsn) for action in actions] == ["running"] * 3


def test_a_word_that_stands_in_a_table_only_starts_nothing(
    committed_asking: Cast, sequencer_dsn: str
) -> None:
    action = order(committed_asking)
    Word.objects.create(
        action=action, revision=1, digest=action.digest, verdict="approve", key=committed_asking.host_key,
        entry=Entry.objects.about(str(action.pk)).first().uuid,
    )  # fmt: skip
    Action.objects.filter(pk=action.pk).update(state="ready")
    assert started(action, sequencer_dsn) == "cancelled" and "log" in action.decision_reason


def test_a_word_taken_back_is_not_brought_back_in_its_table(
    committed_asking: Cast, sequencer_dsn: str
) -> None:
    action = confirmed(committed_asking, "account")
    confirming.undo(action_id=action.pk, speaker=confirming.of_account(User.objects.get(username="dana")))
    Word.objects.update(void=False)
    Action.objects.filter(pk=action.pk).update(state="ready")
    assert started(action, sequencer_dsn) == "cancelled"


def test_a_session_renamed_in_its_table_starts_nothing(committed_asking: Cast, sequencer_dsn: str) -> None:
    """Whoever writes to the database lets a session serve somebody whose word they can give."""
    action = order(committed_asking, "erin")
    Session.objects.filter(pk=action.session_id).update(user="dana")
    approve(action, host(committed_asking))
    assert started(action, sequencer_dsn) == "cancelled"


def test_a_session_attested_in_its_table_only_starts_nothing(
    committed_asking: Cast, sequencer_dsn: str, superuser: psycopg.Connection
) -> None:
    action = order(committed_asking, attested=False)
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("UPDATE traces_session SET attested = true")
    approve(action, host(committed_asking))
    assert started(action, sequencer_dsn) == "cancelled"


def test_what_was_ended_before_the_start_is_asked_again(committed_asking: Cast, sequencer_dsn: str) -> None:
    cast = committed_asking
    by_link, by_account, by_host = (confirmed(cast, way) for way in ("link", "account", "host"))
    wordlinks.revoke(key=cast.host_key, session=by_link.session)
    people.set_active(user=User.objects.get(username="dana"), active=False, by="tests")
    agents.revoke(agent=cast.agent, by="tests", prefix=cast.host_key.prefix)
    actions = (by_link, by_account, by_host)
    assert [started(action, sequencer_dsn) for action in actions] == ["pending"] * 3
    assert word.asked_of(Action.objects.get(pk=by_host.pk)) == "dana"


def test_a_key_that_is_revoked_takes_its_links_along(committed_asking: Cast, sequencer_dsn: str) -> None:
    action = confirmed(committed_asking, "link")
    agents.revoke(agent=committed_asking.agent, by="tests", prefix=committed_asking.host_key.prefix)
    assert started(action, sequencer_dsn) == "pending"


def test_what_has_only_run_out_still_counts(committed_asking: Cast, sequencer_dsn: str) -> None:
    action = confirmed(committed_asking, "link")
    ConfirmationLink.objects.update(expires_at=timezone.now())
    AgentKey.objects.filter(pk=committed_asking.host_key.pk).update(expires_at=timezone.now())
    assert started(action, sequencer_dsn) == "running"


# ---- races


def outcomes(*verbs: Any) -> list[str]:
    """What each came to, all at once."""
    gate = threading.Barrier(len(verbs))

    def run(verb: Any) -> str:
        gate.wait()
        try:
            return str(verb())
        except Refused as refused:
            return refused.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(verbs)) as pool:
        return sorted(pool.map(run, verbs))


def test_yes_and_no_at_once_have_one_outcome(committed_asking: Cast) -> None:
    action = order(committed_asking)
    speaker = host(committed_asking)
    found = outcomes(lambda: approve(action, speaker), lambda: reject(action, speaker))
    assert found in (["approved", "conflict"], ["conflict", "rejected"])
    assert state(action) in ("ready", "rejected")


def test_two_who_open_one_link_at_once_are_not_both_let_in(committed_asking: Cast) -> None:
    token = link(committed_asking, committed_asking.session(user="dana")).rpartition("/")[2]

    def enter() -> str:
        wordlinks.redeem(token)
        return "in"

    assert outcomes(enter, enter, enter) == ["gone", "gone", "in"]
