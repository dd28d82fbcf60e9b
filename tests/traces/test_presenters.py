"""What a person sees of a foreign text is all of it, escaped, with nothing hidden."""

from __future__ import annotations

import unicodedata

from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from traces import presenters
from traces.presenters import Mark, pieces, visible

TEXT = st.text(alphabet=st.characters(), max_size=60)
LONELY = st.text(alphabet=st.characters(exclude_characters="\u200d\ufe0f\r"), max_size=60)
PLACE = st.integers(-5, 70)
MARKS = st.lists(st.builds(Mark, start=PLACE, end=PLACE, label=st.just("x")), max_size=6)


def rendered(source: str, **values: object) -> str:
    return Template("{% load agentsec %}" + source).render(Context(values))


def test_a_bidirectional_override_is_spelled_out() -> None:
    assert visible("invoice\u202egpj.exe") == "invoice‹U+202E›gpj.exe"


def test_an_emoji_of_several_characters_stays_an_emoji() -> None:
    assert visible("❤️ 👩‍💻") == "❤️ 👩‍💻"


def test_a_joiner_between_letters_does_not_hide() -> None:
    assert visible("pay\u200dpal") == "pay‹U+200D›pal"


def test_a_return_without_a_line_feed_cannot_overwrite_a_line() -> None:
    assert visible("rm -rf /\rls\r\n") == "rm -rf /‹U+000D›ls\r\n"


def test_every_control_format_private_and_space_character_is_known() -> None:
    hidden = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    points = [chr(n) for n in range(0x110000)]
    missed = [c for c in points if unicodedata.category(c) in hidden and c not in " \n\t" and visible(c) == c]
    assert missed == []


@given(TEXT, MARKS)
def test_pieces_leave_nothing_out(text: str, marks: list[Mark]) -> None:
    back = "".join(chr(int(p.text[3:-1], 16)) if p.hidden else p.text for p in pieces(text, marks))
    assert back == text


@given(LONELY, st.integers(0, 60), st.integers(0, 60))
def test_exactly_the_marked_stretch_is_marked(text: str, start: int, end: int) -> None:
    got = "".join(p.text for p in pieces(text, [Mark(start, end)]) if p.marked)
    assert got == visible(text[start:end])


def test_a_template_escapes_the_text_and_names_the_hidden_character() -> None:
    html = rendered("{{ text|visible }}", text="<b>\u202e")
    assert html == '&lt;b&gt;<span class="ctl" title="RIGHT-TO-LEFT OVERRIDE">‹U+202E›</span>'


def test_a_finding_is_marked_where_it_stands_and_its_label_is_escaped() -> None:
    found = [{"start": 2, "end": 5, "detector": '"x', "severity": "high"}]
    html = rendered("{{ text|marked:found }}", text="a <b> c", found=found)
    assert html == 'a <mark class="finding sev-high" title="&quot;x">&lt;b&gt;</mark> c'


def test_a_lone_surrogate_can_be_sent_to_the_browser() -> None:
    assert "‹U+D800›".encode() in rendered("{{ text|visible }}", text="\ud800").encode()


def test_many_marks_stay_cheap() -> None:
    marks = [Mark(n, n + 1) for n in range(20_000)]
    assert sum(1 for _ in presenters.pieces("x" * 20_000, marks)) == 20_000


def test_a_snippet_starts_near_the_first_hit_and_says_that_it_is_cut() -> None:
    text = f"{'before ' * 90}the invoice of May{' after' * 90}"
    shown = "".join(f"[{p.text}]" if p.marked else p.text for p in presenters.snippet(text, "invoice"))
    assert shown.startswith("…") and shown.endswith("…") and "the [invoice] of May" in shown


def test_a_phrase_is_marked_whole_and_an_excluded_word_is_not() -> None:
    shown = [p.text for p in presenters.hits("wire the old money, money", '"the old" -money or') if p.marked]
    assert shown == ["the old"]


@given(TEXT, TEXT)
def test_any_search_of_any_text_gives_a_snippet(text: str, q: str) -> None:
    assert len("".join(p.text for p in presenters.snippet(text, q) if not p.hidden)) <= presenters.SNIPPET + 2
