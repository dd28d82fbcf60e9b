"""`manage.py secret set|list`: values that tools name and nobody reads back."""

from __future__ import annotations

import getpass
import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import accounts, secrets
from policies.access import OPERATOR
from policies.models import Secret


class Command(AgentsecCommand):
    help = "Store a secret, read from standard input, or list the names of those that are stored."

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="set|list")
        store = acts.add_parser(
            "set", help="store or replace a value; never an argument, which others could see"
        )
        store.add_argument("name", metavar="NAME")
        store.add_argument(
            "--overlap", type=int, metavar="MINUTES",
            help="how long the value before stays usable (default: as the tools that name it say)",
        )  # fmt: skip
        store.add_argument("--days", type=int, help="after how many days people are to replace it")
        for act in (store, acts.add_parser("list", help="names only; no value is ever shown")):
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        if options["act"] == "list":
            for name in Secret.objects.order_by("name").values_list("name", flat=True):
                self.stdout.write(name)
            return
        overlap = timedelta(minutes=options["overlap"]) if options["overlap"] is not None else None
        ends = accounts.in_days(options["days"]) if options["days"] is not None else None
        secrets.put(
            name=options["name"], value=_value(options["name"]), by=OPERATOR, overlap=overlap, expires_at=ends
        )
        self.stdout.write(f"The secret {options['name']} is stored.")


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"Value of {name}: ")
    try:
        text = sys.stdin.buffer.read(secrets.MAX_BYTES + 2).decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("the value is not UTF-8 text") from None
    # A shell's `echo` ends in a newline that is no part of the value.
    return text.removesuffix("\n").removesuffix("\r")
