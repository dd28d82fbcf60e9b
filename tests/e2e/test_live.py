"""The inbox in a real browser while much comes and goes, and while Redis is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.test_inbox import expect, live, nothing_to_complain_about, office, row

__all__ = ["nothing_to_complain_about", "office"]
pytestmark = pytest.mark.e2e

# What the list does to the page, counted from inside.
WATCH = """() => {
    window.seen = { operations: 0, long: [] };
    new MutationObserver((all) => {
        for (const { type, addedNodes, removedNodes } of all) {
            window.seen.operations += type === "childList" ? addedNodes.length + removedNodes.length : 1;
        }
    }).observe(document.getElementById("rows"), { childList: true, subtree: true, attributes: true });
    const long = (found) => window.seen.long.push(...found.getEntries().map((one) => one.duration));
    new PerformanceObserver(long).observe({ type: "longtask" });
}"""
TOP = "id => document.getElementById(`row-${id}`).getBoundingClientRect().top"


@pytest.fixture
def killed_valkey(office: Any) -> Iterator[psutil.Process]:
    """The instance's own Valkey; whoever kills it relies on the instance to start it again."""
    home = str(office.live.home)
    found = [
        process
        for process in psutil.process_iter()
        if "valkey" in process.name() or "redis" in process.name()
        if home in " ".join([*process.cmdline(), process.cwd()])
    ]
    assert len(found) == 1
    yield found[0]


def test_a_killed_redis_shows_a_banner_and_is_caught_up_by_itself(
    office: Any, killed_valkey: psutil.Process
) -> None:
    ada, cy = office.page("ada"), office.page("cy")
    live(ada, cy)
    action = office.mass_mail("Before")
    expect(row(ada, action)).to_be_visible()
    ada.evaluate("window.sameDocument = true")
    killed_valkey.send_signal(signal.SIGKILL)
    expect(ada.locator("#banner")).to_contain_text("interrupted", timeout=15_000)
    # PostgreSQL decides; Redis only rings.
    row(cy, action).locator("a").click()
    cy.locator("#approve-form button[type=submit]").click()
    expect(row(cy, action)).to_have_count(0)
    new = office.mass_mail("Meanwhile")
    expect(ada.locator("#banner")).to_be_hidden(timeout=30_000)
    expect(row(ada, new)).to_be_visible()
    expect(row(ada, action)).to_have_count(0)
    assert ada.evaluate("window.sameDocument") is True
    office.forgive_lost_requests()


def test_what_one_reads_stays_in_place_while_more_urgent_ones_arrive(office: Any, tmp_path: Path) -> None:
    soon = tmp_path / "soon.yaml"
    soon.write_text(
        "rules: [{name: soon, effect: ask, tools: [deploy], approvers: comms, expires_after: 5m}]"
    )
    office.live.manage("apply", str(soon))
    late = [
        office.propose("order.place", {"supplier": f"S{n}", "item": "paper", "amount": 20_000})
        for n in range(12)
    ]
    ada = office.page("ada")
    ada.set_viewport_size({"width": 1280, "height": 420})
    live(ada)
    row(ada, late[6]).locator("a").click()
    expect(ada.locator(f"#card[data-id='{late[6]['id']}']")).to_be_visible()
    row(ada, late[6]).scroll_into_view_if_needed()
    ada.evaluate(WATCH)
    before = ada.evaluate(TOP, late[6]["id"])
    urgent = [office.propose("deploy", {"target": f"site-{n}"}) for n in range(3)]
    expect(row(ada, urgent[2])).to_be_attached()
    assert abs(ada.evaluate(TOP, late[6]["id"]) - before) <= 1
    expect(ada.locator("#new-above")).to_have_text("3 new above ↑")
    assert ada.evaluate("window.seen.operations") <= 3 * 8
    ada.locator("#new-above").click()
    expect(row(ada, urgent[0])).to_be_in_viewport()
