"""Moments on pages: UTC in words, exact in the title, and what the script needs to tell another zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from traces.templatetags.moments import STYLES, moment

AT = datetime(2026, 3, 4, 9, 5, 7, 250_000, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("style", "shown"),
    [("minute", "4 Mar 2026 09:05 UTC"), ("clock", "09:05:07 UTC"), ("day", "4 Mar 2026"),
     ("left", "until 09:05 UTC")],
)  # fmt: skip
def test_without_a_script_a_moment_reads_in_utc(style: str, shown: str) -> None:
    assert f">{shown}</time>" in moment(AT, style)


def test_the_title_is_exact_and_the_zone_of_the_server_does_not_matter() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    assert 'title="4 Mar 2026 09:05:07 UTC"' in moment(elsewhere, "day") and moment(elsewhere) == moment(AT)


def test_what_is_no_moment_is_no_time() -> None:
    assert (moment(None), moment("soon")) == ("", "soon")


def test_a_script_knows_every_style() -> None:
    script = (ROOT / "agentsec_site" / "static" / "times.js").read_text()
    assert [name for name in STYLES if not re.search(rf'\b{name}: \(p\)|"{name}"', script)] == []


def test_no_page_prints_a_bare_moment() -> None:
    bare = []
    for path in sorted((ROOT / "templates").rglob("*.html")):
        told = re.sub(r"<[^>]*>", "", re.sub(r"<time[^>]*data-time.*?</time>", "", path.read_text()))
        bare += [path.name] if re.search(r"\|date:|\|time:", told) else []
    assert bare == []
