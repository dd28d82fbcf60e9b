"""`manage.py token create|revoke USER`: personal tokens for the reviewer calls of the API."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from agentsec_site.management.base import AgentsecCommand
from policies import people
from policies.access import OPERATOR
from policies.models import PersonalToken


class Command(AgentsecCommand):
    help = "Print a personal token for a person's own scripts, or end all tokens of a person."

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="create|revoke")
        create = acts.add_parser("create", help="print a token, as the last word")
        create.add_argument("--days", type=int, default=people.TOKEN_DAYS, help="default: %(default)s")
        revoke = acts.add_parser("revoke", help="end all tokens of the person")
        for act in (create, revoke):
            act.add_argument("name", metavar="USER")
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        user = people.named(options["name"])
        if options["act"] == "create":
            raw = people.issue_token(user, days=options["days"], by=OPERATOR)
            self.stdout.write(f"Token of {user.username} for {options['days']} days, shown this once: {raw}")
            return
        tokens = list(PersonalToken.objects.usable(timezone.now()).filter(user=user))
        for token in tokens:
            people.revoke_token(token=token, by=OPERATOR)
        self.stdout.write(f"{len(tokens)} token{'s' if len(tokens) != 1 else ''} of {user.username} ended.")
