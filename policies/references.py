"""References inside a tool's JSON Schema, for those who read a schema and do not validate with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 8  # one after another; a chain that is longer, or goes round, says nothing


def resolved(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """A schema, or what its `$ref` (RFC 6901, within `root`) leads to; `{}` where that leads nowhere."""
    for _ in range(MOST):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found: Any = root
        for step in reference.removeprefix("#").split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        schema = found
    return {}


def properties(root: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a schema of arguments says of each that it declares, in its order."""
    declared = resolved(root, root).get("properties")
    named = declared.items() if isinstance(declared, Mapping) else ()
    return {str(name): resolved(root, schema) for name, schema in named}
