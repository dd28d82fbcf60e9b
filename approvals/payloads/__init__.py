"""A call's arguments as people read them: mail as mail, programs as programs, everything else as a table.

Pure: canonical arguments in, frozen rows out. Every value of the call stands in exactly one block, whole;
where a page folds something away it says how much. A kind may put figures above the blocks: a preview, a
difference, an amount in large type. They say it better and never replace it.

A new kind is a file with a `Kind` in it, and its line in `KINDS`.
"""

from __future__ import annotations

from approvals.payloads import changes, http, mail, money, python, shell, sql, table
from approvals.payloads.parts import (
    Block,
    Call,
    Context,
    Drawing,
    Figure,
    Kind,
    Past,
    Value,
    Wish,
    escape,
    index_findings,
    leaves,
    plain,
    raw,
)
from approvals.payloads.shaping import blocks

__all__ = [
    "KINDS", "Block", "Call", "Context", "Drawing", "Figure", "Kind", "Past", "Value", "Wish", "blocks",
    "escape", "index_findings", "kind_of", "leaves", "plain", "raw",
]  # fmt: skip

# The first that fits; the last fits everything.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        python.KIND, shell.KIND, sql.KIND, http.KIND, changes.KIND, mail.KIND, money.KIND, table.KIND,
    )
}  # fmt: skip


def kind_of(call: Call) -> Kind:
    """The kind that the tool's definition names, else the first that fits the call."""
    return KINDS.get(call.context.preview) or next(kind for kind in KINDS.values() if kind.fits(call))
