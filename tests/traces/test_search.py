"""Finding events by words and facets, page by page, within what a reader may see."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lengths import tries
from traces import problems, record, search
from traces.models import Session, Span

pytestmark = pytest.mark.django_db


def session(team: str = "finance", agent: str = "7") -> Session:
    return record.open_session(agent_id=agent, agent_name="bot", actor="agent:7", team=team)


def append(title: str, *, where: Session | None = None, **wish: str) -> str:
    entry = record.append(kind="test.event", body={}, actor="agent:7", session=where, title=title, **wish)  # type: ignore[arg-type]
    return str(entry.uuid)


def titles(page: search.Page) -> list[str]:
    return [span.title for span in page.spans]


def test_words_find_titles_and_texts() -> None:
    append("paid invoice 4711")
    append("nothing", text="the INVOICE is late")
    append("something else")
    assert titles(search.query(q="invoice", teams=None)) == ["nothing", "paid invoice 4711"]


def test_phrases_and_exclusions_work() -> None:
    append("send the mail")
    append("mail the send")
    assert titles(search.query(q='"send the mail"', teams=None)) == ["send the mail"]


def test_an_address_is_found_whole() -> None:
    append("mail to ada@example.com")
    append("mail to bob@example.com")
    assert titles(search.query(q="ada@example.com", teams=None)) == ["mail to ada@example.com"]


def test_a_reader_sees_their_teams_only() -> None:
    append("ours", where=session("finance"))
    append("theirs", where=session("hr"))
    found = titles(search.query(kind="test.event", teams=["finance"]))
    assert found == ["ours"]


def test_a_reader_without_a_team_sees_nothing() -> None:
    append("ours", where=session("finance"))
    assert titles(search.query(teams=[])) == []


def test_facets_narrow() -> None:
    ours = session(agent="8")
    append("a", where=ours, action="act-1")
    append("b", where=ours, action="act-2")
    append("c", where=session(), action="act-1")
    found = search.query(agent="8", action="act-1", session=str(ours.pk), kind="test.event", teams=None)
    assert titles(found) == ["a"]


def test_pages_follow_each_other() -> None:
    for number in range(5):
        append(str(number))
    first = search.query(teams=None, limit=2)
    second = search.query(teams=None, limit=2, before=first.before)
    third = search.query(teams=None, limit=2, before=second.before)
    assert [*titles(first), *titles(second), *titles(third), third.before] == ["4", "3", "2", "1", "0", None]


def test_pages_lead_back() -> None:
    for number in range(5):
        append(str(number))
    first = search.query(teams=None, limit=2)
    second = search.query(teams=None, limit=2, before=first.before)
    assert titles(search.query(teams=None, limit=2, after=second.after)) == ["4", "3"]


def test_new_events_come_after_what_was_read() -> None:
    append("old")
    read = search.query(teams=None).spans[0].pk
    append("new")
    assert titles(search.query(teams=None, after=read)) == ["new"]


@pytest.mark.parametrize("wish", [{"limit": 0}, {"limit": 201}, {"before": 1, "after": 1}])
def test_an_impossible_page_is_refused(wish: dict[str, int]) -> None:
    with pytest.raises(problems.Invalid):
        search.query(teams=None, **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("wish", [{"session": "not a uuid"}, {"action": "\x00"}, {"kind": "\ud800"}])
def test_a_facet_that_nothing_can_have_finds_nothing(wish: dict[str, str]) -> None:
    append("something")
    assert titles(search.query(teams=None, **wish)) == []  # type: ignore[arg-type]


@given(st.text(max_size=50))
@settings(max_examples=tries(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_search_fails(words: str) -> None:
    search.query(q=words, teams=None)


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ab " * 1_000_000, "\U0001f600" * 300_000])
def test_a_huge_text_is_stored_and_found_by_its_beginning(text: str) -> None:
    append("huge", text="needle " + text)
    assert titles(search.query(q="needle", teams=None)) == ["huge"]


def test_a_text_of_a_hundred_thousand_different_words_is_stored() -> None:
    append("huge", text=" ".join(f"{number:x}" for number in range(100_000)))
    assert Span.objects.filter(title="huge").exists()


@pytest.mark.parametrize(
    "wish", [{"before": 10**30}, {"before": -1}, {"after": 10**30}, {"after": -(10**30)}]
)
def test_a_place_beyond_all_events_is_no_error(wish: dict[str, int]) -> None:
    append("something")
    search.query(teams=None, **wish)  # type: ignore[arg-type]
