"""What the form of a rule is told while somebody types: the CEL of the rows, the sentence, every mistake.

The server alone writes CEL. A wish is JSON that a browser sent, so everything in it is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policies import approvers, engine, escalating, releases, worldfile
from policies.celtext import Value
from policies.conditions import MAX_ROWS, Condition, Row, RowRefused, term, write
from policies.escalating import Step
from policies.facts import FACTS, FUNCTIONS
from policies.firewall import DETECTORS
from policies.models import Agent, Tool
from policies.operators import BY_KIND, OPERATORS, ORIGINS, SEVERITIES
from policies.rowreader import read
from policies.rules import RuleSpec, sentence
from policies.subjects import Declared, Subject, guessed, offered, typed
from traces.problems import Refused

MAX_WISH = 64 * 1024
NOTHING = "(nothing)"
_TEXTS = (
    "effect",
    "agents",
    "tools",
    "approvers",
    "quorum",
    "expires_after",
    "escalate",
    "egress",
    "when",
    "zone",
)
_QUOTED = re.compile(r"""\"(?:\\.|[^"\\])*\"|'(?:\\.|[^'\\])*'""")
_ARGUMENT = re.compile(r"(?<![\w.])args\s*\.\s*([A-Za-z_]\w*)")
_FROM = ("came", "not_came", "any_from", "none_from", "all_from", "not_all_from")

# Of CEL itself: what a completion offers beside the facts and functions of `facts.py`.
OF_CEL = (
    ("has", "has(args.x)", "bool", "Whether an argument is given."),
    ("size", "size(x)", "int", "How long a text, a list or a map is."),
    ("timestamp", "timestamp(text)", "timestamp", "A moment: timestamp('2030-01-01T00:00:00Z')."),
    ("duration", "duration(text)", "duration", "A length of time: duration('90m')."),
)
METHODS = (
    ("contains", "contains(text)", "bool", "Whether a text holds another."),
    ("startsWith", "startsWith(text)", "bool", "Whether a text begins with another."),
    ("endsWith", "endsWith(text)", "bool", "Whether a text ends with another."),
    ("matches", "matches(pattern)", "bool", "Whether an RE2 pattern is found in a text."),
    ("exists", "exists(x, condition)", "bool", "Whether the condition holds for any item."),
    ("all", "all(x, condition)", "bool", "Whether the condition holds for every item."),
    ("filter", "filter(x, condition)", "list", "The items for which the condition holds."),
    ("map", "map(x, value)", "list", "A value made of every item."),
    ("getHours", "getHours('Europe/Berlin')", "int", "The hour, 0 to 23, in a time zone."),
    ("getDayOfWeek", "getDayOfWeek('Europe/Berlin')", "int", "The day of the week, Sunday is 0."),
)


def words_of(text: str) -> list[str]:
    """The words of a field that takes one a line or separated by commas."""
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


def egress_of(text: str) -> list[str] | None:
    """The lines of a rule's field `egress`; None where it is empty, none where it says NOTHING."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [] if lines == [NOTHING] else lines or None


def look(wish: Any) -> dict[str, Any]:
    """What a rule that is being written says: `when` (None while a row is unfinished), `sentence`, `rows`
    (None where rows cannot show it) with the CEL that they write (`canonical`), `row_problems`, `problems`
    with line and column, `subjects`, the declared tools that it `concerns`, and the arguments that are
    `unknown` to all of them.

    Takes the fields of the form as texts, and the condition as `rows` or as `when`. Raises
    Refused("invalid") for anything that the form does not send.
    """
    fields = _fields(wish)
    # A pattern that no rule may hold fits nothing.
    globs = [glob if len(glob) <= 100 else "" for glob in words_of(fields["tools"])[:100]]
    fits = engine.fitting(globs)
    tools = Tool.objects.order_by("name").values_list("name", "parameters", "authority")
    chosen = [Declared(*row) for row in tools if fits(row[0])]
    subjects = offered(chosen, zone=fields["zone"])
    refused: list[RowRefused] = []
    when: str | None = fields["when"]
    if wish.get("rows") is not None:
        when = _written(wish["rows"], {subject.expression: subject for subject in subjects}, refused)
    found = engine.check_condition(when) if when is not None else []
    shown = read(when) if when is not None and not found else None
    rule = _spec(fields, wish, when or "")
    return {
        "when": when,
        "sentence": sentence(rule) if when is not None else "",
        "warnings": [*(approvers.warnings(rule) if fields["approvers"] else []), *_strays(rule)],
        "rows": _shown(shown, subjects) if shown else None,
        "canonical": write(shown) if shown else None,
        "row_problems": [{"row": problem.row, "why": problem.why} for problem in refused],
        "problems": [
            {"message": problem.message, "line": problem.line, "column": problem.column} for problem in found
        ],
        "subjects": [subject.to_json() for subject in subjects],
        "concerns": {"names": [tool.name for tool in chosen[:6]], "count": len(chosen)},
        "unknown": _unknown(when or "", chosen),
    }


def _unknown(when: str, tools: Sequence[Declared]) -> list[str]:
    """Arguments that the condition names and none of the tools takes, which CEL cannot know."""
    taken = {name for tool in tools for name in tool.parameters.get("properties", {})}
    if not tools or any(tool.parameters.get("additionalProperties", False) for tool in tools):
        return []
    return sorted(set(_ARGUMENT.findall(_QUOTED.sub('""', when))) - taken)[:6]


def furniture() -> dict[str, Any]:
    """What the form needs once: operators with their words, the vocabulary, the names of agents and tools."""
    choices: dict[str, Iterable[str]] = dict.fromkeys(_FROM, ORIGINS)
    choices |= dict.fromkeys(("severity", "no_severity"), SEVERITIES)
    choices |= dict.fromkeys(("detector", "no_detector"), DETECTORS)
    known = [(fact.name, fact.name, fact.type, fact.doc) for fact in FACTS]
    called = [
        (item.name, f"{item.name}({', '.join(item.parameters)})", item.returns, item.doc)
        for item in FUNCTIONS
    ]
    return {
        "operators": {item.id: {"words": item.words, "values": item.values} for item in OPERATORS.values()},
        "choices": {name: list(values) for name, values in choices.items()},
        "facts": known,
        "functions": [*called, *OF_CEL],
        "methods": METHODS,
        "agents": list(Agent.objects.order_by("name").values_list("name", flat=True)[:1000]),
        "tools": list(Tool.objects.order_by("name").values_list("name", flat=True)[:1000]),
    }


def _fields(wish: Any) -> dict[str, str]:
    if not isinstance(wish, Mapping):
        raise Refused("invalid", "An object is expected.")
    fields = {name: wish.get(name, "") for name in _TEXTS}
    if not all(isinstance(value, str) for value in fields.values()):
        raise Refused("invalid", f"{', '.join(_TEXTS)} are texts.")
    return fields


def _spec(fields: Mapping[str, str], wish: Mapping[str, Any], when: str) -> RuleSpec:
    """The rule as far as it can be read; what is wrong with its other fields is said when it is saved."""
    try:
        waited = worldfile.seconds(fields["expires_after"])
    except ValueError:
        waited = 900
    quorum = fields["quorum"]
    return RuleSpec(
        id="", name="", effect=fields["effect"] or "…", when=when,
        agents=tuple(words_of(fields["agents"])), tools=tuple(words_of(fields["tools"])),
        approvers=fields["approvers"] or "…", quorum=int(quorum[:4]) if quorum[:4].isdecimal() else 1,
        expires_after=waited, step_up=wish.get("step_up") is True, fallback=wish.get("fallback") is True,
        separate_duties=wish.get("separate_duties") is True, escalate=_steps(fields["escalate"]),
        egress=tuple(lines) if (lines := egress_of(fields["egress"][:60_000])) is not None else None,
    )  # fmt: skip


def _strays(rule: RuleSpec) -> list[str]:
    """What of its egress leads nowhere; a line that cannot be read is said when it is saved."""
    try:
        return [why for _, why in releases.strays([rule])]
    except ValueError:
        return []


def _steps(given: str) -> tuple[Step, ...]:
    """The steps as far as they can be read: the sentence says these."""
    try:
        found = [(worldfile.seconds(after), to) for after, to in escalating.lines(given[:2000])]
    except ValueError:
        return ()
    return escalating.steps({"after": after, "to": to} for after, to in found)


def _written(given: Any, subjects: Mapping[str, Subject], refused: list[RowRefused]) -> str | None:
    """The CEL of the rows, None where one of them says nothing yet."""
    join, items = _group(given)
    rows: list[Row | Condition] = []
    at = 0
    for item in items:
        if isinstance(item, Mapping) and "rows" in item:
            inner, below = _group(item)
            found = [_row(row, at + more, subjects, refused) for more, row in enumerate(below)]
            rows.append(Condition(inner, tuple(row for row in found if row)))
            at += len(below)
        else:
            row = _row(item, at, subjects, refused)
            rows += [row] if row else []
            at += 1
    if refused:
        return None
    try:
        return write(
            Condition(join, tuple(row for row in rows if not isinstance(row, Condition) or row.rows))
        )
    except RowRefused as problem:
        refused.append(problem)
        return None


def _group(given: Any) -> tuple[str, Sequence[Any]]:
    if not isinstance(given, Mapping) or not isinstance(given.get("rows"), list):
        raise Refused("invalid", "Rows are a list, with the word that joins them.")
    if len(given["rows"]) > MAX_ROWS:
        raise Refused("invalid", f"There are at most {MAX_ROWS} rows.")
    return str(given.get("join")), given["rows"]


def _row(given: Any, at: int, subjects: Mapping[str, Subject], refused: list[RowRefused]) -> Row | None:
    if not isinstance(given, Mapping) or not isinstance(given.get("values", []), list):
        raise Refused("invalid", "A row is an object with a list of values.")
    subject, operator = str(given.get("subject", "")), str(given.get("operator", ""))
    try:
        known = subjects.get(subject) or guessed(subject, str(given.get("kind", "")))
        values = _values(given, known, operator)
        row = Row(subject, operator, values, _guard(given, known))
        term(row)
    except ValueError as error:
        refused.append(RowRefused(at, str(error)))
        return None
    return row


def _values(given: Mapping[str, Any], subject: Subject | None, operator: str) -> tuple[Value, ...]:
    values = given.get("values", [])
    if not all(isinstance(value, str | int | float) for value in values):
        raise ValueError("a value is a text, a number, true or false")
    # A row that nobody touched since it was read keeps its values as they were written.
    return tuple(values) if given.get("kept") is True else typed(subject, operator, values)


def _guard(given: Mapping[str, Any], subject: Subject | None) -> str:
    # What was written by hand without has() stays so: with it, an absent argument would match no more.
    if "guard" in given:
        return str(given["guard"])
    return "null" if subject and subject.nullable else "has"


def _shown(condition: Condition, subjects: Sequence[Subject]) -> dict[str, Any]:
    known = {subject.expression for subject in subjects}
    return {
        "join": condition.join,
        "rows": [
            _shown(item, subjects) if isinstance(item, Condition) else _plain(item, known)
            for item in condition.rows
        ],
    }


def _plain(row: Row, known: set[str]) -> dict[str, Any]:
    shown = {"subject": row.subject, "operator": row.operator, "values": list(row.values), "kept": True}
    extra = {} if row.subject in known else {"kind": kind_of(row)}
    return shown | extra | ({"guard": row.guard} if row.argument else {})


def kind_of(row: Row) -> str:
    """The kind of an argument that no chosen tool declares, by how it is compared."""
    numbers = any(isinstance(value, int | float) for value in row.values)
    if row.operator in ("is", "is_not", "one_of", "not_one_of"):
        return "number" if numbers else "text"
    fitting = [kind for kind, names in BY_KIND.items() if row.operator in names]
    return fitting[0] if fitting else "any"
