"""Every page by axe-core, light and dark: no violation; and no page breaks its own content policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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
# Each element with words by how it and all that it stands in are drawn: two that are drawn alike are read alike, so of
# those that stand on a hundred pages one is enough.
LOOKS = """
([options, seen]) => {
    const known = new Set(seen), drawn = new Map(), fresh = [];
    const SAYS = ["color", "backgroundColor", "backgroundImage", "opacity", "fontSize", "fontWeight", "filter",
        "textShadow", "textDecorationLine", "borderBottomWidth", "mixBlendMode", "position", "zIndex"];
    const look = (element) => {
        if (!element) return "";
        if (!drawn.has(element)) {
            const style = getComputedStyle(element);
            drawn.set(element, hash(look(element.parentElement) + SAYS.map((name) => style[name]).join("|")));
        }
        return drawn.get(element);
    };
    const hash = (text) => {
        let [a, b] = [0x811c9dc5, 0x1b873593];
        for (let at = 0; at < text.length; at++) {
            a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
            b = Math.imul(b ^ text.charCodeAt(at), 0x85ebca6b);
        }
        return `${a >>> 0}.${b >>> 0}`;
    };
    const read = (element) => element.matches("input, select, textarea")
        || [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    for (const element of document.body.querySelectorAll("*")) {
        if (!read(element) || !element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
        const name = `${element.localName} ${look(element)}`;
        if (known.has(name)) continue;
        known.add(name);
        fresh.push([name, element]);
    }
    if (!fresh.length) return {looks: [], violations: []};
    return axe.run({include: fresh.map((each) => each[1])}, options)
        .then((found) => ({looks: fresh.map((each) => each[0]), violations: found.violations}));
}
"""
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
