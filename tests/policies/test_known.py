"""Values of stored secrets are found however programs usually write them, and in nothing else."""

from __future__ import annotations

import base64
import html
import json
import quopri
import re
import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import rendition
from policies.firewall import inspect, known, undone
from policies.firewall.forms import unfit
from policies.firewall.known import Known

VALUE = 'p4ss/w"ord & mörE\\x'
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(["q7Hb0" * 12 + "x1", "Zt93k" * 12 + "y2"])
    + "\n-----END-----"
)
WAYS = {
    "plain": VALUE,
    "json": json.dumps(VALUE)[1:-1],
    "json in json": json.dumps(json.dumps({"a": VALUE})),
    "unicode escapes": "".join(f"\\u{ord(sign):04x}" for sign in VALUE),
    "byte escapes": "".join(f"\\x{byte:02x}" for byte in VALUE.encode()),
    "url": quote(VALUE),
    "url, strict": quote(VALUE, safe=""),
    "form": quote_plus(VALUE),
    "every byte": "".join(f"%{byte:02x}" for byte in VALUE.encode()),
    "hex": VALUE.encode().hex(),
    "HEX": VALUE.encode().hex().upper(),
    "html": html.escape(VALUE),
    "html, other": VALUE.replace("&", "&#38;").replace('"', "&#x22;"),
    "repr": repr(VALUE),
    "broken by a line": VALUE[:6] + "\n    " + VALUE[6:],
    "zero width": VALUE[:4] + "\u200b" + VALUE[4:],
}
LONGER = "tq7Zk/Vb+9xR&mP2=wL4sHd8ö"


def dumped(raw: bytes, *, group: int = 1, swap: bool = False, form: str = "{:08x}: {}  {}") -> str:
    lines = []
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        parts = [row[i : i + group] for i in range(0, len(row), group)]
        digits = " ".join((part[::-1] if swap else part).hex() for part in parts)
        lines.append(form.format(at, digits, re.sub(rb"[^!-~]", b".", row).decode()))
    return "\n".join(lines) + "\n"


def deeper(value: str) -> dict[str, str]:
    """Ways of writing a value that have ways of writing in them, or break it."""
    raw = value.encode()
    octal = "".join(f"\\{byte:03o}" for byte in raw)
    padded = b"some words before it " + raw + b" and some behind"
    return {
        "mime": base64.encodebytes(b"x" * 45 + raw + b"yy").decode(),
        "mime, odd": base64.encodebytes(b"x" * 50 + raw + b"yy").decode().replace("\n", "\r\n"),
        "base64 of base64": base64.b64encode(base64.b64encode(raw)).decode(),
        "base64 of lines of base64": base64.b64encode(base64.encodebytes(padded * 2)).decode(),
        "base64 of url": base64.b64encode(quote(value, safe="").encode()).decode(),
        "base64 of json": base64.b64encode(json.dumps({"a": value}).encode()).decode(),
        "url of url": quote(quote(value, safe=""), safe=""),
        "html of url": "".join(f"%{byte:02x}" for byte in raw).replace("%", "&#37;"),
        "folded": value[:10] + "\r\n " + value[10:],
        "colour": value[:8] + "\x1b[1;31m" + value[8:16] + "\x1b[0m" + value[16:],
        "colour as text": value[:8] + "\\u001b[31m" + value[8:],
        "zero width": value[:8] + "\u200b" + value[8:],
        "octal": octal, "octal in json": json.dumps(octal),
        "code points": "".join(f"\\u{{{ord(sign):x}}}" for sign in value),
        "hex, mixed": raw.hex()[:11].upper() + raw.hex()[11:], "hex, spaced": raw.hex(" "),
        "hex, colons": raw.hex(":").upper(), "hex, words": raw.hex(" ", 2),
        "hex, a list": ", ".join(f"0x{byte:02X}" for byte in raw),
        "hex, lines": "\n".join(raw.hex()[at : at + 16] for at in range(0, 2 * len(raw), 16)),
        "quoted-printable": quopri.encodestring(raw).decode(),
        "quoted-printable, long": quopri.encodestring(b"x" * 60 + raw).decode(),
        "quoted-printable, all": "".join(f"={byte:02X}" for byte in raw),
        "xxd": dumped(padded, group=2), "hexdump -C": dumped(padded, form="{:08x}  {}  |{}|"),
        "od -tx1": dumped(padded, form="{:07o} {}"),
        "hexdump": dumped(raw, group=2, swap=True, form="{:07x} {}"),
    }  # fmt: skip


@pytest.mark.parametrize("way", deeper(LONGER))
def test_a_value_is_masked_in_ways_of_writing_within_ways(way: str) -> None:
    written = deeper(LONGER)[way]
    masked = Known([("db", LONGER)]).masked(f"it says:\n{written}\nthere")
    assert "[secret db]" in masked and masked.startswith("it says:\n") and masked.endswith("there")
    of_bytes = Known([("", LONGER)], of_bytes=True).spans(f"it says:\n{written}\n".encode().decode("latin-1"))
    assert of_bytes or way == "zero width"


def test_short_values_and_usual_texts_are_not_taken_for_each_other() -> None:
    values = Known([("short", "pa55w0rd"), ("hex", "deadbeefcafe")])
    usual = [
        "de ad be e",
        "dead beef",
        "00000000: 7061 3535\n",
        "p a 5 5 w 0 r d",
        "=70=61",
        "cGE1NXc=",
        "\\160\\141",
    ]
    assert [values.masked(text) for text in usual] == usual


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Known:
    values = Known([("db", VALUE), ("tls", KEY), ("digits", "9081726354")])
    monkeypatch.setattr(known, "_source", [lambda: values])
    return values


@pytest.mark.parametrize("way", WAYS)
def test_a_value_is_masked_in_every_usual_way_of_writing_it(stored: Known, way: str) -> None:
    seen = inspect(f"it says {WAYS[way]} there", direction="output")
    assert "[secret db]" in seen.text and WAYS[way] not in seen.text
    assert seen.verdict == "rewrite" and "secret" in seen.labels


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "somebody:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_wherever_the_value_stands_in_it(stored: Known, before: str, encode: Any) -> None:
    text = encode(before.encode() + VALUE.encode() + b" and more").decode()
    masked = stored.masked(f"Authorization: Basic {text}")
    left = masked.replace("[secret db]", "|").removeprefix("Authorization: Basic ")
    assert "|" in left and len(left.partition("|")[0]) <= len(before) * 4 / 3


@given(before=st.text(max_size=12), after=st.text(max_size=12))
def test_nothing_beside_a_value_keeps_it_from_being_found(before: str, after: str) -> None:
    values = Known([("db", VALUE)])
    assert VALUE not in values.masked(before + VALUE + after)


@given(st.text(max_size=300))
def test_a_text_without_a_value_stays_as_it_is(text: str) -> None:
    assert Known([("db", VALUE)]).masked(text) == text


@given(
    st.binary(max_size=100),
    st.sampled_from([VALUE.encode(), VALUE.encode("utf-16"), VALUE.encode("utf-16-be")]),
)
def test_a_file_of_any_kind_is_masked_and_otherwise_the_same(noise: bytes, held: bytes) -> None:
    values = Known([("db", VALUE)])
    assert values.masked_bytes(noise) == noise
    masked = values.masked_bytes(b"<" + held + b">")
    assert b"[secret db]" in masked and VALUE.encode() not in masked


def test_the_password_in_an_address_is_a_value_of_its_own() -> None:
    values = Known([("billing", "postgres://issuer:long%20enough-1@db.example/billing"),
                    ("other", "host=db password='another-one-2' user=x")])  # fmt: skip
    assert values.masked("it is long enough-1, long%20enough-1 or another-one-2") == (
        "it is [secret billing], [secret billing] or [secret other]"
    )


def test_each_line_of_a_key_is_a_value_of_its_own(stored: Known) -> None:
    lines = KEY.splitlines()
    assert stored.masked(f"- {lines[1]}\n+ {lines[2]}") == "- [secret tls]\n+ [secret tls]"
    assert stored.masked(lines[0]) == lines[0]


def test_pieces_in_a_list_keys_and_numbers_are_masked_too(stored: Known) -> None:
    given = {"a": [VALUE[:7], VALUE[7:]], VALUE: 1, "n": 9081726354, "fine": [True, None, 2.5, "x"]}
    seen = rendition.screen(given, source="tool:x")
    assert seen.output == {
        "a": ["[secret db]", "[secret db]"], "[secret db]": 1, "n": "[secret digits]",
        "fine": [True, None, 2.5, "x"],
    }  # fmt: skip
    assert {found["why"] for found in seen.findings} == {
        "the value of the secret db", "the value of the secret digits",
    }  # fmt: skip


def test_half_a_value_is_no_value_so_that_nobody_finds_it_sign_by_sign(stored: Known) -> None:
    for cut in range(1, len(VALUE)):
        assert stored.masked(f"is it {VALUE[:cut]}") == f"is it {VALUE[:cut]}"


def test_where_values_cannot_be_read_nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Known:
        raise OSError("away")

    monkeypatch.setattr(known, "_source", [fails])
    assert inspect("hello", direction="output").verdict == "block"
    screened = rendition.screen({"a": "hello"}, source="tool:x")
    assert screened.verdict == "block" and "hello" not in json.dumps(screened.output)


@pytest.mark.parametrize("value", ["", "short-1", "aaaaaaaaaaaa", "password", "Production", "        "])
def test_what_other_texts_hold_by_chance_is_no_value(value: str) -> None:
    assert unfit(value.strip())
    assert not Known([("odd", value)])


def test_hundreds_of_values_are_searched_at_once_in_linear_time() -> None:
    values = Known([(f"n{number}", f"value-{number * 7919:032x}") for number in range(300)])
    text = "A line as logs have them, with nothing in it.\n" * 5_000
    values.masked(text)
    began = time.process_time()
    assert values.masked(text + f"value-{7919:032x}").endswith("[secret n1]")
    assert time.process_time() - began < 2
    assert "value-" not in repr(values)


@pytest.mark.parametrize(
    "piece",
    [
        "%25",
        "\\\\",
        "&amp;",
        "=3D",
        "0a ",
        "QUJD",
        "\x1b[0m",
        "\n",
        "00000000: 0a 0b\n",
        "\\101",
        "%2541&#37;\\x41=41",
    ],
)
def test_a_text_made_of_signs_alone_is_searched_in_bounded_time(piece: str) -> None:
    values, text = Known([("db", LONGER)]), piece * (256 * 1024 // len(piece))
    began = time.process_time()
    assert values.masked(text) == text
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    "beside", [" " * 200_000, "\r" * 200_000, "\x1b]" * 50_000, "0a " * 50_000 + "\n", "=" * 100_000]
)
def test_what_stands_beside_a_value_does_not_make_finding_it_slow(beside: str) -> None:
    values, began = Known([("db", LONGER)]), time.process_time()
    text = beside + LONGER[:9] + "\n" + LONGER[9:] + beside
    assert "[secret db]" in values.masked(text)
    assert time.process_time() - began < 1.5


@given(st.text(alphabet="ab41 \t\r\n\\x%=&;0#\x1b[mQUJD:ö\u200b", max_size=80))
def test_what_a_view_shows_is_what_it_traces_back(text: str) -> None:
    for codec in ("utf-8", "latin-1"):
        for view in undone.views(text if codec == "utf-8" else text.encode().decode("latin-1"), codec):
            assert view.source is not None and view.way is not None and view.text
            assert undone._folded(view.source, view.way).text == view.text
            start, end = view.span(0, len(view.text))
            assert 0 <= start < end
