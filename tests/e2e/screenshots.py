"""Pictures of every page, for `docs/pages.md`: `python -m tests.e2e.screenshots [FOLDER]`.

It starts the demonstration's company, lets things happen in it, follows every link as the tests do, and
takes each kind of page once: light, and the daily ones dark and as wide as a phone too. Then come the pages
to which no link leads.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
from playwright.sync_api import Page, sync_playwright

from agentsec_site import packages
from agentsec_site.demo import mailbox
from agentsec_site.embedded import REPOSITORY
from tests.e2e.company import Company, open_company
from tests.e2e.crawl import pages
from tests.e2e.doors import ask_of_two, doors
from tests.live import Live, make_home

PURPOSE = "Take pictures of every page of the demonstration, in place of those in FOLDER/pages."
SCENES = ("mail", "csv", "deploy", "injection", "order")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
# The rooms where people spend their day are shown in the dark and on a phone too.
DAILY = ("inbox", "action", "traces", "trace-session", "admin:index")
HEAD = """# Every page

Taken from the demonstration with `python -m tests.e2e.screenshots`; each kind of page once.
"""


@contextmanager
def company() -> Iterator[Company]:
    """The demonstration's company with something of every kind in it."""
    with tempfile.TemporaryDirectory() as folder:
        live = Live(home=make_home(), command="demo")
        try:
            live.start("--idle")
            with mailbox.running(Path(folder)) as smtp:
                opened = open_company(live, smtp, Path(folder))
                fill(opened)
                yield opened
                opened.stage.stop.set()
                opened.pool.shutdown()
        finally:
            live.remove()


def fill(company: Company) -> None:
    """Play scenes, and decide some of what they ask."""
    for scene in SCENES:
        company.play(scene)
    for tool, fits in (("email.send", "101"), ("python.run", "summary.json")):
        company.decide(company.waiting(tool, ready=lambda item, fits=fits: fits in json.dumps(item["args"])))
    company.waiting("email.send", ready=lambda item: "collector" in json.dumps(item["args"]))


def cards(company: Company) -> list[str]:
    """The address of one waiting action a tool."""
    waiting = company.people["demo"].call("GET", "/inbox?limit=100")["actions"]
    return [f"/?open={item['id']}" for item in {item["tool"]: item for item in waiting}.values()]


def take(page: Page, company: Company, folder: Path) -> list[str]:
    """The names of the pictures taken, in the order in which a person comes upon the pages."""
    taken = []
    for kind in pages(page, company.live.url, also=cards(company)):
        name = _name(kind, len(taken))
        for theme in ("light", "dark") if kind in DAILY else ("light",):
            page.evaluate("name => document.documentElement.dataset.theme = name", theme)
            page.wait_for_timeout(300)
            taken.append(_shot(page, folder, f"{name}-{theme}" if theme == "dark" else name))
        if kind in DAILY:
            page.evaluate("document.documentElement.dataset.theme = 'light'")
            page.set_viewport_size(PHONE)
            taken.append(_shot(page, folder, f"{name}-phone"))
            page.set_viewport_size(WIDE)
    return taken


def take_doors(page: Page, company: Company, folder: Path) -> list[str]:
    """The names of the pictures of what no link leads to, by a browser that nobody is signed in to."""
    return [_shot(page, folder, _name(name, 0)) for name in doors(page, company)]


def take_many(page: Page, company: Company, folder: Path) -> list[str]:
    """The question whether many are decided together, and then its answer: no."""
    asked = ask_of_two(page, company)
    taken = [_shot(page, folder, "bulk-confirm")]
    for item in asked:
        company.decide(item, "reject", comment="seen enough")
    return taken


def _name(kind: str, number: int) -> str:
    """A file name for a kind of page."""
    if kind.startswith("/?open="):
        return f"card-{number}"
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def _shot(page: Page, folder: Path, name: str) -> str:
    page.screenshot(path=folder / f"{name}.jpg", type="jpeg", quality=72)
    return name


def write_list(names: list[str], path: Path) -> None:
    """One heading and picture a page."""
    lines = [f"\n## {name}\n\n![{name}](pages/{name}.jpg)\n" for name in names]
    path.write_text(HEAD + "".join(lines))


def main(words: list[str]) -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.e2e.screenshots", description=PURPOSE)
    asked.add_argument("folder", type=Path, nargs="?", default=REPOSITORY / "docs", help="default: docs")
    docs: Path = asked.parse_args(words).folder
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentsec_site.settings")
    django.setup()
    folder = docs / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    with company() as opened, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=packages.chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=WIDE, reduced_motion="reduce")
        page.goto(opened.live.link)
        names = take(page, opened, folder) + take_many(page, opened, folder)
        stranger = browser.new_page(viewport=WIDE, reduced_motion="reduce")
        write_list(names + take_doors(stranger, opened, folder), docs / "pages.md")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
