"""Agents write half of every message: what they cannot do with it. And quiet hours, to the minute."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.notify import email, quiet, slack, webhook, words
from approvals.notify.channel import Destination
from approvals.notify.letters import Item, Letter
from traces.problems import Refused

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = "https://agentsec.corp.example/?open=1"
NASTY = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            [
                "https://evil.example/x", "www.evil.example", "evil.example", "EVIL\u3002example",
                "<!channel>", "@here",
                "<https://evil.example|Open>", "[Open](https://evil.example)", "`", "```", "*b*", "<script>",
                "\r\nBcc: x@evil.example", "\n\n", "\u202e", "\u200b", "\u2028", "\0", "&lt;", "'", '"',
                "mailto:a@evil.example", "x" * 300,
            ]
        ),  # fmt: skip
        max_size=8,
    ).map(" ".join),
)  # fmt: skip


def letter(text: str, *, total: int = 1) -> Letter:
    item = Item(
        action="1", kind="asked", said="waits for a decision", summary=words.line(text, most=300),
        target=words.line(text, most=200), tool=words.line(text, most=100), agent="scout",
        rules=words.line(text, most=200), until=NOW, left="3 min", clock="12:03 UTC", link=LINK,
    )  # fmt: skip
    return Letter(
        "msg", NOW, (item,), total, ((words.line(text, most=100), 2),), "https://agentsec.corp.example"
    )


@given(NASTY, st.integers(1, 9))
def test_no_agent_puts_a_link_a_mention_or_a_line_into_a_chat(text: str, total: int) -> None:
    said = slack.render(letter(text, total=total))
    links = re.findall(r"<([^>]*)>", said)
    assert {link.partition("|")[0] for link in links} <= {LINK, "https://agentsec.corp.example/"}
    spans = re.findall(r"`[^`]*`", said)
    outside = re.sub(r"`[^`]*`", "", re.sub(r"<[^>]*>", "", said))
    assert said.count("`") == 2 * len(spans) and not re.search(r"(?<!\[)@|@(?!\])", said)
    assert not re.search(r"://|evil", outside) and "example" not in outside
    assert len(said.splitlines()) <= 5


@given(NASTY, st.integers(1, 9))
def test_no_agent_adds_a_header_or_a_link_to_a_mail(text: str, total: int) -> None:
    mail = email.message(letter(text, total=total), Destination(email="ada@corp.example"))
    made = mail.message()
    names = [name for name in set(made.keys()) if name.lower() in ("bcc", "cc", "to", "subject")]
    assert sorted(names) == ["Subject", "To"] and len(mail.subject) <= email.LONGEST_SUBJECT
    assert not re.search(r"[\x00-\x1f\x7f\u2028\u202e\u200b]", mail.subject)
    ours = re.compile(r"https://agentsec\.corp\.example/\S*")
    assert "://" not in ours.sub("", str(mail.body)) and "evil.example" not in str(mail.body)
    (markup,) = [part.content for part in mail.alternatives]
    hrefs = set(re.findall(r'href="([^"]*)"', markup))
    assert {html.unescape(href).partition("?")[0] for href in hrefs} == {
        "https://agentsec.corp.example/", "https://agentsec.corp.example/account#notifications"
    }  # fmt: skip
    assert "<script" not in markup and "://" not in ours.sub("", markup.replace('"', " "))


@given(NASTY)
def test_a_webhook_is_ascii_json_whatever_it_tells(text: str) -> None:
    assert webhook.posting.encode(webhook.payload(letter(text))).isascii()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("see https://evil.example/a", "see https[:]//evil[.]example/a"),
        ("ann@acme.example", "ann@acme[.]example"),
        ("evil。com", "evil[.]com"),
        ("pay 3.50 EUR", "pay 3.50 EUR"),
        ("Stop. Then go", "Stop. Then go"),
        ("mailto:a@b.co", "mailto[:]a@b[.]co"),
    ],
)
def test_addresses_are_broken_up_and_prices_are_not(written: str, shown: str) -> None:
    assert words.defang(written) == shown


def test_what_cannot_be_seen_is_spelled_and_what_is_too_long_is_cut() -> None:
    assert words.line("a\u202eb\nc", most=50) == "a‹U+202E›b c"
    assert words.line("x" * 500, most=10) == "xxxxxxxxx…"


def test_the_example_of_the_specification_is_signed_as_it_says() -> None:
    """Values from the specification's own test vector."""
    signed = webhook.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", message="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330, body=b'{"test": 2432232314}',
    )  # fmt: skip
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_é"]
)
def test_a_secret_that_is_none_is_refused_without_quoting_it(secret: str) -> None:
    with pytest.raises(Refused) as refused:
        webhook.key_of(secret)
    assert "c2hv" not in refused.value.detail


ZONES = st.sampled_from(["UTC", "Europe/Brussels", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"])
CLOCKS = st.times().map(lambda at: at.replace(second=0, microsecond=0))
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


@given(MOMENTS, ZONES, CLOCKS, CLOCKS)
def test_quiet_hours_end_at_their_end(now: datetime, zone: str, start: time, end: time) -> None:
    ends = quiet.until(now, zone=zone, start=start, end=end)
    if ends is not None:
        assert now < ends <= now + timedelta(hours=25)
        shown = ends.astimezone(ZoneInfo(zone)).time()
        skipped = datetime.combine(datetime(2026, 1, 1), shown) - datetime.combine(datetime(2026, 1, 1), end)
        # An end that the clock leaps over comes up to an hour later by the clock.
        assert skipped in (timedelta(0), timedelta(hours=1), timedelta(hours=-23))


def test_quiet_across_midnight_and_across_the_clocks_leap() -> None:
    night = {"zone": "Europe/Brussels", "start": time(22), "end": time(7)}
    assert quiet.until(datetime(2026, 3, 28, 21, 30, tzinfo=UTC), **night) == datetime(
        2026, 3, 29, 5, tzinfo=UTC
    )  # type: ignore[arg-type]
    assert quiet.until(datetime(2026, 3, 29, 5, tzinfo=UTC), **night) is None  # type: ignore[arg-type]
    assert quiet.until(datetime(2026, 3, 28, 20, 59, tzinfo=UTC), **night) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(40, "40 s"), (700, "11 min"), (11_100, "3 h 5 min"), (300_000, "3 days")]
)
def test_time_left_in_words(seconds: int, shown: str) -> None:
    assert words.left(NOW, NOW + timedelta(seconds=seconds)) == shown
