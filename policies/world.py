"""apply() and dump(): agents, limits, tools, rules and cases as one declarative file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model, ProtectedError
from django.utils import timezone

from policies import agents, approvers, budgets, changes, people, releases, worldfile, yamldump
from policies.limit_models import Limit
from policies.models import Agent, Case, Release, Rule, Tool, User
from policies.rules import RuleSpec
from policies.values import canonical
from policies.worldfile import CONFIG, Fault, Item, World
from traces import record
from traces.problems import Refused

STARTER = "starter"
STARTERS = Path(__file__).parent / "starters"
AGENTSEC = "agentsec"
# Any constant does, as long as everybody who applies takes the same.
_APPLY_LOCK = 0x6167776F
_MODELS: Mapping[str, type[Model]] = {
    "agents": Agent, "tools": Tool, "rules": Rule, "cases": Case, "limits": Limit,
}  # fmt: skip
_DRAFTED = ("tools", "rules", "cases")


class WorldRefused(Refused):
    """Nothing of the file was applied; `faults` are all its mistakes, each with line and field."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        listed = [vars(fault) for fault in faults]
        super().__init__("invalid", "\n".join(str(fault) for fault in faults), faults=listed)
        self.faults = tuple(faults)


@dataclass
class Report:
    """What applying did: a line a change, what a reader should know besides, and the release that decides.

    `published` is None where nothing was published, which `draft` explains.
    """

    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    published: int | None = None
    draft: str = ""


def apply(text: str, *, by: str) -> Report:
    """Make the instance what the file says, all of it or, on any mistake, nothing; publish the rules.

    What the file does not mention stays; `absent: true` removes an item. Applies one file at a time (advisory
    lock). Appends `agent.created`, `agent.changed`, `group.created`, `person.declared`, `policy.drafted` and
    `policy.published` as needed. With four-eyes on, rules and tools stay a draft for somebody else to
    publish. The text "starter" stands for the starter set. Raises WorldRefused.
    """
    return apply_world(worldfile.read(starter() if text == STARTER else text), by=by)


def apply_world(world: World, *, by: str) -> Report:
    """The same for a file that was read already. Raises WorldRefused, for mistakes in it too."""
    if world.faults:
        raise WorldRefused(world.faults)
    report = Report()
    with transaction.atomic():
        lock()
        others = _foreign_drafts(world)
        drafted = list(_apply_items(world, by, report))
        if drafted:
            releases.drafted(by=by, what="A world file", changed=drafted)
        content = releases.draft_content()
        _refuse_broken(world, content)
        _publish(by, content, others, report)
        report.warnings += _warnings(world)
    return report


def lock() -> None:
    """Apply one file at a time: until the transaction ends, nobody else does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_APPLY_LOCK])


def standing(kind: str, item: Item) -> tuple[Any, list[str]]:
    """The row of a limit, tool, rule or case that stands under an item's name, None if there is none; and the
    fields in which the item differs from it.
    """
    row = _MODELS[kind].objects.filter(name=item.name).first()  # type: ignore[attr-defined]
    return row, [] if row is None else _differing(row, _wanted(kind, item, row))


def begin(*, by: str = AGENTSEC) -> Report | None:
    """Give a new instance the starter set; None where there is a release already."""
    if Release.objects.exists():
        return None
    return apply(STARTER, by=by)


def starter() -> str:
    """The starter set, as a world file."""
    return (STARTERS / "starter.yaml").read_text(encoding="utf-8")


def dump() -> str:
    """The world file that makes another instance like this one; applied here it changes nothing."""
    kinds: dict[str, list[dict[str, Any]]] = {
        "agents": [_dump_agent(agent) for agent in Agent.objects.select_related("owner", "team")],
        "tools": [_dump_row("tools", tool) for tool in Tool.objects.all()],
        "rules": [_dump_row("rules", rule) for rule in Rule.objects.all()],
        "cases": [_dump_row("cases", case) for case in Case.objects.all()],
        "limits": [_dump_row("limits", limit) for limit in Limit.objects.all()],
    }
    return yamldump.write({kind: items for kind, items in kinds.items() if items})


def _apply_items(world: World, by: str, report: Report) -> Iterator[str]:
    """Apply every item; yields the changes to drafts, reports all of them."""
    for item in world.of("agents"):
        report.changes += _apply_agent(item, by)
    for item in world.of("limits"):
        report.changes += _apply_limit(item, by)
    for kind in _DRAFTED:
        for item in world.of(kind):
            lines = _apply_group(item, by) + _apply_row(kind, item)
            report.changes += lines
            yield from lines


def _apply_group(item: Item, by: str) -> list[str]:
    """An approver group that does not exist yet is made, and said."""
    if item.absent or "effect" not in item.values:
        return []
    first, later = item.values.get("approvers", ""), item.values.get("escalate", ())
    names = [name for name in (first, *(step["to"] for step in later)) if name and not name.startswith("@")]
    return [line for name in names for line in _ensured(name, by)]


def _apply_limit(item: Item, by: str) -> list[str]:
    """A limit acts at once, as an agent's own limits do: no release freezes it."""
    group = item.values.get("group")
    lines = [] if item.absent or not group else _ensured(group, by)
    gone = Limit.objects.filter(name=item.name).first()
    changes = _apply_row("limits", item)
    now = Limit.objects.filter(name=item.name).first() or gone
    if changes and now is not None:
        budgets.changed(now, what=changes[0].partition(": ")[2], by=by)
    return lines + changes


def _ensured(group: str, by: str) -> list[str]:
    _, created = people.ensure_group(name=group, by=by)
    return [f"group {group}: created"] if created else []


def _apply_row(kind: str, item: Item) -> list[str]:
    model, word = _MODELS[kind], kind[:-1]
    row = model.objects.select_for_update().filter(name=item.name).first()  # type: ignore[attr-defined]
    if item.absent:
        if row is None:
            return []
        row.delete()
        return [f"{word} {item.name}: removed"]
    if row is None:
        model.objects.create(name=item.name, **_wanted(kind, item, None))  # type: ignore[attr-defined]
        return [f"{word} {item.name}: created"]
    changed = _set(row, _wanted(kind, item, row))
    return [f"{word} {item.name}: {', '.join(changed)} changed"] if changed else []


def _wanted(kind: str, item: Item, row: Model | None) -> dict[str, Any]:
    """The value of every field of the row: what the file says, else the default."""
    given = dict(item.values)
    if kind == "tools":
        given["config"] = {key: given.pop(key) for key in CONFIG if key in given}
        if isinstance(row, Tool):
            given.setdefault("paused", row.paused)
    return {name: given.get(name, default) for name, default in _defaults(kind).items()}


def _defaults(kind: str) -> dict[str, Any]:
    """The fields of a kind that a file may set, with the model's defaults."""
    model = _MODELS[kind]
    inside = CONFIG if kind == "tools" else ()
    names = [name for name in worldfile.FIELDS[kind] if name not in (*inside, "name")]
    names += ["config"] if inside else []
    return {name: _default(model, name) for name in names}


def _default(model: type[Model], name: str) -> Any:
    found: Any = model._meta.get_field(name)
    return found.get_default()


def _set(row: Model, wanted: Mapping[str, Any]) -> list[str]:
    changed = _differing(row, wanted)
    if changed:
        for name in changed:
            setattr(row, name, wanted[name])
        row.save(update_fields=changed)
    return changed


def _differing(row: Model, wanted: Mapping[str, Any]) -> list[str]:
    return [name for name, value in wanted.items() if not _same(getattr(row, name), value)]


def _same(one: Any, other: Any) -> bool:
    # To Python True equals 1; in JSON they are two values.
    if isinstance(one, dict | list) and isinstance(other, dict | list):
        return canonical(one) == canonical(other)
    return bool(one == other)


def _apply_agent(item: Item, by: str) -> list[str]:
    agent = Agent.objects.select_for_update(no_key=True).filter(name=item.name).first()
    if item.absent:
        return _remove_agent(agent, item, by)
    lines: list[str] = []
    wanted = _wanted_agent(item, by, lines)
    if by != AGENTSEC:
        now = agent.mode if agent else Agent.Mode.READ_ONLY
        lines += changes.withhold_mode(name=item.name, before=now, wanted=wanted, by=by)
    if agent is None:
        agent = agents.create_agent(name=item.name, by=by)
        _set(agent, wanted)
        return [*lines, f"agent {item.name}: created, {agent.get_mode_display().lower()}"]
    before = agent.mode
    changed = _set(agent, wanted)
    if not changed:
        return lines
    agents.changed(agent=agent, fields=changed, by=by)
    told = [f"mode {before} → {agent.mode}" if name == "mode" else name for name in changed]
    return [*lines, f"agent {item.name}: {', '.join(told)} changed"]


def _wanted_agent(item: Item, by: str, lines: list[str]) -> dict[str, Any]:
    given = dict(item.values)
    limits = given.pop("limits", {})
    wanted: dict[str, Any] = {name: _default(Agent, name) for name in worldfile.LIMITS} | limits
    wanted |= {"description": given.get("description", ""), "labels": given.get("labels", [])}
    wanted |= {"mode": given["mode"]} if "mode" in given else {}
    return wanted | {
        "owner": _owner(given.get("owner"), by, lines),
        "team": _team(given.get("team"), by, lines),
    }


def _owner(name: str | None, by: str, lines: list[str]) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        user = people.placeholder(name=name, by=by)
        lines.append(f"person {name}: declared; `manage.py user create {name}` invites them")
    return user


def _team(name: str | None, by: str, lines: list[str]) -> Any:
    if name is None:
        return None
    group, created = people.ensure_group(name=name, by=by)
    if created:
        lines.append(f"group {name}: created")
    return group


def _remove_agent(agent: Agent | None, item: Item, by: str) -> list[str]:
    if agent is None:
        return []
    body = {"agent": agent.pk, "name": agent.name}
    record.append(kind="agent.removed", actor=by, body=body, title=f"{agent.name} removed")
    try:
        with transaction.atomic():
            agent.delete()
    except ProtectedError:
        why = f"{agent.name} has a history and cannot be removed: pause it (mode: paused)"
        raise WorldRefused([item.fault("absent", why)]) from None
    return [f"agent {item.name}: removed"]


def _foreign_drafts(world: World) -> list[str]:
    """Changes to the draft that were there before this file and that it does not speak of."""
    mine = {f"{kind[:-1]} {item.name}" for kind in _DRAFTED for item in world.of(kind)}
    waiting = releases.changes(releases.draft_content())
    return [
        line for line in waiting if line.startswith(("rule ", "tool ")) and line.split(":")[0] not in mine
    ]


def _refuse_broken(world: World, content: Mapping[str, Any]) -> None:
    """What keeps the draft from being published refuses the file, with its line where that is at fault."""
    mine = {(kind[:-1], item.name): item for kind in _DRAFTED for item in world.of(kind)}
    faults = []
    for problem in releases.problems(content):
        item = mine.get((problem.kind, problem.name))
        if item is not None:
            faults.append(item.fault("when" if problem.kind == "rule" else "", problem.why))
        else:
            faults.append(
                Fault(0, "", f"{problem} (it is not in this file, and nothing can be published with it)")
            )
    if faults:
        raise WorldRefused(faults)


def _publish(by: str, content: Mapping[str, Any], others: list[str], report: Report) -> None:
    waiting = releases.changes(content)
    first = not Release.objects.exists()
    if not waiting and not first:
        return
    if settings.AGENTSEC_FOUR_EYES and by != AGENTSEC:
        report.draft = "The rules stay a draft: four-eyes is on, so somebody else publishes them."
        return
    report.published = releases.publish(by=by, note="applied from a file", checked=content).pk
    report.warnings += [f"published with it, not from this file: {line}" for line in others]


def _warnings(world: World) -> list[str]:
    """What is no mistake and still worth knowing."""
    rules = [item for item in world.of("rules") if not item.absent]
    declared = set(Tool.objects.values_list("name", flat=True))
    found = []
    for item in rules:
        named = [name for name in item.values.get("tools", []) if not {"*", "?"} & set(name)]
        unknown = [name for name in named if name not in declared]
        found += [f"rule {item.name} names the tool {name}, which nobody declared" for name in unknown]
    held = [releases.spec(rule) for rule in Rule.objects.filter(name__in={item.name for item in rules})]
    return found + _too_few(held) + [f"rule {name}: {why}" for name, why in releases.strays(held)]


def _too_few(rules: Sequence[RuleSpec]) -> list[str]:
    """Groups that cannot answer, each said once however many rules ask it."""
    return list(dict.fromkeys(why for _, why in approvers.of_rules(rules)))


def _dump_agent(agent: Agent) -> dict[str, Any]:
    fields = {
        "name": agent.name,
        "description": agent.description,
        "owner": agent.owner.username if agent.owner else "",
        "team": agent.team.name if agent.team else "",
        "mode": agent.mode,
        "labels": agent.labels,
        "limits": {name: getattr(agent, name) for name in worldfile.LIMITS},
    }
    return {name: value for name, value in fields.items() if value not in ("", [])}


def _dump_row(kind: str, row: Any) -> dict[str, Any]:
    """The row's name and every field that is not at its default."""
    found: dict[str, Any] = {"name": row.name}
    for name, default in _defaults(kind).items():
        value = getattr(row, name)
        if value != default or name in ("effect", "tool", "expect"):
            found |= value if name == "config" else {name: _written(name, value)}
    return found


def _written(name: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else f"{value.normalize():f}"
    if name == "expires_after":
        return yamldump.duration(value)
    if name == "escalate":
        return [{"after": yamldump.duration(step["after"]), "to": step["to"]} for step in value]
    if name == "until":
        return value.astimezone(timezone.get_default_timezone()).isoformat()
    return value
