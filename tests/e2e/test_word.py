"""The person whom a session serves, in a browser: a link, the page, a typed word, live, on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.company import Company

pytestmark = pytest.mark.e2e


def test_the_traveller_says_yes_on_a_phone_by_their_link(browser: Browser, company: Company) -> None:
    scene = company.play("trip")
    asked = company.waiting("trip.book")
    link = company.stage.host("travel-bot").call(
        "POST", f"/sessions/{asked['session']}/confirmation-link", {}
    )
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(link["url"])
    page.get_by_role("button", name="Go on as demo").click()
    assert page.url.endswith("/mine")
    card = page.locator(".mine-ask")
    expect(card).to_contain_text("Book a first class train to Lyon on Friday for 189 EUR")
    expect(card).to_contain_text("I have to be in Lyon on Friday")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    card.get_by_label("To approve, type Lyon").fill("Paris")
    card.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Nothing was done")).to_be_visible()
    card.get_by_label("To approve, type Lyon").fill("Lyon")
    card.get_by_role("button", name="Approve").press("Enter")
    expect(page.get_by_text("Confirmed.")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert scene.result(60)["state"] == "succeeded"
    expect(page.locator("#mine-past")).to_contain_text("done")
    context.close()
    assert trouble == []


def test_questions_come_and_go_while_the_page_is_open(browser: Browser, company: Company) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(company.live.link)
    page.goto(f"{company.live.url}/mine")
    expect(page.get_by_text("Nothing waits for you")).to_be_visible()
    scene = company.play("trip")
    asked = company.waiting("trip.book")
    expect(page.locator(".mine-ask")).to_have_count(1)
    page.get_by_label("To approve, type Lyon").fill("Ly")
    said = {"verdict": "reject", "digest": asked["digest"], "user": "demo", "comment": "second class only"}
    company.stage.host("travel-bot").call("POST", f"/actions/{asked['id']}/confirmation", said)
    expect(page.locator(".mine-ask")).to_contain_text("not asked any more")
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    assert scene.result(60)["state"] == "rejected"
    context.close()
