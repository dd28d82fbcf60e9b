"""Every page by axe-core, light and dark: no violation; and no page breaks its own content policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect

from tests.e2e.company import Company
from tests.e2e.crawl import pages
from tests.e2e.screenshots import cards, fill

pytestmark = pytest.mark.e2e
AXE = "options => axe.run(document, options).then(found => found.violations)"
# What colours decide, and a theme can change; everything else is looked at in the light one.
COLOURS = ["color-contrast", "link-in-text-block"]
FORMS = {"resultTypes": ["violations"], "rules": {name: {"enabled": False} for name in COLOURS}}
LOOKS = (Path(__file__).parent / "looks.js").read_text()
# axe itself sets inline styles, which are refused and change nothing: reports are read before it runs.
REFUSED = (
    "window.refused = []; addEventListener('securitypolicyviolation', (event) => refused.push("
    "`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`))"
)
# Colours that move from one theme to the other are neither.
DARK = (
    "document.documentElement.dataset.theme = 'dark';"
    "new Promise(requestAnimationFrame)"
    ".then(() => document.getAnimations().forEach((each) => each.finish()))"
)
# What only somebody's keys bring up: forms and dialogs of the inbox.
BY_KEY = {
    "?": "#keys", "r": "#reject-form", "e": "#edit-form", "q": "#ask-form", "d": "#delegate-form",
}  # fmt: skip
# Pages of one template, whatever they are about: one of them is enough.
ALIKE = re.compile(r"admin:\w+_(history|delete)")


@pytest.fixture(scope="module")
def busy(company: Company) -> Company:
    """The company with something of every kind in it: waiting, decided, run, refused."""
    fill(company)
    return company


@pytest.fixture
def watched(browser: Browser, busy: Company) -> Iterator[Page]:
    """A page of the demo's person that keeps what its content policy refused, until axe touches it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.add_init_script(REFUSED)
    page = context.new_page()
    page.goto(busy.live.link)
    yield page
    context.close()


def told(violations: list[dict[str, Any]]) -> list[str]:
    return [
        f"{found['id']} ({found['impact']}): {node['target']} {node['html'][:160]}"
        for found in violations
        for node in found["nodes"]
    ]


def colours(page: Page, seen: set[str]) -> list[str]:
    """What colours make hard to read, of all that looks as nothing in `seen` does; it is seen then."""
    options = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": COLOURS}}
    found = page.evaluate(LOOKS, [options, sorted(seen)])
    seen.update(found["looks"])
    return told(found["violations"])


def both(page: Page, seen: set[str] | None = None) -> list[str]:
    """What is wrong with the open page in the light, and what the dark adds."""
    seen = set() if seen is None else seen
    refused = [f"content policy: {each}" for each in page.evaluate("window.refused || []")]
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE_SCRIPT)
    light = told(page.evaluate(AXE, FORMS)) + colours(page, seen)
    page.evaluate(DARK)
    return refused + light + [f"dark: {each}" for each in colours(page, seen)]


def test_what_is_hard_to_read_in_the_dark_alone_is_found_once_and_what_differs_again(
    browser: Browser,
) -> None:
    page, seen = browser.new_page(), set[str]()
    shades = (
        "<style>p {color: #555; background: #fff} [data-theme=dark] p {color: #ddd} .b {padding: 0}</style>"
    )
    page.set_content(f"<html lang='en'>{shades}<p>one<p>two<div style='opacity: 0.99'><p>three</div>")
    found = both(page, seen)
    assert [told.split(":")[:2] for told in found if "contrast" in told] == [
        ["dark", " color-contrast (serious)"]
    ] * 2
    assert not any("contrast" in told for told in both(page, seen))
    page.close()


def test_axe_finds_nothing_on_any_page(busy: Company, watched: Page) -> None:
    wrong: list[str] = []
    seen: set[str] = set()
    for kind in pages(watched, busy.live.url, also=cards(busy), alike=lambda kind: ALIKE.sub(r"\1", kind)):
        wrong += [f"{kind}: {found}" for found in both(watched, seen)]
    assert not wrong, "\n".join(wrong)


def test_axe_finds_nothing_in_what_a_key_opens(busy: Company, watched: Page) -> None:
    item = busy.waiting("email.send", ready=lambda item: "collector" in json.dumps(item["args"]))
    watched.goto(f"{busy.live.url}/?open={item['id']}")
    expect(watched.locator("#card")).to_be_visible()
    seen: set[str] = set()
    for key, opened in BY_KEY.items():
        watched.keyboard.press(key)
        expect(watched.locator(opened)).to_be_visible()
        assert both(watched, seen) == [], key
        watched.keyboard.press("Escape")
        expect(watched.locator(opened)).to_be_hidden()
    watched.keyboard.press("x")
    watched.get_by_role("button", name="Reject…").click()
    expect(watched.locator("#bulk-form")).to_be_visible()
    assert both(watched, seen) == []


@pytest.mark.parametrize("path", ["/sign-in", "/reset", "/welcome/none", "/nowhere"])
def test_axe_finds_nothing_for_a_stranger(busy: Company, browser: Browser, path: str) -> None:
    page = browser.new_page()
    page.goto(f"{busy.live.url}{path}")
    found = both(page)
    page.close()
    assert found == []
