"""What a card shows of a payload: all of it, within time."""

from __future__ import annotations

import html
import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.template.loader import render_to_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals import payloads
from approvals.drawing import Drawn
from approvals.payloads import Call, Context, Past
from approvals.payloads.coloured import LEXERS, code
from approvals.payloads.parts import Value
from approvals.templatetags.payload import coloured, cut
from policies import lookalikes
from policies.worldfile import PREVIEWS
from tests.approvals.payloads.test_kinds import NOON
from traces import presenters
from traces.templatetags import agentsec

KNOWN = lookalikes.known(["acme.example"])
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["<b>bold</b> & <script>", "a\u202eb\u200b", "line\nline\n\n", "'quoted' \"twice\"", "bob@acrne.example", "&amp;", "x" * 300]  # noqa: E501
)  # fmt: skip
LEAVES = TEXTS | st.integers(-(2**53), 2**53) | st.booleans() | st.none() | st.floats(-1e6, 1e6)
NAMES = st.sampled_from(
    ["to", "subject", "body", "html", "code", "command", "argv", "sql", "url", "method", "headers", "path",
     "old", "new", "content", "patch", "amount", "currency", "iban", "items", "Ω <x>", "edits"]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def page(args: dict[str, Any], *, past: tuple[Past, ...] = (), **about: Any) -> str:
    """The payload's part of a card, without the raw view at its end."""
    made = Call(args, Context(**{"runs": "agent", "known": KNOWN, **about}))
    kind = payloads.kind_of(made)
    drawing = kind.draw(made, past)
    drawn = Drawn(
        kind.name,
        tuple(f for f in drawing.figures if not f.about),
        payloads.blocks(made, drawing),
        payloads.raw(args),
        KNOWN,
    )
    card = SimpleNamespace(payload=drawn, program={}, action={})
    return render_to_string("approvals/_payload.html", {"card": card}).partition('<details class="raw">')[0]


def words(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def hidden(args: Any, text: str) -> list[str]:
    """Leaves and keys that do not stand in the text."""
    flat = re.sub(r"\s+", "", text)
    missing = []
    for _, leaf in payloads.leaves(args, ""):
        shown = [
            presenters.visible(payloads.plain(leaf)),
            presenters.visible(json.dumps(leaf, ensure_ascii=False)[1:-1]),
        ]
        if leaf not in ("", [], {}) and not any(re.sub(r"\s+", "", one) in flat for one in shown):
            missing.append(repr(leaf))
    return missing


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.sampled_from(["", *PREVIEWS]))
def test_every_value_of_the_call_stands_on_the_card(args: dict[str, Any], preview: str) -> None:
    assert hidden(args, words(page(args, preview=preview))) == []


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from(["", *PREVIEWS]))
def test_no_value_becomes_markup(args: dict[str, Any], preview: str) -> None:
    shown = page(args, preview=preview)
    assert "<script" not in shown and "style=" not in shown and not re.search(r"<[^>]*\son\w+=", shown)


@pytest.mark.parametrize("language", LEXERS)
@given(st.text(max_size=200) | st.text(alphabet="'\"\\#{}()<>-/*\n ax1$`=", max_size=200))
def test_colours_leave_every_character_where_it_was(language: str, text: str) -> None:
    trick = lookalikes.tricks(text, KNOWN)
    assert words(coloured(code(Value(text, tricks=trick), language))) == presenters.visible(text)


@pytest.mark.parametrize("language", LEXERS)
@pytest.mark.parametrize(
    "unit", ["'", '"""', "(", "\\", "{%", "<a b", "/*", "-- ", "$$", "`", "0", "a" * 50 + " ", "f'{"]
)
def test_hostile_code_is_coloured_for_a_moment_only(language: str, unit: str) -> None:
    start = time.process_time()
    code(Value((unit * 40_000)[:40_000]), language)
    assert time.process_time() - start < 0.5


def test_what_stays_plain_is_told() -> None:
    assert "plain from there" in code(Value("x = 1\n" * 20_000), "python").note
    assert code(Value("x = 1\n"), "python").note == ""


def test_a_long_address_shows_both_its_ends_and_how_much_is_between() -> None:
    address = "billing@acme.example." + "a" * 300 + ".evil.example"
    shown = words(cut(address, 96))
    assert shown.startswith("billing@acme.example") and shown.endswith("evil.example")
    assert f"…{len(address) - 96} more…" in shown


def test_a_second_line_does_not_pass_for_part_of_a_comment() -> None:
    assert words(cut("ls # tidy\nrm -rf /", 96)) == "ls # tidy ↵ rm -rf /"


def test_blanks_without_end_are_cut_in_no_time() -> None:
    start = time.process_time()
    assert "more" in words(cut("a" + " " * 100_000 + "b\n\n c", 96)) and words(cut("a \n\n b")) == "a ↵ b"
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "text", ["a\u202e<b>\r\n\u200d&\u200b", "\U0001f468\u200d\U0001f469 x\u200dy", "\r'\""]
)
def test_a_text_reads_the_same_with_and_without_marks(text: str) -> None:
    assert agentsec.visible(text) == agentsec.markup(presenters.pieces(text))


def test_a_text_of_unseen_characters_is_shown_in_time() -> None:
    start = time.process_time()
    assert agentsec.visible("\u200ba" * 100_000).count("U+200B") == 100_000
    assert time.process_time() - start < 1.0


def timed(args: dict[str, Any], **about: Any) -> tuple[float, str]:
    page({"warm": "up"})
    start = time.process_time()
    shown = page(args, **about)
    return time.process_time() - start, shown


SCRIPT = "\n".join(f"value_{n} = compute({n}, 'text')" for n in range(50_000))
LARGE = {
    "a mail of a megabyte": ({"to": ["a@b.example"], "subject": "s", "body": "Dear all, héllo. " * 60_000}, {}),  # noqa: E501
    "HTML of a megabyte": ({"to": ["a@b.example"], "subject": "s", "body": "<p>Dear <b>all</b> x.example " * 35_000}, {}),  # noqa: E501
    "a script of 50,000 lines": ({"code": SCRIPT}, {"runs": "python"}),
    "a changed script of 50,000 lines": (
        {"code": SCRIPT}, {"runs": "python", "past": (Past("x", NOON, {"code": SCRIPT.replace("_77", "_88")}),)}  # noqa: E501
    ),
    "a table of 10,000 rows": ({"rows": [{"id": n, "name": f"n{n}", "mail": f"n{n}@x.example"} for n in range(10_000)]}, {}),  # noqa: E501
    "a list of 10,000": ({"ids": [f"id-{n}" for n in range(10_000)]}, {}),
    "one nested value": ({"deep": {"a": [{"b": [n, str(n)]} for n in range(20_000)]}}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_huge_payload_is_drawn_whole_and_in_time(name: str) -> None:
    args, about = LARGE[name]
    seconds, shown = timed(args, **about)
    last = list(payloads.leaves(args, ""))[-1][1]
    assert html.escape(presenters.visible(payloads.plain(last)))[-200:] in shown or payloads.plain(last)[
        -20:
    ] in words(shown)

    assert seconds < 1.5, "0.3 s on a quiet machine"


@pytest.mark.parametrize(
    ("number", "said"), [(50, ""), (51, "The first 50 of 51 changes; the whole value is below.")]
)
def test_changes_beyond_those_that_are_drawn_are_counted(number: int, said: str) -> None:
    edits = [{"old": f"a{n}", "new": f"b{n}"} for n in range(number)]
    shown = words(page({"path": "notes.txt", "edits": edits}, tool="Edit"))
    assert ("The first" in shown, said in shown, f"b{number - 1}" in shown) == (bool(said), True, True)
