"""Is this text exactly one plain statement, of operations and on tables that the tool may use? Pure.

This comes before the database and says early and in plain words what will not run. What enforces is the role
of the grant, the extended query protocol, which takes one statement only, and a read-only transaction: a
statement that the parser here and the server read differently gains nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from policies import sqltext
from policies.issuers.postgres_scope import qualified
from policies.sqltext import DEEPEST, MOST_PARSED, depth

# The parser tells of what it does not know by a warning in the log, a statement each.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
_OPERATIONS: Mapping[type[exp.Expr], str] = {
    exp.Insert: "insert", exp.Update: "update", exp.Delete: "delete",
}  # fmt: skip
# Whatever is none of these is a statement of another kind, or hides one.
_REFUSED = (
    exp.Command, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Copy, exp.Into,
    exp.Grant, exp.Revoke, exp.Set, exp.Use, exp.Transaction, exp.Commit, exp.Rollback, exp.Kill, exp.Pragma,
    exp.Describe, exp.Analyze, exp.LoadData, exp.Attach, exp.Detach, exp.Cache, exp.Uncache, exp.Refresh,
    exp.Comment, exp.Lock,
)  # fmt: skip
# Their values are written as names out of the catalogues; those of text search name a language.
NAMING = frozenset({
    "aclitem", "regclass", "regcollation", "regdatabase", "regnamespace", "regoper", "regoperator", "regproc",
    "regprocedure", "regrole", "regtype",
})  # fmt: skip
# Functions that are called without parentheses.
_TELLING = frozenset({"current_catalog", "current_schema", "system_user"})


class NotPlain(ValueError):
    """The statement is not run; the message says why, for reviewers and the agent."""


@dataclass(frozen=True)
class Plain:
    """One statement. `operations` are those of it and of what stands in it; `functions` names that it may
    call, `fields` names behind a dot, which may call too; `types` those that somebody defined;
    `parameters` what its `$1`, `$2` … take.
    """

    text: str
    command: str
    operations: frozenset[str]
    functions: tuple[str, ...]
    parameters: tuple[Any, ...] = ()
    fields: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        return self.operations != {"select"}


def statement(config: Mapping[str, Any], args: Mapping[str, Any]) -> Plain:
    """The one statement of a call: the tool's own with the arguments bound to its places, or the argument
    `sql`. Raises NotPlain, in words for the reviewer and the agent.
    """
    fixed = config.get("statement")
    text, parameters = _bound(str(fixed), args) if fixed else (args.get("sql"), ())
    if not isinstance(text, str) or not text.strip():
        raise NotPlain("there is no statement: the argument `sql` holds it")
    operations = frozenset(config.get("operations") or ("select",))
    return read(text, operations=operations, tables=tuple(config.get("tables") or ()), parameters=parameters)


def read(
    text: str, *, operations: frozenset[str], tables: Sequence[str], parameters: tuple[Any, ...] = ()
) -> Plain:
    """The statement, understood. Raises NotPlain for whatever is not plainly one of these operations on
    these tables.
    """
    tree = _parsed(text)
    if (refused := next(tree.find_all(*_REFUSED), None)) is not None:
        raise NotPlain(f"{_kind(refused)} is not run here: one SELECT, INSERT, UPDATE or DELETE is")
    command = next((word for kind, word in _OPERATIONS.items() if isinstance(tree, kind)), "select")
    if command == "select" and not isinstance(tree, exp.Query | exp.Values):
        raise NotPlain(
            f"{text.split()[0].upper()[:40]} is not run here: one SELECT, INSERT, UPDATE or DELETE is"
        )
    used = {word for kind, word in _OPERATIONS.items() if any(tree.find_all(kind))} | {command}
    if beyond := sorted(used - operations - {"select"}) or sorted(used - operations):
        raise NotPlain(f"this tool may {' and '.join(sorted(operations))}, not {beyond[0]}")
    _refuse_tables(tree, tables)
    called, fields = _names(text)
    return Plain(text, command, frozenset(used), called, parameters, fields, tuple(_types(tree)))


def _bound(template: str, args: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    names: list[str] = []

    def place(name: str) -> str:
        if name not in args:
            raise NotPlain(f"the statement needs the argument `{name}`")
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    try:
        text = sqltext.filled(template, place)
    except sqltext.Unreadable as error:
        raise NotPlain(f"the tool's statement cannot be read: {error}") from None
    return text, tuple(args[name] for name in names)


def _parsed(text: str) -> exp.Expr:
    if len(text) > MOST_PARSED:
        raise NotPlain(f"the statement has {len(text):,} characters, at most {MOST_PARSED:,} are read")
    if depth(text) > DEEPEST:
        raise NotPlain("the statement is nested too deeply to be read")
    try:
        trees = [tree for tree in sqlglot.parse(text, read="postgres") if tree is not None]
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError) as error:
        why = str(error).partition("\n")[0].partition(". Line")[0][:200]
        raise NotPlain(f"the statement cannot be read as PostgreSQL ({why})") from None
    if len(trees) != 1:
        raise NotPlain(f"these are {len(trees)} statements: exactly one is run")
    return trees[0]


def _kind(node: exp.Expr) -> str:
    if isinstance(node, exp.Command):
        return str(node.this).upper()[:40]
    name = type(node).__name__.upper()
    return {"INTO": "SELECT INTO", "TRUNCATETABLE": "TRUNCATE", "LOCK": "locking rows"}.get(name, name)


def _refuse_tables(tree: exp.Expr, tables: Sequence[str]) -> None:
    known = {qualified(name) for name in tables}
    bare = {name for _, name in known}
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function in FROM
        schema, name = table.db, table.name
        if not schema and (name.lower() in own or name in bare or name.lower() in bare):
            continue
        place = (schema.lower(), name) if (schema.lower(), name) in known else (schema.lower(), name.lower())
        if table.catalog or place not in known:
            raise NotPlain(f"this tool reaches {', '.join(tables) or 'no table'}, not {table.sql()[:100]}")


def _names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every name that a ( follows, and every name behind a dot, as the server would look them up; keywords
    among them do no harm. Raises NotPlain for names that tell of the server by themselves.
    """
    called, fields = dict[str, None](), dict[str, None]()
    last, dotted = "", False
    held = [piece for piece in _pieces(text) if piece.kind != "comment" and piece.text.strip()]
    for at, piece in enumerate(held):
        if piece.kind not in ("word", "identifier"):
            if last and piece.kind == "code" and piece.text.lstrip().startswith("("):
                called[last] = None
            last, dotted = "", piece.kind == "code" and piece.text.rstrip().endswith(".")
            continue
        unicode_form = piece.text in ("u", "U") and at + 2 < len(held) and held[at + 1].text == "&"
        if unicode_form and held[at + 2].kind in ("identifier", "string"):
            raise NotPlain('texts with Unicode escapes (U&"…") are not read here: write the characters')
        last = piece.text.lower() if piece.kind == "word" else piece.text[1:-1].replace('""', '"')
        if last.lstrip("_") in NAMING or (piece.kind == "word" and last in _TELLING and not dotted):
            raise NotPlain(f"{last} tells of the server or of its catalogues: it is not used here")
        if dotted:
            fields[last] = None
    return tuple(called), tuple(fields)


def _types(tree: exp.Expr) -> Iterator[str]:
    """Types that the parser does not know as PostgreSQL's, as the server would look them up."""
    for found in tree.find_all(exp.DataType):
        if found.this == exp.DataType.Type.USERDEFINED:
            names = list(found.find_all(exp.Identifier))
            if not names:
                raise NotPlain("one of its types cannot be read")
            yield from (name.this if name.quoted else name.this.lower() for name in names[-1:])


def _pieces(text: str) -> Iterator[sqltext.Piece]:
    try:
        yield from sqltext.pieces(text)
    except sqltext.Unreadable as error:
        raise NotPlain(f"the statement cannot be read: {error}") from None
