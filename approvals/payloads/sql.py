"""SQL: coloured, with the kind of statement and the tables that it reads and writes, by sqlglot.

What the parser says is help for the eye and never what a decision of policy rests on: a database may read a
statement otherwise. Whatever is not plainly one statement that was understood says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past
from policies.sqltext import DEEPEST, MOST_PARSED, depth

NAMES = ("sql", "query", "statement", "statements")
_WORDS = frozenset(("sql", "database", "postgres", "postgresql", "mysql", "sqlite", "warehouse", "db"))
# A comment here cannot hold its own end: told otherwise, many comments were read in 2^n ways.
_BEGINS = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*(?:[^*]|\*(?!/))*\*/\s*)*(?:select|insert|update|delete|with|create|drop|alter|truncate|grant|revoke"
    r"|merge|explain|copy|call|begin|set|vacuum|replace)\b",
    re.IGNORECASE | re.DOTALL,
)
_WRITES = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Drop,
    exp.Alter,
    exp.TruncateTable,
    exp.Copy,
)
_RIGHTS = (exp.Grant, exp.Revoke)
_KNOWN = (exp.Query, *_WRITES, *_RIGHTS, exp.Use, exp.Set, exp.Transaction, exp.Commit, exp.Rollback)
_CHANGES = (exp.Update, exp.Delete)
_EXPLAIN = re.compile(r"\s*explain\s+(?P<options>analyze\s+|\([^()]*\)\s*)?(?=\w)", re.IGNORECASE)
_UNKNOWN = "the parser does not know this kind of statement: what it touches is not told"
# The parser tells of what it does not know by a warning in the log, a statement each.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Statement:
    """One statement: its kind in the words of SQL, and what it touches; `warnings` are clauses to read."""

    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    calls: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Understood:
    """What the parser made of a text; `problem` says why nothing, or not all, was understood."""

    name: str
    statements: tuple[Statement, ...]
    problem: str = ""


def understand(name: str, text: str) -> Understood:
    """Never raises: what cannot be parsed is told as that."""
    if len(text) > MOST_PARSED:
        return Understood(
            name, (), f"It is too long to be parsed ({len(text):,} characters): read it yourself."
        )
    if depth(text) > DEEPEST:
        return Understood(name, (), "It is nested too deeply to be parsed: read it yourself.")
    explained = _EXPLAIN.match(text)
    try:
        trees = [
            tree
            for tree in sqlglot.parse(text[explained.end() if explained else 0 :], read="postgres")
            if tree
        ]
        found = tuple(_statement(tree) for tree in trees)
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError) as error:
        why = str(error).partition("\n")[0].partition(". Line")[0][:200]
        return Understood(name, (), f"It cannot be parsed as PostgreSQL ({why}): read it yourself.")
    if explained and found:
        found = (_explaining(found[0], explained["options"] or ""), *found[1:])
    return Understood(name, found, _problem(found))


def _explaining(inner: Statement, options: str) -> Statement:
    if "analyze" not in options.lower():
        return replace(inner, kind=f"EXPLAIN of {inner.kind}")
    runs = "EXPLAIN with ANALYZE executes the statement"
    return replace(inner, kind=f"EXPLAIN ANALYZE of {inner.kind}", warnings=(runs, *inner.warnings))


def _problem(found: Sequence[Statement]) -> str:
    if not found:
        return "It holds no statement."
    if len(found) > 1:
        return f"These are {len(found)} statements, not one: all of them run."
    return ""


def _statement(tree: exp.Expr) -> Statement:
    if isinstance(tree, exp.Command):
        return Statement(str(tree.this).upper()[:40], (), (), (), (_UNKNOWN,))
    if not isinstance(tree, _KNOWN):
        return Statement("no statement", (), (), (), (_UNKNOWN,))
    writes = tuple(dict.fromkeys(_written(tree)))
    reads = tuple(dict.fromkeys(name for name in _read(tree)))
    calls = tuple(dict.fromkeys(str(call.name) for call in tree.find_all(exp.Anonymous)))
    return Statement(_kind(tree), reads, writes, calls, tuple(_warnings(tree)))


def _kind(tree: exp.Expr) -> str:
    inner = [type(node).__name__.upper() for node in tree.find_all(*_WRITES) if node is not tree]
    word = type(tree).__name__.upper()
    if isinstance(tree, exp.Create | exp.Drop | exp.Alter):
        word = f"{word} {tree.args.get('kind') or ''}".strip()
    word = {"TRUNCATETABLE": "TRUNCATE"}.get(word, word)
    return word + (f" with {', '.join(dict.fromkeys(inner))} in it" if inner else "")


def _written(tree: exp.Expr) -> Iterator[str]:
    for node in tree.find_all(*_WRITES, *_RIGHTS):
        yield from (_name(table) for table in _targets(node))
    for into in tree.find_all(exp.Into):
        yield from (_name(table) for table in into.find_all(exp.Table))


def _targets(node: exp.Expr) -> Iterator[exp.Table]:
    """The tables that one writing statement writes."""
    if isinstance(node, exp.TruncateTable):
        yield from (each for each in node.expressions if isinstance(each, exp.Table))
        return
    if isinstance(node, exp.Drop | exp.Grant | exp.Revoke):
        yield from node.find_all(exp.Table)
        return
    if isinstance(node, exp.Copy) and not node.args.get("kind"):
        return
    this = node.this
    target = this.this if isinstance(this, exp.Schema) else this
    if isinstance(target, exp.Table):
        yield target


def _read(tree: exp.Expr) -> Iterator[str]:
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    written = {id(table) for node in tree.find_all(*_WRITES, *_RIGHTS) for table in _targets(node)}
    into = {id(table) for node in tree.find_all(exp.Into) for table in node.find_all(exp.Table)}
    for table in tree.find_all(exp.Table):
        unqualified = not table.db
        if id(table) not in written | into and not (unqualified and table.name in own):
            yield _name(table)


def _warnings(tree: exp.Expr) -> Iterator[str]:
    for node in tree.find_all(*_CHANGES):
        if not node.args.get("where"):
            yield f"{type(node).__name__.upper()} without WHERE: every row"
    if isinstance(tree, exp.Copy):
        yield "COPY moves data into or out of the database"
    if any(tree.find_all(exp.Lock)):
        yield "it locks the rows that it reads"


def _name(table: exp.Table) -> str:
    parts = (table.catalog, table.db, table.name)
    return ".".join(part for part in parts if part) or table.sql()[:100]


def _fits(call: Call) -> bool:
    name = call.text(NAMES)
    if call.context.runs == "sql":
        return True
    return bool(name and (call.words & _WORDS or name == "sql") and _BEGINS.match(call.args[name][:2_000]))


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    name = call.text(NAMES)
    if not name:
        return Drawing()
    return Drawing((Figure("sql", understand(name, call.args[name])),), NAMES, {name: "sql"})


KIND = Kind("sql", _fits, _draw)
