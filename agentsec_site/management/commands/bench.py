"""`manage.py bench NAME`: measure one part of agentsec on this machine."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

# Each module has run(argv: list[str]) -> None, which prints its report.
NAMES = {
    "engine": "bench.engine",
    "provenance": "bench.provenance",
}


class Command(BaseCommand):
    help = "Measure one part of agentsec on this machine."
    # A benchmark says itself what it needs; most need no database.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=sorted(NAMES))
        parser.add_argument("options", nargs="*", help="what the benchmark itself takes")

    def handle(self, *args: Any, **options: Any) -> None:
        root = str(settings.BASE_DIR)
        if root not in sys.path:
            sys.path.insert(0, root)
        import_module(NAMES[options["name"]]).run(options["options"])
