"""An instance that nobody else uses and that goes away again, for benchmarks that need a real database."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from agentsec_site import startup


@contextmanager
def fresh() -> Iterator[None]:
    """PostgreSQL and Valkey of their own, provisioned as in production, and Django set up on them."""
    with tempfile.TemporaryDirectory(prefix="agentsec-bench-") as folder:
        home = Path(folder)
        # The services' account must be able to walk in; the keys inside stay closed.
        home.chmod(0o711)
        for name in ("DATABASE_URL", "REDIS_URL", "AGENTSEC_DATABASE_URL"):
            os.environ.pop(name, None)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentsec_site.settings")
        os.environ |= {"AGENTSEC_HOME": str(home), "AGENTSEC_EMBEDDED_FSYNC": "off"}
        with startup.ready(home) as instance:
            os.environ |= instance.environment()
            django.setup()
            yield
