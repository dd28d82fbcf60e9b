"""What a process keeps of a session is what stands in the database, no more and never longer."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from policies import heard, provenance
from policies.lookup import Text
from policies.models import Source
from tests.cast import Cast
from traces.models import Session


def say(session: Session, text: str, origin: str = "user") -> Source:
    return Source.objects.create(session=session, entry=uuid4(), origin=origin, text=text)


def origin(session: Session, value: str) -> str:
    return provenance.trace({"x": value}, heard.index(session))["/x"].origin


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were prepared, in order."""
    done: list[str] = []
    of = Text.of
    monkeypatch.setattr(Text, "of", lambda number, source: done.append(source.text) or of(number, source))
    monkeypatch.setattr(heard, "shelf", heard.Shelf(heard.MAX_KEPT))
    return done


def test_each_text_is_prepared_once(cast: Cast, prepared: list[str]) -> None:
    session = cast.session()
    for text in ("mail ada@example.com", "mail ben@example.com"):
        say(session, text)
        assert origin(session, text[5:]) == "user"
        heard.index(session)
    assert prepared == ["mail ada@example.com", "mail ben@example.com"]


def test_what_was_taken_back_is_not_matched_against(cast: Cast, prepared: list[str]) -> None:
    session = cast.session()
    say(session, "mail ada@example.com")
    with pytest.raises(KeyError), transaction.atomic():
        say(session, "mail ben@example.com")
        assert origin(session, "ben@example.com") == "user"
        raise KeyError
    assert [origin(session, f"{name}@example.com") for name in ("ada", "ben")] == ["user", "agent"]


def test_what_was_erased_is_not_matched_against(cast: Cast, prepared: list[str]) -> None:
    session = cast.session()
    rows = [say(session, f"mail {name}@example.com") for name in ("ada", "ben", "cleo")]
    assert origin(session, "ben@example.com") == "user"
    rows[1].delete()
    found = [origin(session, f"{name}@example.com") for name in ("ada", "ben", "cleo")]
    assert found == ["user", "agent", "user"]


def test_a_row_that_came_late_is_matched_against(cast: Cast, prepared: list[str]) -> None:
    """Ids are given out before a row can be seen, so a lower one may be seen after a higher."""
    session = cast.session()
    early = say(session, "mail ada@example.com")
    early.delete()
    say(session, "mail ben@example.com")
    assert origin(session, "ada@example.com") == "agent"
    early.save(force_insert=True)
    assert origin(session, "ada@example.com") == "user"


def test_a_session_is_not_anothers(cast: Cast, prepared: list[str]) -> None:
    one, other = cast.session(), cast.session()
    say(one, "mail ada@example.com")
    assert [origin(session, "ada@example.com") for session in (one, other)] == ["user", "agent"]


@pytest.mark.parametrize("change", [{"text": "mail eve@evil.example"}, {"origin": "user"}, {"quoted": []}])
def test_what_was_said_cannot_be_changed(cast: Cast, change: dict[str, Any]) -> None:
    row = say(cast.session(), "mail ada@example.com", "untrusted")
    with pytest.raises(DatabaseError, match="final"), transaction.atomic():
        Source.objects.filter(pk=row.pk).update(**change)


def test_texts_that_differ_in_anything_differ_in_their_stamp(cast: Cast) -> None:
    session = cast.session()
    rows = [say(session, "a"), say(session, "b"), say(session, "a", "untrusted")]
    rows.append(
        Source.objects.create(session=session, entry=uuid4(), origin="user", text="a", quoted=[[0, 1]])
    )
    assert len({row.stamp for row in rows}) == 4


def test_what_is_kept_stays_within_the_limit_and_the_oldest_goes(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = heard.Shelf(60_000)
    monkeypatch.setattr(heard, "shelf", shelf)
    sessions = [cast.session() for _ in range(12)]
    for session in sessions:
        say(session, " ".join(f"word{number}" for number in range(60)))
        heard.index(session)
        assert 0 < shelf.octets <= shelf.limit
    assert [shelf.get(session.pk) is None for session in (sessions[0], sessions[-1])] == [True, False]


def test_a_session_too_large_to_keep_is_still_matched_against(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "shelf", heard.Shelf(100))
    session = cast.session()
    say(session, "mail ada@example.com")
    assert (origin(session, "ada@example.com"), heard.shelf.octets) == ("user", 0)
