"""Every page of the site, found as a person finds it: by following links from the first one.

A kind of page is a named address, so of a thousand sessions one is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from urllib.parse import parse_qsl, urlsplit

from django.urls import Resolver404, resolve
from playwright.sync_api import Error, Page

LINKS = "[...new Set([...document.querySelectorAll('a[href]')].map((each) => each.href))]"
# Queries of which each value is a page of its own, and not a place in a list.
TELLING = frozenset({"show"})
# They leave the site's pages: files, the way out, and addresses that only lead on to another page.
NO_PAGES = ("artifact", "evidence", "sign-out", "openapi", "export")


def kind_of(url: str) -> str:
    """What kind of page an address leads to; empty for what is none of the site's pages."""
    parts = urlsplit(url)
    try:
        found = resolve(parts.path)
    except Resolver404:
        return ""
    query = [f"{name}={value}" for name, value in parse_qsl(parts.query) if name in TELLING]
    name = found.view_name or parts.path
    return "" if any(word in name for word in NO_PAGES) else "?".join([name, *query])


def pages(
    page: Page, base: str, *, also: Iterable[str] = (), alike: Callable[[str], str] = str
) -> Iterator[str]:
    """Open each kind of page once and yield its kind, the page being open; `also` are further paths, and of
    the kinds that are the same by `alike` one is opened.
    """
    waiting = [("", f"{base}/"), *((path, f"{base}{path}") for path in also)]
    seen: set[str] = set()
    while waiting:
        kind, url = waiting.pop(0)
        kind = kind or kind_of(url) or url
        if alike(kind) in seen or not _open(page, url):
            continue
        seen |= {kind, alike(kind)}
        yield kind
        # What the caller did to the page may have led elsewhere: its links were those that it had before.
        if page.url.split("#")[0] != url.split("#")[0] and not _open(page, url):
            continue
        waiting += _links(page, base, seen)


def _links(page: Page, base: str, seen: set[str]) -> list[tuple[str, str]]:
    inside = [url.split("#")[0] for url in page.evaluate(LINKS) if url.startswith(f"{base}/")]
    kinds = {kind_of(url): url for url in reversed(inside)}
    return [(kind, url) for kind, url in reversed(kinds.items()) if kind and kind not in seen]


def _open(page: Page, url: str) -> bool:
    """Whether it is a page that this person may see."""
    try:
        answer = page.goto(url, wait_until="load")
    except Error as error:
        if "Download is starting" in str(error):
            return False
        raise
    return answer is not None and answer.ok and "text/html" in answer.headers.get("content-type", "")
