"""Everything is pinned, dependencies included: pip resolves nothing, so nothing may be missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest
from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agentsec_site.bootstrap import DEVELOPMENT, PIN, REQUIREMENTS

# Where agentsec is said to run. What only an older Python or another machine needs is missed easily.
VERSIONS = ("3.11.2", "3.11.9", "3.12.3", "3.13.1", "3.14.0")
MACHINES = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))


def environments() -> Iterator[Environment]:
    for version in VERSIONS:
        for platform, system, machine in MACHINES:
            environment = default_environment()
            environment.update(
                python_full_version=version,
                python_version=version.rpartition(".")[0],
                sys_platform=platform,
                platform_system=system,
                platform_machine=machine,
            )
            yield environment


def pins(*, development: bool) -> list[Requirement]:
    files = [REQUIREMENTS, DEVELOPMENT] if development else [REQUIREMENTS]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def wants(requirement: Requirement, environment: Environment) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})


@pytest.mark.parametrize("development", [False, True], ids=["requirements.txt", "with requirements-dev.txt"])
def test_what_a_package_needs_is_pinned_too(development: bool) -> None:
    missing = set()
    for environment in environments():
        chosen = [pin for pin in pins(development=development) if wants(pin, environment)]
        names = {canonicalize_name(pin.name) for pin in chosen}
        for name in names:
            for text in _needs(name):
                need = Requirement(text)
                if wants(need, environment) and canonicalize_name(need.name) not in names:
                    missing.add(f"{name} needs {text} on Python {environment['python_full_version']}")
    assert missing == set()


def test_every_pin_is_exact_and_there() -> None:
    for pin in pins(development=True):
        assert PIN.match(str(pin).replace("; ", ";")), pin
        if wants(pin, default_environment()):
            assert importlib.metadata.version(pin.name) == next(iter(pin.specifier)).version


def _needs(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
