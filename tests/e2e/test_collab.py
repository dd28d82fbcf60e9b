"""Two reviewers and an agent around one card in real browsers: claim, presence, question, undo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from agentsec_site import packages
from tests.e2e.company import Company, order

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not packages.chromium(), reason="there is no Chromium: apt-get install chromium"),
]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def lea(browser: Browser, company: Company) -> Iterator[Page]:
    """The page of somebody of another group, signed in by her invitation."""
    link = company.live.manage("user", "create", "lea", "--groups", "leads").stdout.split()[-1]
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(company.live.url + link[link.index("/welcome/") :])
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.locator("main button[type=submit]").click()
    page.wait_for_url(re.compile(f"^{re.escape(company.live.url)}/$"))
    yield page
    context.close()


def open_(page: Page, company: Company, action: dict[str, Any]) -> None:
    page.goto(f"{company.live.url}/?open={action['id']}")
    expect(page.locator("#live-state")).to_have_text("Live")
    page.locator("#card h2").click()


def test_reviewers_claim_ask_and_hand_on(page: Page, lea: Page, company: Company) -> None:
    buyer, priya = company.stage.host("buyer-bot"), company.people["priya"]
    action = order(buyer, buyer.open_session(purpose="Supplies"), "paper")
    path = f"/actions/{action['id']}"
    open_(page, company, action)

    priya.call("POST", f"{path}/claim", {})
    expect(page.locator("#together")).to_contain_text("priya has claimed this")
    page.keyboard.press("a")
    expect(page.get_by_role("dialog")).to_contain_text("priya has claimed this just now: decide anyway?")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.get_by_role("button", name="Take it over").click()
    expect(page.locator("#together")).to_contain_text("You have claimed this")

    # What is typed goes into the question from the first letter on, and decides nothing.
    page.keyboard.press("q")
    page.keyboard.type("are these sheets?")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#talk")).to_contain_text("are these sheets?")
    [question] = buyer.call("GET", path)["questions"]
    buyer.call("POST", f"{path}/answers", {"question": question["id"], "text": "Boxes of 500."})
    expect(page.locator("#talk .words")).to_have_text("Boxes of 500.")
    expect(page.locator("#toasts")).to_contain_text("The agent answered.")

    page.keyboard.press("d")
    page.get_by_label("Who may decide").select_option("leads")
    page.locator("#delegate-why").fill("I am on a train")
    page.keyboard.press("Control+Enter")
    lea.locator(f"#row-{action['id']} a").click()
    expect(lea.locator("#together")).to_contain_text("“I am on a train”")
    expect(page.locator("#looks")).to_have_text("lea is looking at this too")
    expect(lea.locator("#looks")).to_have_text("demo is looking at this too")
    lea.get_by_role("link", name="← List").click()
    expect(page.locator("#looks")).to_be_hidden()


def test_each_way_of_approving_is_undone_and_a_rejection_is_not(page: Page, company: Company) -> None:
    buyer = company.stage.host("buyer-bot")
    session = buyer.open_session(purpose="Supplies")
    counted, edited, last, rejected = (order(buyer, session, item) for item in ("a", "b", "c", "d"))
    company.people["priya"].call("POST", f"/actions/{counted['id']}/claim", {})
    open_(page, company, counted)

    page.keyboard.press("a")
    page.get_by_role("button", name="Decide anyway").click()
    expect(page.locator("#toasts")).to_contain_text("Your vote counts")
    page.keyboard.press("z")
    expect(page.locator("#toasts")).to_contain_text("Undone")

    open_(page, company, edited)
    page.keyboard.press("e")
    page.get_by_label("item").fill("pencils")
    page.locator("#edit-why").fill("clearer")
    page.get_by_role("button", name="Save and approve").click()
    expect(page.locator("#toasts")).to_contain_text("Your vote counts")
    page.keyboard.press("z")
    expect(page.locator("#toasts")).to_contain_text("your edit stays: revision 2")

    company.decide(last, who="priya")
    open_(page, company, last)
    page.keyboard.press("a")
    expect(page.locator("#toasts")).to_contain_text("Approved.")
    page.keyboard.press("z")
    expect(page.locator("#toasts")).to_contain_text("Undone")

    open_(page, company, rejected)
    page.keyboard.press("r")
    page.keyboard.press("7")
    expect(page.locator("#reject-why")).to_have_value("Not needed, or done already.")
    page.locator("#reject-advice").fill("Order with the next delivery.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#toasts")).to_contain_text("Rejected")
    page.keyboard.press("z")
    expect(page.locator("#toasts")).to_contain_text("cannot be taken back")
    states = [buyer.call("GET", f"/actions/{each['id']}") for each in (counted, edited, last, rejected)]
    assert [told["state"] for told in states] == ["pending", "pending", "pending", "rejected"]
    advice = {"reason": "Not needed, or done already.", "advice": "Order with the next delivery."}
    assert states[3]["rejection"] == advice
    for told in states[:3]:
        buyer.call("POST", f"/actions/{told['id']}/cancel", {})


def test_a_refused_edit_keeps_what_was_typed_and_is_mended_and_sent(page: Page, company: Company) -> None:
    buyer = company.stage.host("buyer-bot")
    action = order(buyer, buyer.open_session(purpose="Supplies"), "paper")
    open_(page, company, action)
    page.keyboard.press("e")
    page.get_by_label("item").fill("pencils")
    page.locator("#edit-why").fill("clearer")
    page.get_by_role("button", name="As JSON").click()
    whole = page.locator("#args_json")
    expect(whole).to_have_value(re.compile('"item": "pencils"'))
    whole.fill(whole.input_value().replace('"quantity": 4', '"quantity": 1.5'))
    page.get_by_role("button", name="Save and approve").click()
    expect(page.locator("#args-wrong")).to_contain_text("quantity: must be of type")
    expect(whole).to_be_focused()
    expect(page.locator("#edit-why")).to_have_value("clearer")

    page.get_by_role("button", name="As fields").click()
    expect(page.get_by_label("quantity")).to_have_value("1.5")
    page.get_by_label("quantity").fill("0")
    page.get_by_role("button", name="Save and approve").click()
    assert page.get_by_label("quantity").evaluate("field => field.validity.rangeUnderflow")
    page.get_by_label("quantity").fill("2")
    page.get_by_role("button", name="Save and approve").click()
    expect(page.locator("#toasts")).to_contain_text("Your vote counts")
    args = buyer.call("GET", f"/actions/{action['id']}")["args"]
    assert (args["item"], args["quantity"]) == ("pencils", 2)
