"""The trace explorer: search, sessions, one session step by step, one entry, its proof, and evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages import readers, stories
from agentsec_site.pages.guard import page, person
from approvals import forawhile
from policies import labels
from policies.access import Verb, actor
from traces import explore, inspection, payloads, presenters, record, seal
from traces.models import Entry, Session, Span
from traces.problems import Refused
from traces.search import Page

TIMES = {"1h": ("Last hour", timedelta(hours=1)), "24h": ("Last day", timedelta(days=1)),
         "7d": ("Last week", timedelta(days=7)), "": ("Any time", None)}  # fmt: skip
LABELS = ("untrusted", "private", "secret", "injection")
TEXT = 200  # characters of one search parameter


@dataclass(frozen=True)
class Asked:
    """A search as the address has it. `address` builds the address of a neighbouring search."""

    words: dict[str, str]
    wish: explore.Wish
    before: int | None
    after: int | None

    @property
    def live(self) -> bool:
        """New entries come by themselves on the newest page, unless they are held."""
        return self.before is None and self.after is None and self.words.get("live") != "0"

    @property
    def aims(self) -> bool:
        """It looks for something, beyond watching what comes in: that is logged each time."""
        aimed = self.words["q"] or self.words["session"] or self.words["action"]
        return bool(aimed) or self.before is not None or self.after is not None

    @property
    def told(self) -> dict[str, Any]:
        words = {name: value for name, value in self.words.items() if value}
        return words | {"before": self.before, "after": self.after}

    @property
    def hold(self) -> str:
        return self.address(live="0")

    @property
    def go_live(self) -> str:
        return self.address(live="")

    def address(self, **change: Any) -> str:
        keep = {key: value for key, value in self.words.items() if key not in ("before", "after")}
        words = {**keep, **change}
        return "?" + urlencode({key: value for key, value in words.items() if value not in ("", None)})


def parse(query: QueryDict) -> Asked:
    """The address's parameters. Raises Refused("invalid") for a place or session that cannot be."""
    names = ("q", "kind", "agent", "team", "session", "action", "when", "live")
    words = {name: query.get(name, "").replace("\x00", "")[:TEXT].strip() for name in names}
    _, span = TIMES.get(words["when"], TIMES[""])
    wish = explore.Wish(
        since=timezone.now() - span if span else None,
        **{name: words[name] for name in ("q", "kind", "agent", "team", "session", "action")},
    )
    if wish.session:
        wish = replace(wish, session=str(_uuid(wish.session)))
    return Asked(words, wish, _place(query.get("before")), _place(query.get("after")))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Refused("invalid", "Sessions and entries are named by their ids.") from None


def _place(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused("invalid", "There is no such page.")
    return int(text)


@require_safe
@page(Verb.TRACES_SEE)
def search(request: HttpRequest) -> HttpResponse:
    """Entries that match, newest first, with facets to narrow by and new ones live."""
    asked, user = parse(request.GET), person(request)
    scope = readers.scope(user)
    found = explore.find(scope, asked.wish, before=asked.before, after=asked.after)
    if asked.aims:
        readers.note_search(user, asked.told, fresh=True)
    shown = _found(found, asked) | {"found": found, "narrow": _narrow(scope, asked)}
    return render(request, "traces/search.html", shown)


@require_safe
@page(Verb.TRACES_SEE)
def tail(request: HttpRequest) -> HttpResponse:
    """What came after the newest entry on the page; 204 when nothing did."""
    asked, user = parse(request.GET), person(request)
    found = explore.find(readers.scope(user), asked.wish, after=asked.after or 0)
    if not found.spans:
        return HttpResponse(status=204)
    readers.note_search(user, asked.told, fresh=False)
    return render(request, "traces/_tail.html", _found(found, asked) | {"fresh": True})


def _found(found: Page, asked: Asked) -> dict[str, Any]:
    newest = found.spans[0].entry_id if found.spans else 0
    return {"asked": asked, "rows": _rows(found.spans, asked.wish.q), "newest": newest}


def _rows(spans: Sequence[Span], q: str) -> list[dict[str, Any]]:
    """A row a span: the title and a snippet with the words that were searched for."""
    agents = explore.agent_names(span.agent_id for span in spans if span.agent_id)
    entries = dict(Entry.objects.filter(pk__in=[s.pk for s in spans]).values_list("pk", "uuid"))
    return [
        {
            "span": span,
            "uuid": entries[span.pk],
            "agent": agents.get(span.agent_id, ""),
            "look": stories.look(span.kind),
            "title": presenters.hits(span.title or span.kind, q),
            "snippet": presenters.snippet(span.text, q),
        }
        for span in spans
    ]


def _narrow(scope: explore.Scope, asked: Asked) -> list[dict[str, Any]]:
    """The facets as links: each value narrows, the chosen one widens again."""
    facets = explore.facets(scope, asked.wish)
    times = [explore.Facet(value, label, 0) for value, (label, _) in TIMES.items()]
    groups = (("when", times), ("kind", facets.kinds), ("agent", facets.agents), ("team", facets.teams))
    return [
        {
            "title": name.capitalize(),
            "complete": facets.complete,
            "links": [_link(asked, name, facet) for facet in values],
        }
        for name, values in groups
    ]


def _link(asked: Asked, name: str, facet: explore.Facet) -> dict[str, Any]:
    chosen = asked.words.get(name, "") == facet.value
    change = "" if chosen else facet.value
    href = asked.address(**{name: change})
    return {"label": facet.label, "count": facet.count, "chosen": chosen, "href": href}


@require_safe
@page(Verb.TRACES_SEE)
def sessions(request: HttpRequest) -> HttpResponse:
    """The sessions that this person may read, newest first."""
    q, label = request.GET.get("q", "")[:TEXT], request.GET.get("label", "")[:64]
    before = request.GET.get("before", "")
    found = explore.sessions(readers.scope(person(request)), q=q, label=label, before=before)
    rows = stories.with_counts(found.sessions)
    more = "?" + urlencode({"q": q, "label": label, "before": found.before})
    labels = [(name, "?" + urlencode({"q": q, "label": "" if name == label else name})) for name in LABELS]
    shown = {"rows": rows, "q": q, "label": label, "labels": labels, "before": found.before, "more": more}
    return render(request, "traces/sessions.html", shown)


@require_safe
@page(Verb.TRACES_SEE)
def session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """One session: who, why, its labels, its actions, and every step. Opening it is logged."""
    user = person(request)
    found = readers.session(user, session_id)
    after = _start(request, found)
    readers.note_reading(user, found, fresh=True)
    chain = explore.chain(found, after=after)
    shown = {
        "session": found,
        "labels": explore.labellings(found),
        "steps": stories.steps(found, chain),
        "chain": chain,
        "after": after,
        "last": _last(chain, after),
        "actions": stories.actions(found, now=timezone.now()),
        "allowed": forawhile.of_session(found, user),
        "address": f"{request.path}/allowances",
    }
    return render(request, "traces/session.html", shown | readers.rights(user, found))


def _start(request: HttpRequest, of: Session) -> int:
    """After which place the page begins: the address names it, or an entry that the page must hold."""
    wanted = request.GET.get("entry", "")
    if not wanted:
        return _place(request.GET.get("after")) or 0
    named = Entry.objects.of_session(of.pk).filter(uuid=_uuid(wanted)).first()
    return ((named.seq or 1) - 1 if named else 0) // explore.STEPS * explore.STEPS


def _last(chain: explore.Chain, after: int) -> int:
    return chain.entries[-1].seq or after if chain.entries else after


@require_safe
@page(Verb.TRACES_SEE)
def session_tail(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The steps after the last one on the page; 204 when there are none."""
    user, after = person(request), _place(request.GET.get("after")) or 0
    found = readers.session(user, session_id)
    chain = explore.chain(found, after=after)
    if not chain.entries:
        return HttpResponse(status=204)
    readers.note_reading(user, found, fresh=False)
    shown = {"session": found, "steps": stories.steps(found, chain), "last": _last(chain, after)}
    return render(request, "traces/_steps_tail.html", shown | {"fresh": True})


@require_safe
@page(Verb.TRACES_SEE)
def entry(request: HttpRequest, entry_id: UUID) -> HttpResponse:
    """One entry with its payload: a fragment inside the session page, or a page of its own to share."""
    user = person(request)
    found = readers.entry(user, entry_id)
    if found.session:
        readers.note_reading(user, found.session, fresh=False)
    part = "_entry" if request.headers.get("HX-Request") else "entry"
    return render(request, f"traces/{part}.html", _entry(found))


def _entry(found: Entry) -> dict[str, Any]:
    names = stories.actor_names([found.actor])
    shown = {
        "entry": found, "who": names.get(found.actor, found.actor), "header": _pretty(bytes(found.header)),
        "badge": explore.badge(found, explore.covered()), "look": stories.look(found.kind),
        "sealed": bytes(found.sealed).hex(), "leaf": bytes(found.leaf_hash).hex(),
    }  # fmt: skip
    try:
        body = record.open_payload(found)
    except seal.Tampered as error:
        return shown | {"tampered": str(error)}
    if isinstance(body, record.Erased):
        return shown | {"erased": body}
    return shown | {"tree": payloads.tree(body), "raw": json.dumps(body, indent=2, ensure_ascii=True)}


def _pretty(header: bytes) -> str:
    """A header line by line; one that was altered into something unreadable as it is."""
    try:
        return json.dumps(json.loads(header), indent=2)
    except ValueError:
        return header.decode("ascii", "backslashreplace")


@require_POST
@page(Verb.TRACES_SEE)
def verify_entry(request: HttpRequest, entry_id: UUID) -> HttpResponse:
    """Recompute the entry's hashes and its proof now, and show each step."""
    found = readers.entry(person(request), entry_id)
    return _report(request, inspection.check_entry(found))


@require_POST
@page(Verb.TRACES_SEE)
def verify_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The same for every entry of a session and its chain."""
    found = readers.session(person(request), session_id)
    return _report(request, inspection.check_session(found))


def _report(request: HttpRequest, report: inspection.Report) -> HttpResponse:
    part = "_report" if request.headers.get("HX-Request") else "report"
    return render(request, f"traces/{part}.html", {"report": report, "now": timezone.now()})


@require_POST
@page(Verb.TRACES_SEE)
def clear_label(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Take one label off a session, with a reason; the clearing is logged."""
    user = person(request)
    found = readers.session(user, session_id, verb=Verb.LABEL_CLEAR)
    label, why = request.POST.get("label", "")[:64], request.POST.get("why", "")[:1_000]
    labels.clear_label(session=found, label=label, why=why, actor=actor(user))
    return redirect("trace-session", session_id=found.pk)
