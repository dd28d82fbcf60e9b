"""How tests are dealt out to processes: a file stays whole, and files that share an instance stay together.

An instance takes ten seconds to start and time of every core while it lives, so each is started once. The
files that need one begin, since they wait most; the others fill what is left.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

from agentsec_site.embedded import REPOSITORY

# By the word that such a file cannot do without.
INSTANCES = ("company", "live_instance")
# It counts what its own company did, so nobody else's acts may stand in the way.
ALONE = "tests/e2e/test_scenes.py"


@cache
def place(file: str) -> str:
    """The instance that a file of tests shares with others, else the file itself (from the repository)."""
    path = REPOSITORY / file
    if file == ALONE or file != "tests/site/test_up.py" and Path(file).parts[:2] != ("tests", "e2e"):
        return file
    text = path.read_text() if path.is_file() else ""
    return next((name for name in INSTANCES if name in text), file)


class Dealing(LoadFileScheduling):
    """pytest-xdist's scheduling by file, with the files of one instance as if they were one file."""

    def _split_scope(self, nodeid: str) -> str:
        return place(nodeid.partition("::")[0])
