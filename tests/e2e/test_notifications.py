"""Saying how one is told, in a browser, and a message that really arrives."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.company import Company

pytestmark = pytest.mark.e2e


def test_a_person_sets_quiet_hours_and_gets_a_test_message(page: Page, company: Company) -> None:
    page.goto(f"{company.live.url}/account#notifications")
    mail = page.locator("details.outlet", has_text="demo@acme.example")
    mail.locator("summary").click()
    mail.get_by_label("from").fill("22:00")
    mail.get_by_label("to", exact=True).fill("07:00")
    mail.get_by_label("Expires soon").check()
    mail.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    mail.locator("summary").click()
    expect(mail.get_by_label("to", exact=True)).to_have_value("07:00")
    mail.get_by_role("button", name="Send a test message").click()
    expect(page.get_by_text("The test message was delivered.")).to_be_visible()
    mails = [path.read_text() for path in (company.live.home / "demo-mail").glob("*.log")]
    assert any("Subject: [agentsec] A test message" in text for text in mails)


def test_an_administrator_adds_a_channel_and_sees_its_secret_once(page: Page, company: Company) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{company.live.url}/policies/notifications")
    page.locator("summary", has_text="Add a channel").click()
    page.get_by_label("Group", exact=True).select_option("ops")
    page.get_by_label("Signed webhook").check()
    page.get_by_label("Address", exact=True).fill("https://hooks.corp.example/one")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#secret")).to_have_text(re.compile(r"whsec_\S{40,}"))
    page.get_by_role("link", name="Back", exact=True).click()
    channel = page.locator("details.outlet", has_text="ops: Signed webhook")
    expect(channel).to_be_visible()
    assert "whsec_" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # The link back names it, so it stands open.
    channel.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Removed.")).to_be_visible()
