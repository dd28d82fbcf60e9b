"""How long tests try: races and made-up examples. AGENTSEC_TEST_LONG=1 asks for more of both."""

from __future__ import annotations

import os

LONG = os.environ.get("AGENTSEC_TEST_LONG") == "1"
