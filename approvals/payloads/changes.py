"""Changes of files: old against new, a patch, or new content against what an earlier call wrote there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals.payloads.linediff import ALL_STRETCHES, Diff, Line, Stretch, diff
from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past, Wish

PATHS = ("path", "file_path", "filename", "file", "notebook_path", "filepath")
PAIRS = (
    ("old_string", "new_string"), ("old_str", "new_str"), ("old_text", "new_text"), ("old", "new"),
    ("before", "after"), ("search", "replace"), ("old_source", "new_source"),
)  # fmt: skip
PATCHES = ("patch", "diff")
CONTENTS = ("content", "contents", "new_content", "file_text", "text", "new_source")
EDITS = ("edits", "changes")
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@")
MOST_EDITS = 50
_SAME = "Shown above as a difference"


@dataclass(frozen=True)
class Changed:
    """One file's difference. `said` is what it was compared with; `at` and `action` name an earlier call."""

    path: str
    diff: Diff
    said: str
    at: datetime | None = None
    action: str = ""


def _fits(call: Call) -> bool:
    if (patch := call.text(PATCHES)) and _HUNK.search(call.args[patch]):
        return True
    return bool(call.text(PATHS) and (_pair(call.args) or _edits(call) or call.text(CONTENTS)))


def _wish(call: Call) -> Wish | None:
    path = call.text(PATHS)
    plain = path and call.text(CONTENTS) and not _pair(call.args)
    return Wish(holding=(call.args[path],)) if plain else None


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    patch, path = call.text(PATCHES), call.text(PATHS)
    shown = str(call.args[path]) if path else ""
    if patch and _HUNK.search(call.args[patch]):
        changed = Changed(shown, patched(call.args[patch]), "")
        return Drawing((Figure("changed", changed),), (*PATHS, *PATCHES), folds={patch: _SAME})
    if pair := _pair(call.args):
        found = (Changed(shown, diff(call.args[pair[0]], call.args[pair[1]]), ""),)
        return Drawing(
            tuple(Figure("changed", each) for each in found),
            (*PATHS, *pair),
            folds=dict.fromkeys(pair, _SAME),
        )
    if name := _edits(call):
        return Drawing(tuple(_each(call.args[name], shown)), (*PATHS, name))
    return _rewritten(call, past, shown)


def _each(edits: Sequence[Mapping[str, Any]], path: str) -> Iterator[Figure]:
    """Each edit as a difference, and first how many there are where not all are drawn."""
    if len(edits) > MOST_EDITS:
        yield Figure("note", f"The first {MOST_EDITS} of {len(edits):,} changes; the whole value is below.")
    pairs = [(edit, pair) for edit in edits[:MOST_EDITS] if (pair := _pair(edit))]
    room = ALL_STRETCHES // max(1, len(pairs))
    for edit, (old, new) in pairs:
        yield Figure("changed", Changed(path, diff(edit[old], edit[new], room), ""))


def _rewritten(call: Call, past: Sequence[Past], path: str) -> Drawing:
    name = call.text(CONTENTS)
    before = next(_written(past, path), None) if name else None
    if before is None:
        return Drawing(order=(*PATHS, *CONTENTS))
    found, old = before
    changed = Changed(path, diff(old, call.args[name]), "what this agent wrote there", found.at, found.action)
    return Drawing((Figure("changed", changed),), (*PATHS, *CONTENTS))


def _written(past: Sequence[Past], path: str) -> Iterator[tuple[Past, str]]:
    """What earlier calls wrote to the same path, as texts."""
    for each in past:
        name = next((name for name in CONTENTS if isinstance(each.args.get(name), str)), "")
        if name and any(each.args.get(key) == path for key in PATHS):
            yield each, each.args[name]


def _pair(args: Mapping[str, Any]) -> tuple[str, str] | None:
    if not isinstance(args, Mapping):
        return None
    return next((pair for pair in PAIRS if all(isinstance(args.get(name), str) for name in pair)), None)


def _edits(call: Call) -> str:
    for name in EDITS:
        value = call.args.get(name)
        if (
            isinstance(value, list)
            and value
            and all(isinstance(edit, Mapping) and _pair(edit) for edit in value)
        ):
            return name
    return ""


def patched(text: str) -> Diff:
    """A unified patch (as `diff -u` writes it) as lines with their numbers; its headers stay as they are."""
    lines, before, after, inside = list[Line](), 0, 0, False
    for row in text.split("\n"):
        if hunk := _HUNK.match(row):
            before, after, inside = int(hunk[1]), int(hunk[2]), True
            lines.append(Line("@", 0, 0, row))
        elif inside and row[:1] == "+" and not row.startswith("+++ "):
            lines.append(Line("+", 0, after, row[1:]))
            after += 1
        elif inside and row[:1] == "-" and not row.startswith("--- "):
            lines.append(Line("-", before, 0, row[1:]))
            before += 1
        elif inside and row[:1] == " ":
            lines.append(Line(" ", before, after, row[1:]))
            before, after = before + 1, after + 1
        else:
            inside = inside and not row.startswith(("--- ", "diff "))
            lines.append(Line("@", 0, 0, row))
    added, removed = (sum(line.sign == sign for line in lines) for sign in "+-")
    return Diff((Stretch(tuple(lines)),), added, removed)


KIND = Kind("changes", _fits, _draw, _wish)
