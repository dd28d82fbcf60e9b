"""Releases one after the other: who published what when, and how any two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from policies import differ, releases, soundness
from policies.models import Release
from policies.rules import RuleSpec, release_content, sentence
from traces.problems import Refused

DRAFT = "draft"
ALTERED = "This release was altered, or was never published: it does not match the log."
PAGE = 20


@dataclass(frozen=True)
class Told:
    """One release and how it differs from the one before it; `altered` says why it cannot be read."""

    release: Release
    difference: differ.Diff
    altered: str = ""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a release, or the draft (`release` is None)."""

    name: str
    content: Mapping[str, Any]
    release: Release | None = None


def get(release_id: int) -> Release:
    """Raises Refused("not_found")."""
    release = Release.objects.filter(pk=release_id).first()
    if release is None:
        raise Refused("not_found", f"There is no release {release_id}.")
    return release


def listed(*, below: int | None = None, limit: int = PAGE) -> tuple[list[Told], int | None]:
    """Releases below a number, the newest first, and the number below which the next page begins."""
    rows = Release.objects.order_by("-id")
    found = list((rows.filter(pk__lt=below) if below is not None else rows)[: limit + 1])
    page = _told(found)[:limit]
    return page, found[limit - 1].pk if len(found) > limit else None


def one(release_id: int) -> Told:
    """Raises Refused("not_found")."""
    release = get(release_id)
    before = Release.objects.filter(pk__lt=release.pk).order_by("-id").first()
    return _told([release, before] if before else [release])[0]


def _told(rows: Sequence[Release]) -> list[Told]:
    """Each release against the next of the rows, of which nothing counts that was altered."""
    contents = soundness.sound_ones(rows)
    empty = release_content(rules=(), tools=(), groups={})
    found = []
    for release, before in zip_longest(rows, rows[1:]):
        if release.pk not in contents:
            found.append(Told(release, differ.Diff(), ALTERED))
        else:
            older = contents.get(before.pk, empty) if before else empty
            found.append(Told(release, differ.compare(older, contents[release.pk])))
    return found


def side(name: str) -> Side:
    """A release by its number, or "draft". Raises Refused: not_found, unavailable (altered)."""
    if name == DRAFT:
        return Side(DRAFT, releases.draft_content())
    # A number that Python would rather not read is no release's either.
    if not name.isascii() or not name.isdecimal() or len(name) > 18:
        raise Refused("not_found", f"There is no release {name[:40]}.")
    release = get(int(name))
    return Side(f"release {release.pk}", soundness.sound(release.pk, release.digest), release)


def between(before: str, after: str) -> tuple[Side, Side, differ.Diff]:
    """Two sides and what changes from one to the other. Raises Refused: not_found, unavailable."""
    one, other = side(before), side(after)
    return one, other, differ.compare(one.content, other.content)


def rules(release: Release) -> list[tuple[RuleSpec, str]]:
    """Its rules with each read aloud. Raises Refused("unavailable") where it was altered."""
    stored = soundness.sound(release.pk, release.digest)["rules"]
    return [(rule, sentence(rule)) for rule in map(RuleSpec.from_json, stored)]
