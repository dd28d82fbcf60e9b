"""`manage.py passkeys`: the passkeys that people registered, for an auditor to pin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from agentsec_site.management.base import AgentsecCommand
from policies import passkeys


class Command(AgentsecCommand):
    help = (
        "Write every passkey that the log says was registered as JSON, for `verify.pyz --passkeys`; compare "
        "them with what their people hold before you pin them."
    )

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="where to (default: print them)"
        )

    def run(self, **options: Any) -> None:
        text = json.dumps(passkeys.registered(), indent=2) + "\n"
        if options["file"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["file"].write_text(text)
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be written: {error.strerror}") from None
