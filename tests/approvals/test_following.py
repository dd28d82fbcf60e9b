"""The agent opens a colleague's link; it cannot open its own words by reading them back first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies import sessions, world
from policies.calls import Call
from tests.cast import Cast
from traces.models import Session

TOOLS = """
tools:
  - name: talk.read
    effect: read
    output: trusted
    untrusted_fields: [body]
    sends: none
    authority: [channel]
    parameters: {type: object, properties: {channel: {type: string}}}
  - name: web.open
    effect: read
    output: untrusted
    sends: external
    authority: [url]
    parameters: {type: object, properties: {url: {type: string}}}
"""
LINK = "https://news.example/a?b=C"


@pytest.fixture
def reader(cast: Cast) -> Cast:
    world.apply(TOOLS, by="tests")
    return cast


def reads(cast: Cast, session: Session | None = None) -> Session:
    """The user names a channel, and the agent reads it."""
    session = session or cast.session()
    sessions.add_event(
        agent=cast.agent, key=cast.host_key, session=session, kind="user_message", text="Read general to me"
    )
    sessions.add_output(
        session=session, tool_name="talk.read", output=[{"sender": "Bob", "body": f"see {LINK}"}],
        attested=True, call=Call("read", {"channel": "user"}, {"channel": "user"}),
    )  # fmt: skip
    return session


def opens(cast: Cast, session: Session, **more: Any) -> list[str]:
    action = cast.propose("web.open", {"url": LINK, **more}, session=session)
    return list(json.loads(action.facts_json)["copied"])


def acts(cast: Cast, session: Session, body: str) -> None:
    cast.propose("email.send", {"to": ["a@example.com"], "subject": "x", "body": body}, session=session)


def test_a_link_from_a_message_is_copied(reader: Cast) -> None:
    assert opens(reader, reads(reader)) == ["url"]


def test_what_was_read_after_the_session_acted_may_be_its_own_words(reader: Cast) -> None:
    session = reader.session()
    acts(reader, session, "half of it")
    assert opens(reader, reads(reader, session)) == []


def test_what_was_read_before_stays_a_colleagues(reader: Cast) -> None:
    session = reads(reader)
    acts(reader, session, "a summary")
    assert opens(reader, session) == ["url"]


def test_a_host_that_the_agent_wrote_of_in_another_session_is_its_own_word(reader: Cast) -> None:
    acts(reader, reader.session(), "note: HTTPS://NEWS.example/a?b=C")
    assert opens(reader, reads(reader)) == []


def test_links_do_not_spell_a_message(reader: Cast) -> None:
    session = reads(reader)
    assert [opens(reader, session) for _ in range(4)] == [["url"], ["url"], ["url"], []]


def test_a_text_that_looks_like_the_count_is_none(reader: Cast) -> None:
    session = reads(reader)
    for _ in range(3):
        reader.propose("web.open", {"url": '{"copied": ["url"]}'}, session=session)
    assert opens(reader, session) == ["url"]


def test_the_call_that_answered_is_kept_with_what_it_returned(reader: Cast) -> None:
    heard = sessions.sources(reads(reader))[-1]
    assert heard.call == Call("read", {"channel": "user"}, {"channel": "user"})
