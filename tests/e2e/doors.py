"""What no link leads to: the doors, the page of the person whom a session serves, the question of many."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Page, expect

from policies import totp
from tests.e2e.company import Company

PASSWORD = "correct horse battery staple"
NAME = "nell"
# So many recipients that somebody is asked.
MANY = [f"reader{number}@acme.example" for number in range(101)]


def doors(page: Page, company: Company) -> Iterator[str]:
    """Open each with a browser that nobody is signed in to, and yield its name, the page being open.

    Makes a person called `nell` with an authenticator app; the question of /mine is answered at the end.
    """
    base = company.live.url
    for path in ("sign-in", "reset"):
        page.goto(f"{base}/{path}")
        yield path
    yield from _invited(page, company)
    yield from _served(page, company)


def _invited(page: Page, company: Company) -> Iterator[str]:
    base = company.live.url
    page.goto(base + _link(company, "create", NAME, "--groups", "elsewhere"))
    yield "welcome"
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.locator("main button[type=submit]").click()
    page.wait_for_url(f"{base}/")
    page.goto(f"{base}/account/app")
    secret = page.locator("#key").inner_text()
    page.get_by_label("Code of six digits").fill(totp.code(secret, int(time.time()) // totp.STEP_SECONDS))
    page.get_by_role("button", name="Add this app").click()
    expect(page.get_by_role("button", name="Remove the app")).to_be_visible()
    page.context.clear_cookies()
    page.goto(f"{base}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.locator("main button[type=submit]").click()
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    yield "second factor"
    page.goto(base + _link(company, "reset", NAME))
    yield "new password"


def _served(page: Page, company: Company) -> Iterator[str]:
    scene = company.play("trip")
    asked, host = company.waiting("trip.book"), company.stage.host("travel-bot")
    page.goto(host.call("POST", f"/sessions/{asked['session']}/confirmation-link", {})["url"])
    yield "mine door"
    page.get_by_role("button", name="Go on as demo").click()
    expect(page.locator(".mine-ask")).to_have_count(1)
    page.locator(".mine-no summary").click()
    yield "mine"
    said = {"verdict": "reject", "digest": asked["digest"], "user": "demo", "comment": "seen enough"}
    host.call("POST", f"/actions/{asked['id']}/confirmation", said)
    scene.result(60)


def ask_of_two(page: Page, company: Company) -> list[dict[str, Any]]:
    """Open the question whether two mails are approved together; the page is a signed-in reviewer's."""
    agent = company.stage.agent("mail-bot")
    session, letter = agent.open_session(purpose="News"), {"to": MANY, "subject": "News", "body": "Hello"}
    mails = [agent.propose(session, "email.send", letter) for _ in "12"]
    page.goto(f"{company.live.url}/?open={mails[0]['id']}")
    for mail in mails:
        page.locator(f"#row-{mail['id']} .tick input").check()
    page.get_by_role("button", name="Approve…").click()
    expect(page.locator(".bulk-list > li")).to_have_count(2)
    return mails


def _link(company: Company, *words: str) -> str:
    """The path of the link that this command prints last."""
    link = company.live.manage("user", *words).stdout.split()[-1]
    return link[link.index("/welcome/") :]
