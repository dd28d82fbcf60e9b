"""Tool definitions guessed from what a tool says of itself: its name, its description and its schema. Pure.

A start for people, not a judgement: each guess says why it was made, and where nothing tells, the guess is
the worse one. What the tool's own server claims of itself (MCP's annotations) only ever makes it worse, since
the server is not the one to vouch for the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies import words as w
from policies import worldfile, yamldump
from policies.arguments import ArgumentsRefused, check_schema
from policies.models import NAME
from policies.records import words
from traces import clean
from traces.problems import Refused

_NAME = re.compile(NAME.regex)
_BEGINS = re.compile(r"([a-z]+)(?:,? (?:and|or|then|&)(?: then)? ([a-z]+))?")
_SCHEMAS = ("inputSchema", "input_schema", "parameters", "schema")
MAX_TOOLS = 1000
# "check" alone only looks.
_PAIRS = (("check", "in"), ("check", "out"))
HEAD = (
    "# Guessed from names, descriptions and schemas: review each line before you apply it. What does the",
    "# tool really do (effect, sends)? Who can write what it returns (output)? As long as nobody vouches for",
    "# it, people are asked much: where you can, say trusted and name untrusted_fields. Whom or what does it",
    "# affect (authority)?",
)


@dataclass(frozen=True)
class Proposal:
    """One tool as a world file takes it, and a reason for each field that was guessed."""

    tool: Mapping[str, Any]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class _Told:
    """What a tool tells of itself, in words."""

    name: str
    description: str
    schema: Mapping[str, Any]
    hints: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Mapping[str, Any]]:
        found = self.schema.get("properties")
        properties = found if isinstance(found, Mapping) else {}
        return {str(name): it if isinstance(it, Mapping) else {} for name, it in properties.items()}

    @property
    def words(self) -> list[str]:
        return words(self.name)

    @property
    def said(self) -> list[str]:
        """The verbs with which the description begins ("Searches and deletes …"), in the infinitive."""
        found = _BEGINS.match(self.description.strip().lower())
        return [verb for word in found.groups() if (verb := _infinitive(word))] if found else []

    @property
    def joined(self) -> list[str]:
        """Verbs that its name joins to the first one: fetch_and_forward."""
        pairs = zip(self.words, self.words[1:], strict=False)
        return [word for before, word in pairs if before in w.AND and word in w.EFFECT]


def _infinitive(word: str | None) -> str:
    """A verb that tells what a tool does ("Searches" is search), "" for any other word."""
    forms = (word or "", (word or "").removesuffix("s"), (word or "").removesuffix("es"))
    return next((form for form in forms if form in w.EFFECT), "")


def propose(listed: Any) -> list[Proposal]:
    """A proposal for each tool of a list: MCP's `tools/list`, OpenAI's and Anthropic's tools, JSON Schemas
    with a title. Raises Refused("invalid") for anything else, and for a name that no tool can have here.
    """
    told = [_told(clean.storable_json(item), at) for at, item in enumerate(_listed(listed))]
    twice = {one.name for one in told if sum(one.name == other.name for other in told) > 1}
    if twice:
        raise Refused("invalid", f"{sorted(twice)[0]} stands in the list twice.")
    return [_proposal(one) for one in told]


def _listed(listed: Any) -> Sequence[Any]:
    for key in ("result", "tools", "functions"):
        if isinstance(listed, Mapping) and key in listed:
            listed = listed[key]
    found = listed if isinstance(listed, list) else [listed]
    if len(found) > MAX_TOOLS:
        raise Refused("invalid", f"At most {MAX_TOOLS} tools are read at once.")
    return found


def _told(item: Any, at: int) -> _Told:
    if isinstance(item, Mapping) and isinstance(item.get("function"), Mapping):
        item = item["function"]
    if not isinstance(item, Mapping):
        raise Refused("invalid", f"tools[{at}] is no object.")
    schema = next((item[key] for key in _SCHEMAS if isinstance(item.get(key), Mapping)), None)
    name = item.get("name", item.get("title"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused("invalid", f"tools[{at}] has no name of letters, digits and . _ @ - alone.")
    hints = item.get("annotations")
    return _Told(
        name, str(item.get("description") or ""), schema if schema is not None else item,
        hints if isinstance(hints, Mapping) else {},
    )  # fmt: skip


def _proposal(told: _Told) -> Proposal:
    effect, why_effect = _effect(told)
    authority, why_authority = _authority(told, effect)
    sends, why_sends = _sends(told, effect, authority)
    output, why_output = _output(told, effect)
    returns, why_returns = _returns(told, effect)
    parameters, why_parameters = _parameters(told)
    tool = {
        "name": told.name, "description": told.description[:2000], "effect": effect,
        "sends": sends, "output": output, "returns": returns, "authority": authority,
        "parameters": parameters,
    }  # fmt: skip
    if effect != "read" and authority:
        tool["target"] = authority[0]
    reasons = {
        "effect": why_effect, "sends": why_sends, "output": why_output, "returns": why_returns,
        "authority": why_authority, "parameters": why_parameters,
    }  # fmt: skip
    return Proposal(tool, {field: why for field, why in reasons.items() if why})


def _effect(told: _Told) -> tuple[str, str]:
    """The worst that its words say of it."""
    if told.hints.get("destructiveHint") is True and told.hints.get("readOnlyHint") is not True:
        return "destructive", "its server says that it destroys"
    found = list(_verbs(told))
    if not found:
        return "destructive", "no word tells what it does"
    if told.hints.get("readOnlyHint") is False:
        found.append(("write", "its server does not say that it only reads"))
    effect, why = max(found, key=lambda one: w.EFFECTS.index(one[0]))
    grave = next((word for word in told.words if word in w.GRAVE), "")
    if effect == "write" and grave:
        return "destructive", f'{why}, and "{grave}"'
    return effect, why


def _verbs(told: _Told) -> Iterator[tuple[str, str]]:
    verb = next((word for word in told.words if word in w.EFFECT), "")
    for word in [verb, *told.joined, *(word for word in told.words if word in w.PLAIN_VERBS)]:
        if word:
            yield w.EFFECT[word], f'"{word}" in its name'
    for said in told.said:
        yield w.EFFECT[said], f'"{said}" in its description'
    if pair := next((pair for pair in zip(told.words, told.words[1:], strict=False) if pair in _PAIRS), None):
        yield "destructive", f'"{" ".join(pair)}" in its name'
    if written := next((name for name in told.arguments if _is_output(name, told.words)), ""):
        yield "write", f'it writes to its argument "{written}"'
    named = {word for name in told.arguments for word in words(name)}
    if "query" in told.words and (found := sorted(set(told.words) & w.STORES)):
        yield "destructive", f"what it asks of a {found[0]} may do anything"
    if found := sorted(named & w.CODE):
        yield "destructive", f'its argument "{found[0]}" may do anything'
    if (set(told.words) | named) & w.WEB and (found := sorted(named & w.REQUEST)):
        yield "write", f'it sends its argument "{found[0]}" to a web server'


def _is_output(argument: str, tool: Sequence[str]) -> bool:
    """Whether an argument says into which file a tool writes what it reads."""
    named = set(words(argument))
    return bool(named & w.PLACE and (named & w.OUTPUT or set(tool) & w.FETCHING)) or argument == "outfile"


def _authority(told: _Told, effect: str) -> tuple[list[str], str]:
    names = list(told.arguments)
    telling = [name for name in names if set(words(name)) & w.AUTHORITY]
    if not telling and effect == "read" and _sends(told, effect, ())[0] == "external":
        # A page or a server is named by something, and whatever is asked of it goes outside.
        searches = "search" in told.words
        plain = w.MEASURE | w.TIME | (w.QUERY if searches else frozenset())
        telling = [name for name in names if not set(words(name)) & plain] or ([] if searches else names)
    if telling or effect == "read":
        return telling, "by the names of the arguments" if telling else ""
    # The tool acts on something, and no name says which of its arguments that is.
    rest = [name for name in names if not set(words(name)) & (w.TEXT | w.TIME | w.MEASURE)]
    return (rest or names), "no argument's name tells whom or what it affects" if names else ""


def _sends(told: _Told, effect: str, authority: Sequence[str]) -> tuple[str, str]:
    around = set(told.words)
    named = {word for name in told.arguments for word in words(name)}
    people = {word for name in told.arguments if "id" not in words(name) for word in words(name)}
    if told.hints.get("openWorldHint") is True:
        return "external", "its server says that it reaches outside"
    if found := sorted((around | named) & w.WEB):
        return "external", f'"{found[0]}": it reaches the web'
    if found := sorted(named & w.HOSTS):
        return "external", f'its argument "{found[0]}" says which server it reaches'
    if effect != "read" and (found := sorted(named & w.RUNNING)):
        return "external", f'its argument "{found[0]}" may do anything'
    if effect == "read":
        return "none", "it reads"
    verb = next((word for word in told.words if word in w.EFFECT), "")
    sending = {verb} & w.SENDING or (around & w.SENDING if effect == "write" else set())
    if found := sorted(sending) or sorted(people & w.RECEIVERS):
        return "external", f'"{found[0]}": somebody receives it'
    if found := sorted(around & w.ORDERING):
        return "external", f'"{found[0]}": it orders or pays'
    local = sorted(around & w.LOCAL)
    if local and not around & w.GRAVE:
        return "none", f'"{local[0]}": it stays inside'
    if effect == "destructive" and authority and not named & w.TEXT:
        return "none", "it takes no text"
    return "external", "nothing tells that it stays inside"


def _output(told: _Told, effect: str) -> tuple[str, str]:
    around = told.words
    if effect == "read" and around and around[-1] in w.PLAIN and not told.arguments:
        return "trusted", f"a {around[-1]} is nothing that an outsider writes"
    return "untrusted", "nothing tells who writes what it returns"


def _returns(told: _Told, effect: str) -> tuple[list[str], str]:
    if effect != "read":
        return [], ""
    said = set(words(told.name)) | set(words(told.description))
    if found := sorted(said & w.SECRET):
        return ["secret"], f'"{found[0]}"'
    found = sorted(set(told.words) & w.PRIVATE)
    return (["private"], f'"{found[0]}"') if found else ([], "")


def _parameters(told: _Told) -> tuple[Any, str]:
    schema = {key: value for key, value in told.schema.items() if key not in ("title", "name", "description")}
    try:
        check_schema({"type": "object", **schema})
    except ArgumentsRefused as refused:
        plain = {"type": "object", "properties": {name: {} for name in told.arguments}}
        return plain, f"its schema is not taken ({' '.join(refused.why.split())[:200]}): any value"
    return {"type": "object", **schema}, ""


def world_file(proposals: Sequence[Proposal]) -> str:
    """The proposals as a world file, each guess with its reason above it. `manage.py apply` takes it.

    Raises Refused("invalid") where a tool cannot be written down as it is.
    """
    text = "\n".join(_lines(proposals)) + "\n"
    faults = worldfile.read(text).faults
    if faults:
        raise Refused("invalid", f"{faults[0].field}: {faults[0].why}")
    return text


def _lines(proposals: Sequence[Proposal]) -> Iterator[str]:
    yield from HEAD
    yield "tools:" if proposals else "tools: []"
    for proposal in proposals:
        for field, why in proposal.reasons.items():
            # A reason quotes words of letters alone, and a schema's fault on one line: it stays a comment.
            yield f"  # {field}: {' '.join(why.split())}"
        for line in yamldump.write([dict(proposal.tool)]).rstrip("\n").split("\n"):
            yield f"  {line}" if line else ""
