"""How long tests try: races and made-up examples. AGENTSEC_TEST_LONG=1 asks for more of both."""

from __future__ import annotations

import os

LONG = os.environ.get("AGENTSEC_TEST_LONG") == "1"


def tries(number: int) -> int:
    """How many made-up examples to try: all of them where it may take long, else a quarter."""
    return number if LONG else max(1, number // 4)
