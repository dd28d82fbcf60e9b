#!/usr/bin/env python3
"""The one command of agentsec. Without its packages it first makes .venv beside itself and installs them."""

import sys

if sys.version_info < (3, 11):
    sys.exit("agentsec needs Python 3.11 or later; this is %d.%d" % sys.version_info[:2])

from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from agentsec_site.bootstrap import enter_environment

if __name__ == "__main__":
    enter_environment(sys.argv)
    from agentsec_site.startup import main

    sys.exit(main(sys.argv))
