"""Who knows no CEL makes a rule by rows, sees the CEL, saves, publishes, and it decides."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from agentsec_site import packages
from tests.e2e.company import Company

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not packages.chromium(), reason="there is no Chromium: apt-get install chromium"),
]


def fill(page: Page) -> None:
    """What a person does who wants small orders of one supplier blocked, by keyboard where it is quicker."""
    page.get_by_label("Name:").fill("no-acme")
    page.get_by_label("Effect:").select_option("block")
    page.locator("#id_tools").press_sequentially("order.pl")
    page.locator("#id_tools").press("Enter")
    expect(page.locator("#cond-concerns")).to_have_text("Fits order.place.")
    page.get_by_role("button", name="Add a row").click()
    page.get_by_label("What is compared").select_option(label="supplier")
    page.get_by_label("How", exact=True).select_option(label="is")
    page.get_by_label("Value", exact=True).fill('Acme "Ltd"')


def test_a_rule_made_of_rows_decides(page: Page, company: Company) -> None:
    page.goto(f"{company.live.url}/admin/policies/rule/add/")
    fill(page)
    expect(page.locator("#cond-text")).to_have_text('has(args.supplier) && args.supplier == "Acme \\"Ltd\\""')
    expect(page.locator("#cond-said")).to_have_text(
        'Block when any agent calls order.place and supplier is "Acme \\"Ltd\\""'
    )

    # A row that says nothing yet is not lost on the way: saving waits for it.
    page.get_by_role("button", name="Add a row").click()
    page.get_by_label("What is compared").last.select_option(label="quantity")
    page.get_by_label("How", exact=True).last.select_option(label="is at most")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("give a value")).to_be_visible()
    page.get_by_label("Value", exact=True).last.fill("3")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.locator("#result_list")).to_contain_text("and quantity is at most 3")
    page.get_by_role("link", name="Publish the draft").click()
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("decides from now on")).to_be_visible()
    assert [order(company, quantity)["state"] for quantity in (3, 4)] == ["blocked", "pending"]


def order(company: Company, quantity: int) -> Any:
    """What becomes of an order that the agent proposes."""
    agent = company.stage.agent("buyer-bot")
    wanted = {"supplier": 'Acme "Ltd"', "item": "Lamp", "quantity": quantity, "amount": 20, "currency": "EUR"}
    action = agent.propose(agent.open_session(purpose="Lamps"), "order.place", wanted)
    if action["state"] == "pending":
        # Others look for orders that wait.
        agent.call("POST", f"/actions/{action['id']}/cancel")
    return action


def test_cel_by_hand_is_completed_and_its_mistake_marked(page: Page, company: Company) -> None:
    # The first answer comes late: whoever has turned to CEL meanwhile stays there.
    late: list[Route] = []
    page.route("**/draft/", lambda route: late.append(route), times=1)
    page.goto(f"{company.live.url}/admin/policies/rule/add/")
    page.locator("#id_tools").fill("order.place")
    page.get_by_role("tab", name="CEL").click()
    text = page.locator("#id_when")
    text.press_sequentially("args.")
    late.pop().continue_()
    page.get_by_role("option", name="args.amount").click()
    text.press_sequentially(" * 2 > sesion.")
    expect(page.locator(".cond-problem")).to_contain_text("Line 1, column")
    text.press("Control+A")
    text.press_sequentially("args.amount * 2 > session.")
    page.get_by_role("option", name="session.calls").wait_for()
    text.press("ArrowDown")
    text.press("ArrowDown")
    text.press("Enter")
    expect(text).to_have_value("args.amount * 2 > session.calls")
    expect(page.locator(".cond-problem")).to_have_count(0)
    page.get_by_role("tab", name="Rows").click()
    expect(page.get_by_text("Written by hand: rows cannot show it.")).to_be_visible()


def test_a_condition_that_nobody_touched_is_saved_as_it_was_written(page: Page, company: Company) -> None:
    page.goto(f"{company.live.url}/admin/policies/rule/?q=deploys")
    page.get_by_role("link", name="deploys", exact=True).click()
    expect(page.get_by_label("What is compared")).to_be_visible()
    written = page.locator("#id_when").input_value()
    page.get_by_label("How", exact=True).select_option(label="is not")
    expect(page.locator("#cond-text")).to_contain_text("!=")
    page.get_by_label("How", exact=True).select_option(label="is")
    expect(page.locator("#cond-text")).to_contain_text("==")
    expect(page.locator("#id_when")).to_have_value(written)
    assert "'production'" in written
