"""Where a call may reach: the lines of its tool, narrowed by those of each rule that applied. Pure.

A request is held by the lines that come out exactly where each of the lists holds it, so a rule takes away
and never gives. Of secrets a rule says nothing: the tool's own go along wherever its lines are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, reduce

from policies.destinations import LONGEST, METHODS, MOST, PORTS, Destination, Destinations, parse, under
from policies.tooling import ToolDef

REACHING = ("python", "shell", "http")
# As many lines as lists that people write leave over; more are refused rather than cut off unseen.
MOST_LEFT = 10 * MOST
Lines = Sequence[str]


class TooMany(ValueError):
    """What is left of the lists would be more than MOST_LEFT lines."""


def joined(lists: Iterable[Lines]) -> tuple[str, ...]:
    """The lines that hold exactly what every one of the lists holds, in the order of the first.

    Raises TooMany, or ValueError for what is no line.
    """
    return reduce(_both, [tuple(lines) for lines in lists])


def problems(lines: Lines, *, effect: str) -> list[str]:
    """What is wrong with a rule's lines, each as one sentence."""
    found = (
        ["a rule that blocks names no egress: what it blocks reaches nothing"] if effect == "block" else []
    )
    if len(lines) > MOST:
        found.append(f"egress has {len(lines)} lines, at most {MOST} are taken")
    for line in lines:
        try:
            if parse(line).secrets:
                found.append(f"egress: {line[:80]!r} carries a secret, which only a tool's own line does")
        except ValueError as error:
            found.append(f"egress: {error}")
    return found


def confined(tool: ToolDef, to: Lines | None) -> ToolDef:
    """The tool as a call has it that rules let reach no more than these lines; itself where they say nothing.

    Secrets that no line carries any more are gone with it. Lines that cannot be worked out leave none.
    """
    if to is None or tool.runs not in REACHING:
        return tool
    own = tuple(tool.config.get("egress") or ())
    try:
        lines, bound = joined([own, to]), Destinations.of(own).secrets
    except ValueError:
        return replace(tool, config={**tool.config, "egress": [], "secrets": []})
    left = Destinations.of(lines).secrets
    secrets = [name for name in tool.config.get("secrets") or () if name in left or name not in bound]
    return replace(tool, config={**tool.config, "egress": list(lines), "secrets": secrets})


def hindrance(tool: ToolDef, to: Lines | None) -> str:
    """Why what a call may reach cannot be worked out, "" where it can."""
    if to is None or tool.runs not in REACHING:
        return ""
    try:
        joined([tuple(tool.config.get("egress") or ()), to])
    except ValueError as error:
        return f"what {tool.name} may reach cannot be worked out: {error}"
    return ""


def holds_all(tool: ToolDef, *, narrower: Lines | None, wider: Lines | None) -> bool:
    """Whether the tool under the lines `wider` surely reaches everything that it does under `narrower`."""
    if wider is None or tool.runs not in REACHING:
        return True
    lines = tuple(confined(tool, narrower).config.get("egress") or ())
    try:
        return _bare_all(lines) <= _bare_all(joined([lines, tuple(wider)]))
    except ValueError:
        return False


def strays(lines: Lines, tools: Iterable[ToolDef]) -> list[str]:
    """Of a rule's lines those that meet no line of any of these tools, which they therefore never let out."""
    own = [line for tool in tools if tool.runs in REACHING for line in tool.config.get("egress") or ()]
    known = [parse(line) for line in own]
    return [line for line in lines if not any(_meet(parse(line), other) for other in known)]


@lru_cache(maxsize=1024)
def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    others = [parse(line) for line in second]
    left: dict[Destination, str] = {}
    for line in first:
        one = parse(line)
        for other in others:
            met = _meet(one, other)
            if met is not None:
                left.setdefault(_bare(met), met.text)
        if len(left) > MOST_LEFT:
            raise TooMany(f"rules and tool leave more than {MOST_LEFT} lines of egress")
    return tuple(left.values())


def _meet(one: Destination, other: Destination) -> Destination | None:
    """The line that holds what both hold, None where there is nothing; told in the words of one of them where
    it is the same.
    """
    host = _host(one, other)
    schemes = {one.scheme, other.scheme} - {""}
    methods = one.methods & other.methods if one.methods and other.methods else one.methods | other.methods
    path = _path(one.path, other.path)
    if (
        host is None or path is None or one.port != other.port or len(schemes) > 1
        or (one.methods and other.methods and not methods)
    ):  # fmt: skip
        return None
    secrets = (*one.secrets, *(each for each in other.secrets if each not in one.secrets))
    met = Destination(
        text="", host=host.host, below=host.below, port=one.port, scheme="".join(schemes), methods=methods,
        path=path, secrets=secrets,
    )  # fmt: skip
    known = next((each.text for each in (one, other) if _bare(each) == met), None)
    text = known or _written(met)
    if len(text) > LONGEST:
        raise TooMany(
            f"what {one.text[:80]!r} and {other.text[:80]!r} both hold is longer than a line may be"
        )
    return replace(met, text=text)


def _bare_all(lines: Lines) -> set[Destination]:
    return {_bare(parse(line)) for line in lines}


def _bare(line: Destination) -> Destination:
    return replace(line, text="")


def _host(one: Destination, other: Destination) -> Destination | None:
    """Whichever of the two names fewer hosts, if all of them are the other's too."""
    if one.host == other.host and one.below == other.below:
        return one
    if one.below and one.named(other.host):
        return other
    if other.below and other.named(one.host):
        return one
    return None


def _path(one: str, other: str) -> str | None:
    if not one or not other:
        return one or other
    for narrow, wide in ((one, other), (other, one)):
        if wide.endswith("*") and (
            narrow.startswith(wide[:-1]) if narrow.endswith("*") else under(wide, narrow)
        ):
            return narrow
    return one if one == other else None


def _written(line: Destination) -> str:
    """A line as somebody would write it; `parse` reads the same from it."""
    host = f"*.{line.host}" if line.below else f"[{line.host}]" if ":" in line.host else line.host
    usual = PORTS[line.scheme or "https"]
    place = f"{line.scheme}://{host}" if line.scheme else host
    place += f":{line.port}" if line.port != usual else ""
    methods = ",".join(name for name in METHODS if name in line.methods)
    carried = ", ".join(f"{each.name} in {each.spot}" for each in line.secrets)
    words = (methods, place + line.path, f"with {carried}" if carried else "")
    return " ".join(word for word in words if word)
