"""The documentation says what is there: links, packages, facts, calls, errors, commands and world files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

from agentsec_site.embedded import REPOSITORY
from agentsec_site.gateway import problems
from agentsec_site.gateway.rest import api
from policies import vocabulary, worldfile

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
COMMAND = re.compile(r"manage\.py +([a-z_-]+)")
CALL = re.compile(r"(GET|POST|DELETE) (?:/api/v1)?(/[^`?\s]*)")
PLACE = re.compile(r"(?:/(?:\{[^}]*\}|<[^>]*>|\*))+")
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def pinned(name: str) -> set[str]:
    """The packages of a requirements file that stand there for their own sake."""
    chosen = read(name).partition("# What those need")[0]
    return set(re.findall(r"^([A-Za-z0-9_.-]+)==", chosen, re.MULTILINE))


def blocks(name: str) -> Iterator[str]:
    return (found.group(1) for found in BLOCK.finditer(read(name)))


@pytest.mark.parametrize("name", NAMES)
def test_every_link_inside_leads_somewhere(name: str) -> None:
    page = REPOSITORY / name
    found = [one or other for one, other in LINK.findall(page.read_text(encoding="utf-8"))]
    inside = [link.partition("#")[0] for link in found if "://" not in link and not link.startswith("#")]
    assert [link for link in inside if not Path(page.parent, link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_command_that_is_told_exists(name: str) -> None:
    told = {word for word in COMMAND.findall(read(name)) if word != "schema"}
    assert told - set(get_commands()) == set()


@pytest.mark.parametrize("name", [name for name in NAMES if list(blocks(name))])
def test_every_world_file_that_is_shown_can_be_applied(name: str) -> None:
    assert [str(fault) for text in blocks(name) for fault in worldfile.read(text).faults] == []


def test_every_package_is_told_with_its_reason() -> None:
    told = set(re.findall(r"^\| `([^`]+)` \|", read("docs/dependencies.md"), re.MULTILINE))
    assert told == pinned("requirements.txt") | pinned("requirements-dev.txt")


def test_the_facts_are_told_as_they_are() -> None:
    page = read("docs/policies.md")
    assert page == vocabulary.replaced(page)


def test_every_error_is_told_with_its_status() -> None:
    rows = [f"| `{code}` | {problems.STATUS[code]} | {title} |" for code, title in problems.TITLES.items()]
    assert [row for row in rows if row not in read("docs/api.md")] == []


def test_every_call_of_the_api_is_told() -> None:
    pages = (read("docs/api.md") + read("docs/traces.md")).replace("[.p/<width>]", "")
    told = {(method, PLACE.sub("/*", path)) for method, path in CALL.findall(pages)}
    paths = api.get_openapi_schema()["paths"]
    there = {
        (method.upper(), PLACE.sub("/*", path.removeprefix("/api/v1")))
        for path, calls in paths.items() for method in calls
    }  # fmt: skip
    assert there - told == set()
