from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.traces.ledger import Ledger


@pytest.fixture
def ledger(transactional_db: None, sequencer_dsn: str, superuser: psycopg.Connection[Any]) -> Ledger:
    return Ledger(sequencer_dsn, superuser)
