"""`manage.py test`: everything that proves agentsec, with pytest; further arguments are pytest's.

It runs in three processes at once, each file in one of them with services of its own, and what needs the
same whole instance together; `-n 0` runs in one.
"""

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
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *_at_once(argv[2:]), *argv[2:]])


def _at_once(words: list[str]) -> list[str]:
    """How many processes pytest uses, where nobody said it: those that wait for instances leave room for one
    more that computes.
    """
    if any(word.startswith(("-n", "--numprocesses", "--pdb")) for word in words):
        return []
    return ["-n", str(min(3, 1 + (os.cpu_count() or 1))), "--dist", "loadfile", "--no-loadscope-reorder"]
