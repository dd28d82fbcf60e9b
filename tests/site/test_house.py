"""The rules of the house, kept by the syntax tree: who imports whom, how long a file may be, no signals."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Downwards only: each may import itself and those after it.
ORDER = ("agentsec_site", "approvals", "policies", "traces")
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FUNCTION = 400, 50, 9
# Few doors each: the package, and the only files that may import it.
SOLE_IMPORTERS = {
    "bleach": {"traces/clean.py"},
    "nh3": {"traces/clean.py"},
    "cel_expr_python": {"policies/engine.py"},
    "h11": {"policies/fetch.py", "approvals/egress/wire.py"},
    "jwt": {"policies/jose.py"},
}


def product_files() -> list[Path]:
    files = [path for app in ORDER for path in sorted((ROOT / app).rglob("*.py"))]
    return [path for path in files if "migrations" not in path.parts]


PRODUCT = product_files()
NAMES = [str(path.relative_to(ROOT)) for path in PRODUCT]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Each imported module by its full name, with `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield node.module or "", node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", PRODUCT, ids=NAMES)
def test_a_file_imports_only_downwards(path: Path) -> None:
    own = ORDER.index(path.relative_to(ROOT).parts[0])
    upward = [name for name, _ in imports(tree(path)) if name.split(".")[0] in ORDER[:own]]
    assert upward == []


@pytest.mark.parametrize("path", PRODUCT, ids=NAMES)
def test_no_function_imports(path: Path) -> None:
    inside = [node.lineno for function in functions(tree(path)) for _, node in imports(function)]
    assert inside == []


@pytest.mark.parametrize("path", PRODUCT, ids=NAMES)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    assert [
        f"{f.name}: {length(f)} lines" for f in functions(tree(path)) if length(f) > LONGEST_FUNCTION
    ] == []


@pytest.mark.parametrize("path", PRODUCT, ids=NAMES)
def test_every_function_says_what_it_takes_and_gives(path: Path) -> None:
    bare = [
        f"{f.name} line {f.lineno}"
        for f in functions(tree(path))
        if f.returns is None
        or any(
            each.annotation is None
            for each in [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
            if each.arg not in ("self", "cls")
        )
    ]
    assert bare == []


def test_functions_are_small() -> None:
    lengths = [length(f) for path in PRODUCT for f in functions(tree(path))]
    assert median(lengths) <= MEDIAN_FUNCTION


def test_nothing_uses_signals() -> None:
    senders = [
        str(path.relative_to(ROOT))
        for path in PRODUCT
        for name, _ in imports(tree(path))
        if re.match(
            r"django\.(db\.models|core|dispatch|test|contrib\.auth)\.?(signals|dispatch|receiver|Signal)",
            name,
        )
    ]
    assert senders == []


@pytest.mark.parametrize(("package", "only"), SOLE_IMPORTERS.items())
def test_a_risky_package_has_few_doors(package: str, only: set[str]) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in PRODUCT
        for name, _ in imports(tree(path))
        if name.split(".")[0] == package
    }
    assert importers <= only


def test_modules_form_no_circle() -> None:
    known = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PRODUCT
    }
    graph = {
        name: {found for found, _ in imports(tree(path)) if found in known and found != name}
        for name, path in known.items()
    }
    # A package's __init__ that gathers its parts is no circle with a part that names the other parts.
    graph = {name: {to for to in targets if not name.startswith(f"{to}.")} for name, targets in graph.items()}
    assert circle(graph) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of imports, or an empty list."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        found = next((c for to in sorted(graph[name]) if (c := walk(to, [*way, name]))), [])
        done.add(name)
        return found

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]


@pytest.mark.parametrize("words", [("ruff", "check", "--no-cache", "."), ("mypy",)], ids=["ruff", "mypy"])
def test_the_checkers_find_nothing(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
