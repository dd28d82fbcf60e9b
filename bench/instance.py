"""A benchmark's own instance: real PostgreSQL and Valkey, used by nobody else and gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from agentsec_site import startup


@contextmanager
def fresh() -> Iterator[Path]:
    """Its home, with Django ready to work in it as the site's processes do, for as long as the block lasts.

    What the caller needs of Django's apps it imports by name within the block: models need settings, and
    those need the instance. Raises SetupError where the services cannot start.
    """
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
            yield home
