"""Deciding many alike in a real browser: by keys with one that changes meanwhile, and by touch on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from agentsec_site import packages
from tests.e2e.company import Company

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not packages.chromium(), reason="there is no Chromium: apt-get install chromium"),
]
MANY = [f"reader{number}@acme.example" for number in range(101)]


def mails(company: Company, count: int, subject: str) -> list[dict[str, Any]]:
    agent = company.stage.agent("mail-bot")
    session = agent.open_session(purpose="News")
    letters = [{"to": MANY, "subject": f"{subject} {number}", "body": "Hello"} for number in range(count)]
    return [agent.propose(session, "email.send", letter) for letter in letters]


def row(page: Page, action: dict[str, Any]) -> Any:
    return page.locator(f"#row-{action['id']}")


def test_many_are_approved_by_keys_one_that_is_gone_is_named_and_the_rest_taken_back(
    page: Page, company: Company
) -> None:
    one, two, three = mails(company, 3, "Together")
    page.goto(f"{company.live.url}/?open={one['id']}")
    expect(page.locator("#live-state")).to_have_text("Live")
    page.keyboard.press("x")
    expect(page.locator("#bulk-words")).to_have_text("1 selected")
    for other in (two, three):
        row(page, other).locator(".tick input").check()
    # The box that was clicked has the focus, and the keys work as ever.
    page.keyboard.press("x")
    expect(page.locator("#bulk-words")).to_have_text("2 selected")
    page.keyboard.press("x")
    page.get_by_role("button", name="Approve…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".bulk-list > li")).to_have_count(3)
    company.decide(three, "reject", comment="no")
    dialog.get_by_role("button", name="Approve 3").click()
    expect(dialog.get_by_role("heading")).to_contain_text("2 approved, 1 not.")
    expect(dialog).to_contain_text("already rejected")
    dialog.get_by_role("button", name="Undo 2").click()
    expect(page.locator(".toast").last).to_contain_text("2 taken back.")
    expect(row(page, one)).to_be_visible()
    expect(row(page, three)).to_have_count(0)


def test_many_are_rejected_by_touch_on_a_phone(browser: Browser, page: Page, company: Company) -> None:
    one, two = mails(company, 2, "Phone")
    size = {"width": 390, "height": 800}
    context = browser.new_context(viewport=size, has_touch=True, storage_state=page.context.storage_state())
    phone = context.new_page()
    phone.goto(company.live.url)
    for action in (one, two):
        row(phone, action).locator(".tick").tap()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.get_by_role("button", name="Reject…").tap()
    phone.get_by_label("Why?").fill("Nobody reads them")
    phone.get_by_role("button", name="Reject 2").tap()
    expect(phone.locator(".toast")).to_contain_text("2 rejected.")
    expect(row(phone, one)).to_have_count(0)
    told = company.stage.agent("mail-bot").wait(two["id"], seconds=1)
    assert (told["state"], told["decision"]["reason"]) == ("rejected", "Nobody reads them")
    context.close()
