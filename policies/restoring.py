"""Back to an earlier release: the draft is set to what it held, and published again, in one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.db import connection, transaction

from policies import (
    differ,
    escalating,
    foureyes,
    history,
    limits,
    people,
    releases,
    soundness,
    values,
    world,
)
from policies.models import Release, Rule, Tool
from policies.rules import RuleSpec
from policies.tooling import ToolDef
from traces import record
from traces.problems import Refused


@dataclass(frozen=True)
class RolledBack:
    """`release` decides now; None where four-eyes leaves it a draft, which `why` says. `changed` is what
    became of the draft, a line a change.
    """

    release: Release | None
    changed: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Outlook:
    """What rolling back would do: to what decides now, and to edits that nobody published."""

    target: Release
    deciding: Release | None
    difference: differ.Diff
    draft: differ.Diff
    failing: tuple[releases.Problem, ...]
    broken: tuple[releases.Problem, ...]


def outlook(release_id: int) -> Outlook:
    """What a rollback would change. Raises Refused: not_found, unavailable (altered)."""
    target = history.get(release_id)
    content = soundness.sound(target.pk, target.digest)
    problems = releases.problems(content)
    return Outlook(
        target=target,
        deciding=Release.objects.order_by("-id").first(),
        difference=differ.compare(releases.newest_content(), content),
        draft=differ.compare(releases.draft_content(), content),
        failing=tuple(problem for problem in problems if problem.kind == "case"),
        broken=tuple(problem for problem in problems if problem.kind != "case"),
    )


def roll_back(
    *, release_id: int, by: str, note: str = "", deciding: str = "", despite: Iterable[str] = ()
) -> RolledBack:
    """Set the draft to what a release held, and publish that as a new release.

    `deciding` is the digest of the release that decided when `by` looked; `despite` names the failing cases
    that `by` puts up with. Edits of the draft that nobody published are gone; the log names them. Takes the
    locks of applying and publishing, in this order. Appends `policy.restored` if the draft changes and
    `policy.published`. With four-eyes on, whoever set the draft leaves it to somebody else, who does the
    same again. Raises Refused: not_found, unavailable (altered), conflict (another release decides by now, or
    this one does already, or this version of agentsec knows it no more), invalid (a case fails that `despite`
    does not name), forbidden.
    """
    target = history.get(release_id)
    content = soundness.sound(target.pk, target.digest)
    with transaction.atomic():
        newest = _alone(deciding, target.digest)
        changed = restore(content=content, by=by, what=f"release {target.pk}")
        if _needs_another(by, newest):
            why = "Four-eyes is on: the draft is set, and somebody else has to roll back to the same release."
            return RolledBack(None, tuple(changed), why)
        back = releases.BackTo(target.pk, frozenset(despite) & _failing())
        release = releases.publish(by=by, note=note or f"rolled back to {target.pk}", back=back)
        return RolledBack(release, tuple(changed))


def publish_exactly(
    *, content: Mapping[str, Any], by: str, what: str, deciding: str = "", note: str = ""
) -> Release | None:
    """Set the draft to this content and publish it; None where four-eyes leaves that to somebody else.

    Locks, entries and refusals as of `roll_back`; every case has to pass.
    """
    with transaction.atomic():
        frozen = releases.digest_of(content)
        newest = _alone(deciding, frozen)
        restore(content=content, by=by, what=what)
        return None if _needs_another(by, newest) else releases.publish(by=by, note=note, seen=frozen)


def restore(*, content: Mapping[str, Any], by: str, what: str) -> list[str]:
    """Set the rows of rules and tools to exactly this content; what changed, a line a change.

    Needs the lock of applying. A tool that was paused and goes stays stopped, by the kill switch. Appends
    `policy.restored` if anything changed. Raises Refused("conflict") where the rows cannot hold it.
    """
    before = releases.draft_content()
    try:
        wanted = differ.compare(before, content)
        _set_rules([RuleSpec.from_json(rule) for rule in content["rules"]], by)
        _set_tools([ToolDef.from_json(tool) for tool in content["tools"]], by)
        left = differ.compare(content, releases.draft_content()).items
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("conflict", f"This version of agentsec cannot read {what}: {error}.") from None
    if any(item.kind in ("rule", "tool") for item in left):
        raise Refused("conflict", f"This version of agentsec cannot hold {what} as it was.")
    if wanted.items:
        body = {"what": what, "changes": wanted.lines}
        title, text = f"The draft is {what} again", "\n".join(wanted.lines)
        record.append(kind=foureyes.RESTORED, actor=by, body=body, title=title, text=text)
    return wanted.lines


def _alone(deciding: str, wanted: str) -> Release | None:
    """The release that decides, with nobody else applying or publishing until the transaction ends."""
    world.lock()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [releases.PUBLISH_LOCK])
    newest = Release.objects.order_by("-id").first()
    if newest is not None and deciding and newest.digest != deciding:
        raise Refused("conflict", f"Release {newest.pk} was published meanwhile: look again.")
    if newest is not None and newest.digest == wanted:
        raise Refused("conflict", f"Release {newest.pk} decides already, and holds the same.")
    return newest


def _needs_another(by: str, newest: Release | None) -> bool:
    """Whether four-eyes is on and `by` has a part in the draft."""
    since = newest.published_at if newest else None
    return foureyes.required() and foureyes.drafted_by(by, since=since)


def _failing() -> frozenset[str]:
    """The cases that fail with the draft: what is put up with and does not fail is not worth the log."""
    found = releases.problems(releases.draft_content())
    return frozenset(problem.name for problem in found if problem.kind == "case")


def _set_rules(wanted: Iterable[RuleSpec], by: str) -> None:
    by_name = {rule.name: rule for rule in wanted}
    rows = {row.name: row for row in Rule.objects.select_for_update()}
    for name in rows.keys() - by_name.keys():
        rows[name].delete()
    for name, rule in by_name.items():
        for group in releases.asked(rule):
            people.ensure_group(name=group, by=by)
        row = rows.get(name)
        if row is None or releases.spec(row) != rule:
            _set(row or Rule(name=name), rule, without={"id"})


def _set_tools(wanted: Iterable[ToolDef], by: str) -> None:
    by_name = {tool.name: tool for tool in wanted}
    rows = {row.name: row for row in Tool.objects.select_for_update()}
    for name in rows.keys() - by_name.keys():
        if rows[name].paused:
            why = "the tool was paused when rolling back removed it"
            limits.stop(scope=f"tool:{name}", reason=why, by=by)
        rows[name].delete()
    for name, tool in by_name.items():
        row = rows.get(name)
        if row is None or _plain(releases.definition(row)) != _plain(tool):
            _set(row or Tool(name=name), tool, without={"declared"})


def _set(row: Rule | Tool, wanted: RuleSpec | ToolDef, *, without: set[str]) -> None:
    for field in fields(wanted):
        if field.name not in without:
            value = getattr(wanted, field.name)
            if field.name == "escalate":
                value = escalating.plain(value)
            setattr(row, field.name, list(value) if isinstance(value, tuple) else value)
    row.save()


def _plain(tool: ToolDef) -> Any:
    return values.normalise(tool.to_json(), max_depth=100)
