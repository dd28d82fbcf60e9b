"""What a process loads when it starts, and what it does with it."""

from __future__ import annotations

import subprocess
import sys

from agentsec_site.embedded import REPOSITORY

SCRIPT = """
import gc, sys
gc.disable()
import django
django.setup()
print("policies.admin" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 10_000)
from django.contrib import admin
from policies.models import Rule
print(bool(admin.site.get_urls()), admin.site.is_registered(Rule))
"""


def test_the_admin_is_loaded_where_it_is_shown_and_what_loaded_is_never_searched_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False True True", "True True"]
