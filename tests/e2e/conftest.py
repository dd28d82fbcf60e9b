from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentsec_site.demo import mailbox
from tests.e2e.company import Company, open_company
from tests.live import Live, make_home


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A running company and a real SMTP server, shared by the end-to-end tests."""
    folder: Path = tmp_path_factory.mktemp("mail")
    live = Live(home=make_home(), command="demo")
    try:
        live.start("--idle")
        with mailbox.running(folder) as smtp:
            opened = open_company(live, smtp, folder)
            yield opened
            opened.stage.stop.set()
            opened.pool.shutdown()
    finally:
        live.remove()
