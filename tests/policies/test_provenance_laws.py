"""What outsiders write never becomes the user's word, however they mix it with his and wherever it lands."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policies import records, rendition
from policies.lookup import rank
from policies.provenance import Source, summarize, trace
from tests.lengths import tries

EXAMPLES = settings(max_examples=tries(150), deadline=None)
# The user and the trusted tool write with some letters and digits, outsiders with all of these: so a value
# with one of the outsiders' own signs stands in no text that anybody vouches for.
OURS, THEIRS, JOINERS = "abc123", "xyz789", " @.-_/,:;#+\n\t\u200b\u00a0"
FORMS = {"x": "Ｘ", "7": "７"}
our_texts = st.text(st.sampled_from(OURS * 3 + JOINERS), max_size=40)
their_texts = st.text(st.sampled_from(OURS + THEIRS + JOINERS + "Ｘ７"), max_size=60)
their_values = st.text(st.sampled_from(OURS + THEIRS + JOINERS + "Ｘ７"), min_size=1, max_size=14).filter(
    lambda text: any(sign in THEIRS or sign in FORMS.values() for sign in text)
)
their_numbers = st.one_of(
    st.integers(7, 10**9).filter(lambda number: any(digit in str(number) for digit in "789")),
    st.floats(7, 1e6).filter(lambda number: not any(digit in f"{number}{int(number)}" for digit in "0456e"))
    .filter(lambda number: any(digit in str(number) for digit in "789")),
    st.sampled_from([779, 97.5, "2027-09-08", "7 September 2029", "08.09.2027 17:38"]),
)  # fmt: skip
arguments = st.sampled_from(["to", "file_id", "amount", "date", "x"])


@st.composite
def listings(draw: st.DrawFn, outside: st.SearchStrategy[str]) -> list[dict[str, str]]:
    """Records of a trusted tool, in which outsiders write the field `body`."""
    return draw(
        st.lists(
            st.fixed_dictionaries({"id": our_texts, "name": our_texts, "body": outside}),
            min_size=1, max_size=3,
        )
    )  # fmt: skip


def listed(found: list[dict[str, str]]) -> Source:
    shown = rendition.render(found)
    return Source(
        "list", "trusted", shown.text, who="list_files", quoted=shown.of_fields(("body",)),
        fields=records.fields(shown.fields()),
    )  # fmt: skip


def origin(argument: str, value: Any, *sources: Source) -> str:
    return trace({argument: value}, sources)[f"/{argument}"].origin


@EXAMPLES
@given(arguments, their_values | their_numbers, our_texts, their_texts, listings(their_texts))
def test_what_only_outsiders_wrote_is_nobodys_word(
    argument: str, value: Any, said: str, page: str, found: list[dict[str, str]]
) -> None:
    sources = (Source("u", "user", said), Source("p", "untrusted", page), listed(found))
    assert origin(argument, value, *sources) in ("untrusted", "agent")


@EXAMPLES
@given(arguments, their_values, our_texts, st.integers(0, 40))
def test_what_the_user_passed_on_is_not_his_word(argument: str, value: str, said: str, at: int) -> None:
    text = said[:at] + value + said[at:]
    start = len(said[:at])
    quoting = Source("u", "user", text, quoted=((start, start + len(value)),))
    assert origin(argument, value, quoting) in ("untrusted", "agent")


@EXAMPLES
@given(arguments, st.lists(their_values | our_texts, min_size=1, max_size=4), our_texts, their_texts)
def test_a_list_with_one_value_of_an_outsider_is_not_the_users(
    argument: str, values: list[str], said: str, page: str
) -> None:
    sources = (Source("u", "user", said), Source("p", "untrusted", page))
    worst = summarize(trace({argument: values}, sources), [argument])[argument]
    if any(sign in THEIRS for value in values for sign in value):
        assert worst in ("untrusted", "agent")


@EXAMPLES
@given(arguments, their_texts, our_texts, their_texts, listings(st.just("")))
def test_what_outsiders_add_never_makes_a_value_better(
    argument: str, value: str, said: str, page: str, found: list[dict[str, str]]
) -> None:
    user = Source("u", "user", said)
    before = origin(argument, value, user, listed(found))
    with_page = origin(argument, value, user, listed(found), Source("p", "untrusted", page))
    filled = [record | {"body": page} for record in found]
    with_body = origin(argument, value, user, listed(filled))
    assert max(rank(with_page), rank(with_body)) <= rank(before)


@EXAMPLES
@given(arguments, their_texts, our_texts, their_texts)
def test_what_the_agent_says_of_itself_changes_nothing(
    argument: str, value: str, said: str, claimed: str
) -> None:
    user, agent = Source("u", "user", said), Source("a", "agent", claimed + value)
    assert origin(argument, value, user, agent) == origin(argument, value, user)
