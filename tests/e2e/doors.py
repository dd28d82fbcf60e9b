"""The pages to which no link leads: the doors, and the page of the person whom a session serves."""

from __future__ import annotations

import time
from collections.abc import Iterator

from playwright.sync_api import Page, expect

from policies import totp
from tests.e2e.company import Company

PASSWORD = "correct horse battery staple"
NAME = "nell"


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
    expect(page.get_by_label("Code of six digits")).to_have_count(0)
    yield "recovery codes"
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


def _link(company: Company, *words: str) -> str:
    """The path of the link that this command prints last."""
    link = company.live.manage("user", *words).stdout.split()[-1]
    return link[link.index("/welcome/") :]
