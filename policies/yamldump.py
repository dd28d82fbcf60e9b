"""YAML as `yamlfile` reads it: whatever a reader might take for something else is quoted."""

from __future__ import annotations

from typing import Any

import yaml

from policies import yamlfile

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def write(value: Any) -> str:
    """JSON values as a YAML document; `yamlfile.unfold(yamlfile.load(…))` gives equal values back."""
    written = _dump(value, readable=True)
    return _dump(value, readable=False) if yamlfile.hides(written) else written


def duration(seconds: int) -> str:
    """Seconds in the largest unit that divides them, as world files write it: 900 is 15m."""
    size, unit = next(pair for pair in _UNITS if seconds % pair[0] == 0)
    return f"{seconds // size}{unit}"


def _dump(value: Any, *, readable: bool) -> str:
    """`readable` writes letters as they are; otherwise all but ASCII is escaped."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=readable, width=10_000, default_flow_style=False
    )
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    tag = "tag:yaml.org,2002:str"
    if "\n" in text:
        return dumper.represent_scalar(tag, text, style="|")
    value, doubt = yamlfile.plain(text)
    return dumper.represent_scalar(tag, text, style='"' if doubt or value != text else None)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flow = all(isinstance(item, str | int | float | bool) for item in items) and len(str(items)) < 90
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
