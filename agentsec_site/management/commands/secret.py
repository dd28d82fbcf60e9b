"""`manage.py secret set|list`: values that tools name and nobody reads back."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import secrets
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
        for act in (store, acts.add_parser("list", help="names only; no value is ever shown")):
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        if options["act"] == "list":
            for name in Secret.objects.order_by("name").values_list("name", flat=True):
                self.stdout.write(name)
            return
        secrets.put(name=options["name"], value=_value(options["name"]), by=OPERATOR)
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
