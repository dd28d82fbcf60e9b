"""`manage.py signing-key list|rotate|remove`: the keys that sign tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from agentsec_site.management.base import AgentsecCommand
from policies import signing_keys
from policies.access import OPERATOR


class Command(AgentsecCommand):
    help = "List the keys that sign tokens, let a new one take over, or end one that is in wrong hands."

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="list|rotate|remove")
        rotate = acts.add_parser("rotate", help="publish a new key that takes over in ten minutes")
        rotate.add_argument("--now", action="store_true", help="let it sign at once")
        remove = acts.add_parser("remove", help="publish a key no more: every token that it signed ends")
        remove.add_argument("kid", metavar="KID")
        for act in (acts.add_parser("list", help="each with its age and use"), rotate, remove):
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        ACTS[options["act"]](self, options)

    def list(self, options: dict[str, Any]) -> None:
        now = timezone.now()
        for key in signing_keys.listed(now):
            used = f"last used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            age = f"{(now - key.created_at).days} days old"
            living = f"{key.living_tokens} living tokens"
            self.stdout.write(
                f"{key.kid}  {key.alg}  {key.state}  {age}  {key.uses} tokens, {used}  {living}"
            )

    def rotate(self, options: dict[str, Any]) -> None:
        row = signing_keys.rotate(by=OPERATOR, at_once=options["now"])
        self.stdout.write(f"{row.kid} ({row.alg}) signs from {row.signs_from:%Y-%m-%d %H:%M:%S} UTC.")

    def remove(self, options: dict[str, Any]) -> None:
        signing_keys.remove(kid=options["kid"], by=OPERATOR)
        self.stdout.write("It is published no more; its tokens end when verifiers fetch the keys again.")


ACTS: dict[str, Callable[[Command, dict[str, Any]], None]] = {
    "list": Command.list,
    "rotate": Command.rotate,
    "remove": Command.remove,
}
