"""`manage.py user create|reset|forget-factors NAME`: people, their links, and a lost device."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import factors, people
from policies.access import OPERATOR
from policies.models import Role


class Command(AgentsecCommand):
    help = "Create a person and print the link by which they set a password; or print a link for a new one."

    def arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="create|reset|forget-factors")
        create = acts.add_parser("create", help="create a person; the invitation link is printed last")
        create.add_argument("--groups", default="", help="teams and approver groups: a,b; made if missing")
        known = ", ".join(Role.values)
        default = ",".join(people.DEFAULT_ROLES)
        create.add_argument("--roles", default=default, help=f"of {known} (default: {default})")
        create.add_argument("--email", default="", help="for reset links by mail")
        reset = acts.add_parser("reset", help="print a link by which the person sets a new password")
        forget = acts.add_parser("forget-factors", help="forget passkeys, app and codes of who lost them")
        for act in (create, reset, forget):
            act.add_argument("name", metavar="NAME")
            act.add_argument("--home", metavar="DIR", help="where this instance keeps its state")

    def run(self, **options: Any) -> None:
        if options["act"] == "create":
            self.create(options)
        elif options["act"] == "forget-factors":
            factors.reset(user=people.named(options["name"]), by=OPERATOR)
            self.stdout.write(f"{options['name']} has no second factor any more.")
        else:
            user = people.named(options["name"])
            self.stdout.write(f"{user.username} opens this within 30 minutes: {self.link(user)}")

    def create(self, options: dict[str, Any]) -> None:
        invited = people.create_user(
            name=options["name"],
            groups=people.listed(options["groups"]),
            roles=people.listed(options["roles"]),
            email=options["email"],
            by=OPERATOR,
        )
        for group in invited.new_groups:
            self.stdout.write(f"Group {group} created.")
        self.stdout.write(f"{invited.user.username} opens this within 30 minutes: {invited.link.url}")

    def link(self, user: people.User) -> str:
        verb = people.reset if user.has_usable_password() else people.invite
        return verb(user=user, by=OPERATOR).url
