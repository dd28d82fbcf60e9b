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

from tests.e2e.company import Company, order
from tests.e2e.crawl import pages
from tests.e2e.doors import ask_of_two, doors
from tests.e2e.screenshots import DAILY, PHONE, WIDE, cards, fill

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
# Where people are on their way too; the doors are all narrow.
ON_THE_WAY = frozenset((*DAILY, "account", "insights", "health", "firewall"))
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


def narrow(page: Page) -> list[str]:
    """What is wrong with the open page where it is as wide as a phone. Colours are the same there."""
    page.set_viewport_size(PHONE)
    found = _narrow(page)
    if page.locator("#card").is_visible() and page.locator("#rows").count():
        page.get_by_text("← List").click()
        found += _narrow(page)
    page.set_viewport_size(WIDE)
    return found


def _narrow(page: Page) -> list[str]:
    width = page.evaluate("document.documentElement.scrollWidth")
    wide = [f"it is {width} px wide"] if width > PHONE["width"] else []
    return [f"phone: {each}" for each in wide + told(page.evaluate(AXE, FORMS))]


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
        if kind in ON_THE_WAY:
            wrong += [f"{kind}: {found}" for found in narrow(watched)]
    assert not wrong, "\n".join(wrong)


def test_axe_finds_nothing_at_the_doors_and_where_the_user_is_asked(busy: Company, browser: Browser) -> None:
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
    context.add_init_script(REFUSED)
    page, wrong, seen = context.new_page(), list[str](), set[str]()
    for name in doors(page, busy):
        wrong += [f"{name}: {found}" for found in both(page, seen) + narrow(page)]
    context.close()
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


def test_axe_finds_nothing_in_what_others_bring_about(busy: Company, watched: Page) -> None:
    """Somebody else's claim, and a choice of which one was decided meanwhile."""
    seen: set[str] = set()
    buyer, question = busy.stage.host("buyer-bot"), watched.get_by_role("dialog")
    item = order(buyer, buyer.open_session(purpose="Supplies"), "staples")
    busy.people["priya"].call("POST", f"/actions/{item['id']}/claim", {})
    watched.goto(f"{busy.live.url}/?open={item['id']}")
    for key, answer in (("a", "Decide anyway"), ("c", "Take it over")):
        expect(watched.locator("#approve-form")).to_be_visible()
        watched.keyboard.press(key)
        expect(question.get_by_role("button", name=answer)).to_be_visible()
        assert both(watched, seen) == [], answer
        watched.keyboard.press("Escape")
        expect(question).to_have_count(0)

    _, late = ask_of_two(watched, busy)
    busy.decide(late, "reject", comment="no")
    question.get_by_role("button", name="Approve 2").click()
    expect(question.get_by_role("heading")).to_contain_text("1 approved, 1 not.")
    assert both(watched, seen) == []


@pytest.mark.parametrize("path", ["/welcome/none", "/nowhere"])
def test_axe_finds_nothing_for_a_stranger(busy: Company, browser: Browser, path: str) -> None:
    page = browser.new_page()
    page.goto(f"{busy.live.url}{path}")
    found = both(page)
    page.close()
    assert found == []
