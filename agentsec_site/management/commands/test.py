"""`manage.py test`: everything that proves agentsec, with pytest; further arguments are pytest's."""

from __future__ import annotations

import os
import sys

from agentsec_site import packages
from agentsec_site.embedded import REPOSITORY, say
from agentsec_site.management.base import AgentsecCommand


class Command(AgentsecCommand):
    help = "Install what the tests need and run them; every further argument goes to pytest."

    def run_from_argv(self, argv: list[str]) -> None:
        if any(word in ("-h", "--help") for word in argv[2:]):
            self.print_help(argv[0], argv[1])
            return
        packages.install(packages.missing_for_tests(), say=say)
        os.chdir(REPOSITORY)
        sys.stdout.flush()
        # The tests make a home of their own; replacing this process leaves pytest the last word.
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *argv[2:]])
