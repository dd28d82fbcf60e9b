"""`manage.py resume SCOPE`: lift the kill switch."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import limits
from policies.access import OPERATOR
from policies.models import Switch


class Command(AgentsecCommand):
    help = "Let what the kill switch stopped run again."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("scope", metavar="SCOPE", help="exactly as it was stopped")

    def run(self, **options: Any) -> None:
        limits.lift(scope=options["scope"], by=OPERATOR)
        left = list(Switch.objects.order_by("at").values_list("scope", flat=True))
        more = f" Still stopped: {', '.join(left)}." if left else ""
        self.stdout.write(f"{options['scope']} runs again.{more}")
