"""The payload of an action as its card draws it: its kind, compared with what the same agent did before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings

from approvals import payloads
from approvals.models import Action
from approvals.payloads import Block, Call, Context, Figure, Past, Wish
from approvals.reasons import tool_of
from policies import lookalikes
from policies.access import Verb, may
from policies.lookalikes import Known
from policies.models import Source, User

S = Action.State
STARTED = (S.RUNNING, S.SUCCEEDED, S.FAILED, S.INTERRUPTED)
LOOKED_AT = 500  # of this agent's newest calls of the tool, these are searched
MOST_READ = 2_000_000  # characters of arguments of earlier calls, of all together
# Of what was said and of targets: how many are read for domains, how much of each, how many domains are kept.
_HEARD, _HEARD_EACH, _TARGET_EACH, _DOMAINS = 50, 5_000, 300, 1_000


@dataclass(frozen=True)
class Drawn:
    """A payload ready to be shown; every value of the call stands in one of `blocks`, and all in `raw`."""

    kind: str
    figures: tuple[Figure, ...]
    blocks: tuple[Block, ...]
    raw: str
    known: Known


def drawn(action: Action, *, user: User | None, authority: frozenset[str]) -> Drawn:
    """The payload of this action, for this reader; for None, somebody to whom nothing is told of other calls
    and of what the tool's definition runs.

    Asks for what the user said, and for earlier calls where the kind compares with any.
    """
    args, known = action.args, known_to(action, met=user is not None)
    call = Call(args, _context(action, authority, known, inside=user is not None))
    kind = payloads.kind_of(call)
    wish = kind.wish(call)
    drawing = kind.draw(call, earlier(action, wish, user=user) if wish and user else ())
    figures = tuple(figure for figure in drawing.figures if not figure.about)
    return Drawn(kind.name, figures, payloads.blocks(call, drawing), payloads.raw(args), known)


def _context(action: Action, authority: frozenset[str], known: Known, *, inside: bool) -> Context:
    tool = tool_of(action)
    return Context(
        runs=action.runs, authority=authority, tool=action.tool, labels=tool.labels, schema=tool.parameters,
        origins={path.lstrip("/"): str(origin.get("origin", "")) for path, origin in action.origins.items()},
        findings=payloads.index_findings(action.findings), known=known,
        preview=str(tool.config.get("preview") or ""), compares=inside,
        argv=tuple(map(str, tool.config.get("argv") or ())) if inside else (),
    )  # fmt: skip


def earlier(action: Action, wish: Wish, *, user: User) -> Sequence[Past]:
    """Calls of the same tool by the same agent that were started before this one, the newest first.

    Of those that this person may not read it says only that they were.
    """
    rows = Action.objects.filter(agent=action.agent_id, tool=action.tool, created_at__lt=action.created_at)
    rows = rows.filter(state__in=STARTED).order_by("-created_at")
    if wish.holding:
        rows = Action.objects.filter(pk__in=rows.values("pk")[:LOOKED_AT]).order_by("-created_at")
        for text in wish.holding:
            rows = rows.filter(args_json__contains=json.dumps(text, ensure_ascii=False)[1:-1])
    found, read = list[Past](), 0
    for row in rows.only("id", "created_at", "args_json", "session_id", "team", "groups", "state")[
        : wish.most
    ]:
        read += len(row.args_json)
        if read > MOST_READ:
            break
        open_to = _may_read(user, row, session=action.session_id)
        told, done = row.args if open_to else {}, row.state == S.SUCCEEDED
        found.append(Past(str(row.pk), row.created_at, told, hidden=not open_to, done=done))
    return found


def _may_read(user: User, row: Action, *, session: Any) -> bool:
    if row.session_id == session:
        return True
    return may(user, Verb.TRACE_READ, team=row.team, groups=row.groups).allowed


def known_to(action: Action, *, met: bool = True) -> Known:
    """The domains that this action's reader takes others for: the organisation's, those that the user named
    in the session (not in what the user quoted), and, with `met`, those that this tool was used on before.
    """
    session = action.session
    # Who opened it without `attest` is the agent itself, which names nothing for the user.
    said = [*([session.user, session.purpose] if session.attested else []), *_said(action)]
    heard = (host for text in said for host in lookalikes.hosts(text[:_HEARD_EACH]))
    named = {*settings.AGENTSEC_DOMAINS, *islice(heard, _DOMAINS)}
    rows = Action.objects.filter(agent=action.agent_id, tool=action.tool, created_at__lt=action.created_at)
    targets = rows.filter(state=S.SUCCEEDED).order_by("-created_at").values_list("target", flat=True)
    found = targets[:LOOKED_AT] if met else ()
    dealt = (host for target in found for host in lookalikes.hosts(target[:_TARGET_EACH]))
    return lookalikes.known(named, islice(dealt, _DOMAINS))


def _said(action: Action) -> Sequence[str]:
    rows = Source.objects.filter(session=action.session_id, origin="user").order_by("-id")
    return [_unquoted(text, quoted) for text, quoted in rows.values_list("text", "quoted")[:_HEARD]]


def _unquoted(text: str, quoted: Sequence[Sequence[int]]) -> str:
    parts, at = list[str](), 0
    for start, end in sorted((int(start), int(end)) for start, end in quoted):
        parts.append(text[at : max(at, start)])
        at = max(at, end)
    return " ".join((*parts, text[at:]))
