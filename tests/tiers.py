"""The sandbox under one tier and no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from approvals.sandbox.backend import TIER_VARIABLE


@contextlib.contextmanager
def forced_tier(tier: str) -> Iterator[None]:
    """Insist on `cgroup` or `poller` while the block lasts."""
    before = os.environ.get(TIER_VARIABLE)
    os.environ[TIER_VARIABLE] = tier
    try:
        yield
    finally:
        os.environ.pop(TIER_VARIABLE)
        if before is not None:
            os.environ[TIER_VARIABLE] = before
