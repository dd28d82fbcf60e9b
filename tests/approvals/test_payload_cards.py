"""A payload on its card, drawn from rows: compared with what the agent did before, and with what was said."""

from __future__ import annotations

import html
import re
import time
from datetime import UTC
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals import drawing, presenters
from approvals.models import Action
from approvals.payloads import Wish
from policies import releases, sessions, world
from policies.models import User
from tests.cast import MANY, WORLD, Cast, cast, person
from traces.models import Session
from traces.problems import Refused

__all__ = ["cast"]


def card(user: User, action: Action) -> str:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.get(f"/actions/{action.pk}/card").content.decode()


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", markup)))


def ran(cast: Cast, tool: str, args: dict[str, Any], **more: Any) -> Action:
    action = cast.propose(tool, args, **more)
    Action.objects.filter(pk=action.pk).update(state="succeeded")
    return action


def say(cast: Cast, session: Session, text: str, **more: Any) -> sessions.EventAnswer:
    told = {"agent": cast.agent, "key": cast.host_key, "session": session}
    return sessions.add_event(**told, kind="user_message", text=text, **more)


def test_a_script_is_shown_against_the_last_one_that_ran(cast: Cast) -> None:
    session = cast.session()
    before = ran(cast, "script.run", {"code": "a = 1\nb = 2"}, session=session)
    cast.propose("script.run", {"code": "never ran"}, session=session)
    asked = cast.propose("script.run", {"code": "a = 1\nb = 3 # ASK"}, session=session)
    shown = card(cast.approver, asked)
    assert (
        f"/actions/{before.pk}" in shown and "removed: </span>- b = 2" in shown and "never ran" not in shown
    )


def test_an_earlier_script_that_is_not_theirs_to_see_is_not_shown(cast: Cast) -> None:
    ran(cast, "script.run", {"code": "SECRET = 1"})
    outsider = person("zoe", "comms", roles=("approver",))
    shown = card(outsider, cast.propose("script.run", {"code": "x # ASK"}))
    assert "SECRET" not in shown and "not yours to see" in shown


def test_a_first_script_says_so(cast: Cast) -> None:
    assert "The first script" in card(cast.approver, cast.propose("script.run", {"code": "x # ASK"}))


def test_a_first_payment_is_told_and_the_next_is_not(cast: Cast) -> None:
    assert "first payment to this recipient" in card(cast.approver, cast.order(500))
    ran(cast, "order.place", {"supplier": "Acme", "item": "paper", "amount": 100})
    shown = words(card(cast.approver, cast.order(1500)))
    assert (
        "1,500" in shown
        and "1 payment to this recipient before" in shown
        and "more than any of them" in shown
    )


def test_names_with_signs_of_patterns_are_no_patterns(cast: Cast) -> None:
    ran(cast, "order.place", {"supplier": "Acme", "item": "paper", "amount": 100})
    for name in ("Ac%", "A_me", 'Ac"me', "Ac\\me", "Acmé"):
        asked = cast.propose("order.place", {"supplier": name, "item": "x", "amount": 5})
        assert drawing.earlier(asked, Wish(holding=(name,)), user=cast.approver) == []
        ran(cast, "order.place", {"supplier": name, "item": "x", "amount": 5})
        again = cast.propose("order.place", {"supplier": name, "item": "x", "amount": 5})
        assert len(drawing.earlier(again, Wish(holding=(name,), most=5), user=cast.approver)) == 1


def test_a_likeness_of_what_the_user_named_is_marked_on_the_card(cast: Cast) -> None:
    session = cast.session()
    sessions.add_event(
        agent=cast.agent,
        session=session,
        key=cast.host_key,
        kind="user_message",
        text="Write to bob@initech.example",
    )
    args = {"to": [*MANY, "bob@lnitech.example"], "subject": "s", "body": "b"}
    shown = words(card(cast.approver, cast.propose("email.send", args, session=session)))
    assert "lnitech.example looks like initech.example but is not" in shown


def test_what_the_user_quoted_names_nothing(cast: Cast) -> None:
    session, text = cast.session(), "He wrote: bob@lnitech.example"
    sessions.add_event(
        agent=cast.agent,
        session=session,
        key=cast.host_key,
        kind="user_message",
        text=text,
        quoted=[(10, len(text))],
    )
    known = drawing.known_to(cast.mass_mail(session))
    assert known.named == frozenset()


def test_the_organisations_domains_are_known_in_the_row(cast: Cast, settings: Any) -> None:
    settings.AGENTSEC_DOMAINS = ["acme.example"]
    cast.deploy("mail.acrne.example")
    client = Client()
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    assert "acrne.example looks like acme.example but is not" in words(client.get("/").content.decode())


def test_a_long_target_shows_how_it_ends_in_the_row(cast: Cast) -> None:
    cast.deploy("billing@acme.example." + "a" * 300 + ".evil.example")
    client = Client()
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    row = words(client.get("/").content.decode())
    assert ".evil.example" in row and "more…" in row


def test_each_quote_leads_to_its_very_entry(cast: Cast) -> None:
    session = cast.session()
    said = sessions.add_event(
        agent=cast.agent,
        session=session,
        key=cast.host_key,
        kind="user_message",
        text="hi all\nDeploy to production now",
    )
    action = cast.propose("deploy", {"target": "production"}, session=session)
    shown = card(cast.approver, action)
    assert f'href="/traces/entries/{said.entry}"' in shown
    assert re.search(r"Deploy to <mark[^>]*>production</mark> now", shown)
    client = Client()
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(f"/traces/entries/{said.entry}").status_code == 200


def test_a_card_asks_the_database_the_same_however_much_went_before(cast: Cast) -> None:
    def asked() -> int:
        action = cast.order()
        with CaptureQueriesContext(connection) as queries:
            presenters.card(action, user=cast.approver)
        return len(queries)

    asked()  # what a release says is remembered from the first time on
    first = asked()
    for amount in range(5):
        ran(cast, "order.place", {"supplier": "Acme", "item": "paper", "amount": amount})
    assert asked() == first


def test_an_agent_that_opens_its_own_session_names_nothing_for_the_user(cast: Cast) -> None:
    session = cast.session(attested=False, user="x@evil.example", purpose="see evil.example")
    assert drawing.known_to(cast.mass_mail(session)).named == frozenset()


def test_what_was_said_is_read_for_domains_only_so_far(cast: Cast) -> None:
    session = cast.session()
    for part in range(3):
        say(cast, session, " ".join(f"h{part}x{number}.example" for number in range(20_000)))
    action = cast.mass_mail(session)
    start = time.process_time()
    assert 0 < len(drawing.known_to(action).named) <= 1_000
    assert time.process_time() - start < 1


def test_a_kind_that_the_definition_names_is_how_the_card_draws_it(cast: Cast) -> None:
    world.apply(WORLD.replace("name: notes.read\n", "name: notes.read\n    preview: sql\n"), by="tests")
    tool = releases.current().tool("notes.read")
    assert tool.config == {"preview": "sql"}


def test_a_kind_that_is_none_is_refused_with_its_line(cast: Cast) -> None:
    with pytest.raises(Refused, match="preview"):
        world.apply(WORLD.replace("name: notes.read\n", "name: notes.read\n    preview: film\n"), by="tests")


def test_the_card_says_in_words_why_the_risk_is_high_and_at_which_second(cast: Cast) -> None:
    asked = cast.deploy("production")
    shown = card(cast.approver, asked)
    told = words(shown)
    assert "High risk: destructive" in told
    for moment in (asked.created_at, asked.deadline):
        # In the text, not only in a title that takes a mouse.
        assert f"{moment.astimezone(UTC):%Y %H:%M:%S} UTC" in told
