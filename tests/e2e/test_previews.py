"""A payload in a real browser: the harmless preview of a hostile mail, and the reader's own time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.company import Company

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
CHROMIUM = "/usr/bin/chromium"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no {CHROMIUM}"),
]
HOSTILE = """<html><body><h1>Spring news</h1><script>document.title = 'owned'</script>
<p onclick="document.title = 'owned'">
Sign in at
<a href="https://evil.example/x">https://acme.example/login</a></p>
<img src="https://track.example/p.gif" onerror="document.title = 'owned'">
<style>.panel {display: none}</style>
<form action="https://evil.example"><button>Approve</button></form></body></html>"""


@pytest.fixture
def berlin(browser: Any, company: Company) -> Iterator[Any]:
    """A page of a person in Berlin; whatever it complains of, or asks another host for, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="Europe/Berlin")
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda said: said.type == "error" and trouble.append(said.text))
    page.on("request", lambda sent: company.live.url in sent.url or trouble.append(sent.url))
    context.request.get(company.live.link, max_redirects=0)
    yield page
    context.close()
    assert trouble == []


def test_a_hostile_mail_is_shown_harmless_with_its_words_beside_it(company: Company, berlin: Any) -> None:
    args = {"to": ["ada@acme.example"], "subject": "Spring \u202enews", "body": HOSTILE}
    session = company.stage.host("mail-bot").open_session(purpose="A newsletter")
    asked = company.stage.agent("mail-bot").propose(session, "email.send", args)
    berlin.goto(f"{company.live.url}/?open={asked['id']}")
    card = berlin.locator("#card")
    markup, words = card.locator(".mail-html"), card.locator(".mail-text")
    expect(markup).to_contain_text("its words say acme.example")
    expect(words).to_contain_text("https://evil.example/x")
    assert markup.locator("a, img, form, button, script, style").count() == 0

    card.get_by_label("Both").focus()
    berlin.keyboard.press("ArrowRight")
    expect(words).to_be_hidden()
    expect(markup).to_be_visible()
    expect(berlin.locator("#panel")).to_be_visible()
    expect(card.locator(".trick").first).to_contain_text("turns the direction")
    card.get_by_text("HTML source").click()
    expect(card.locator(".form-program details pre")).to_contain_text("document.title = 'owned'")
    assert "owned" not in berlin.title()

    title = card.locator("time[data-ago]").first.get_attribute("title")
    assert re.fullmatch(
        r"\d+ \w{3} \d{4} [\d:]{8} (CET|CEST|GMT\+\d), which is \d+ \w{3} \d{4} [\d:]{8} UTC", title
    )
    company.decide(asked, "reject", comment="hostile")
