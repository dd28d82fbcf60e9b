"""Trying policies out in a real browser: a backtest works itself off, the simulator answers in place."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from agentsec_site import packages
from tests.e2e.company import Company

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not packages.chromium(), reason="there is no Chromium: apt-get install chromium"),
]


def test_a_backtest_works_itself_off_while_its_page_is_open(page: Page, company: Company) -> None:
    page.goto(f"{company.live.url}/policies/backtest")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#backtest")).to_contain_text("calls would have come out otherwise")
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_the_simulator_answers_in_place(page: Page, company: Company) -> None:
    page.goto(f"{company.live.url}/policies/simulate")
    page.locator("main").get_by_label("Agent").fill("mail-bot")
    page.locator("main").get_by_label("Tool", exact=True).fill("nothing.known")
    page.get_by_role("button", name="Simulate").click()
    expect(page.locator("#answer")).to_contain_text("nothing.known")
    expect(page.locator("#answer")).to_contain_text("The facts it saw")
    assert page.url.endswith("/policies/simulate")


def test_a_release_is_rolled_back_with_one_button(page: Page, company: Company) -> None:
    changed = company.live.home / "later.yaml"
    changed.write_text("rules: [{name: too-early, effect: allow, tools: [nothing.known]}]")
    company.live.manage("apply", str(changed))
    page.goto(f"{company.live.url}/policies/releases")
    page.get_by_role("link", name="Roll back to").first.click()
    expect(page.get_by_role("region", name="rule too-early: removed")).to_contain_text("nothing.known")
    page.get_by_role("button", name="Make release").click()
    expect(page.locator("main")).to_contain_text("decides now")
    expect(page.get_by_role("region", name="rule too-early: removed")).to_be_visible()
