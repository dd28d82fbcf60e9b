from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agentsec_site import packages
from agentsec_site.demo import mailbox
from tests import receiver
from tests.e2e.company import Company, open_company
from tests.live import Live, made_home
from tests.receiver import Receiver
from tests.sharing import shared

# Two cores, eight processes and a browser: what is told live comes, but not always within five seconds.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def echo() -> Iterator[Receiver]:
    """A server that the company's tools may reach: what it answers, tests say."""
    with receiver.running() as running:
        yield running


@pytest.fixture(scope="session")
def company(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, echo: Receiver
) -> Iterator[Company]:
    """A running company and a real SMTP server, shared by the end-to-end tests."""
    shared(request)
    folder: Path = tmp_path_factory.mktemp("mail")
    live = Live(home=made_home(), command="demo", environment={"AGENTSEC_FETCH_ALLOW": echo.entry})
    try:
        live.start("--idle")
        with mailbox.running(folder) as smtp:
            opened = open_company(live, smtp, folder)
            yield opened
            opened.stage.stop.set()
            opened.pool.shutdown()
    finally:
        live.remove()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=packages.chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, company: Company) -> Iterator[Page]:
    """An empty page of the demo's person. A script error or a breach of the content policy fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on(
        "console",
        lambda told: trouble.append(told.text) if "Content Security Policy" in told.text else None,
    )
    # Signed in without drawing an inbox that no test looks at first.
    context.request.get(company.live.link, max_redirects=0)
    yield opened
    context.close()
    assert trouble == []
