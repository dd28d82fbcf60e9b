"""What happens before Django loads: the services, the home's keys, the database's roles and schema."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.core.management import execute_from_command_line, load_command_class

from agentsec_site import embedded, provision
from agentsec_site.embedded import Services
from agentsec_site.home import SetupError

# These only start other processes, and need no apps loaded for that: it spares a second.
OWN_PROCESSES = frozenset({"up", "demo", "test", "bench"})
# These need no database either: they check or print.
WITHOUT_SERVICES = OWN_PROCESSES | {
    "schema",
    "facts",
    "propose-tools",
    "help",
    "check",
    "makemigrations",
    "version",
}
AS_SEQUENCER = frozenset({"sequencer"})


@dataclass(frozen=True)
class Ready:
    """An instance whose services, keys and schema are there."""

    services: Services
    urls: provision.Urls

    def environment(self, role: str = "app") -> dict[str, str]:
        """The environment of a site process that works as the role `app` or `sequencer`."""
        return provision.child_environment(self.services, getattr(self.urls, role))


def home_folder() -> Path:
    """The home that `--home` or AGENTSEC_HOME names; `var/` beside manage.py otherwise."""
    return Path(os.environ.get("AGENTSEC_HOME") or embedded.REPOSITORY / "var").absolute()


def began() -> float:
    """When the first process of this command began (before it installed anything), in Unix time."""
    return float(os.environ.get("AGENTSEC_BEGAN") or time.time())


@contextmanager
def ready(root: Path) -> Iterator[Ready]:
    """Services up, keys made, schema current, for as long as the block lasts. Raises SetupError."""
    with embedded.running(root) as services:
        yield Ready(services=services, urls=provision.provision(services))


def main(arguments: Sequence[str]) -> int:
    """Run one command of manage.py; the ones that need the database find it running and current."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentsec_site.settings")
    arguments, home = take_home(arguments)
    if home:
        os.environ["AGENTSEC_HOME"] = str(Path(home).absolute())
    try:
        with ExitStack() as stack:
            if needs_services(arguments):
                role = "sequencer" if arguments[1] in AS_SEQUENCER else "app"
                instance = stack.enter_context(ready(home_folder()))
                _replace_environment(instance.environment(role))
            _execute(list(arguments))
    except SetupError as error:
        print(f"agentsec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _execute(arguments: list[str]) -> None:
    if arguments[1:2] and arguments[1] in OWN_PROCESSES:
        load_command_class("agentsec_site", arguments[1]).run_from_argv(arguments)
    else:
        # Thousands of modules load and stay: looking through them again and again is a fifth of a start.
        gc.disable()  # until `SiteConfig.ready`
        execute_from_command_line(arguments)


def take_home(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The arguments without `--home DIR`, and DIR: it must be known before settings load."""
    rest: list[str] = []
    home = ""
    words = iter(arguments)
    for word in words:
        if word == "--home":
            home = next(words, "")
            if not home or home.startswith("--"):
                raise SystemExit("agentsec: --home needs a folder")
        elif word.startswith("--home="):
            home = word.removeprefix("--home=")
        else:
            rest.append(word)
    return rest, home


def needs_services(arguments: Sequence[str]) -> bool:
    """Whether the command uses the database and nobody has given its address yet."""
    if len(arguments) < 2 or os.environ.get("AGENTSEC_DATABASE_URL"):
        return False
    asks_help = any(word in ("-h", "--help", "--version") for word in arguments[1:])
    return not asks_help and arguments[1] not in WITHOUT_SERVICES


def _replace_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
