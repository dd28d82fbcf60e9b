"""Payloads as markup where a template would be too slow: code, differences, tables, trees, tricks.

Everything foreign goes through `_text`: escaped, and what cannot be seen spelled out. What is written here
beside it is fixed tags with fixed classes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import islice
from typing import Any

from django import template
from django.conf import settings
from django.utils.safestring import SafeString, mark_safe

from approvals.models import Action
from approvals.payloads.linediff import Diff, Line, Stretch
from approvals.payloads.parts import Code, Node, Value
from policies import lookalikes
from policies.lookalikes import Known
from traces import presenters
from traces.templatetags import agentsec

register = template.Library()
_FOREIGN = ' class="from-untrusted"'
MOST_TOLD = 50
# On one line, what stood on the next must not pass for the end of a comment.
_LINE_END = re.compile(r"[\r\n]")
_SIGNS = {"+": ("ins", "ins", "added: "), "-": ("del", "del", "removed: ")}


@register.filter
def cut(text: Any, most: int = 100) -> SafeString:
    """A text for a line: whole if it is short, else its start, how much is left out, and its end.

    A line's end shows as ↵. The end of an address says whose it is, so a long one must not hide it. The whole
    is the title.
    """
    lines = (line.strip() for line in _LINE_END.split(str("" if text is None else text)))
    whole = " ↵ ".join(filter(None, lines))
    if len(whole) <= most:
        return agentsec.visible(whole)
    head = most * 3 // 5
    start, end = whole[:head], whole[len(whole) - (most - head) :]
    left = f"{len(whole) - most:,}"
    return _safe(
        f'<span class="cut" title="{escape(presenters.visible(whole[:2000]))}">{_text(start)}'
        f'<span class="cut-out">…{left} more…</span>{_text(end)}</span>'
    )


@register.filter
def coloured(code: Code) -> SafeString:
    """Code with its colours, its findings and tricks marked, the invisible spelled out."""
    text = code.value.text
    marks = sorted(map(presenters.mark_of, code.value.marks), key=lambda mark: (mark.start, mark.end))
    parts, at = list[str](), 0
    for start, end, over in _spans(marks, len(text)):
        parts += _runs(text, code.runs, at, start)
        parts.append(agentsec.markup(presenters.pieces(text[start:end], over)))
        at = end
    return _safe("".join((*parts, *_runs(text, code.runs, at, len(text)))))


def _spans(marks: Iterable[presenters.Mark], length: int) -> Iterator[tuple[int, int, list[presenters.Mark]]]:
    """Stretches that marks cover, each with its marks counted from where it starts. They win over colours."""
    groups: list[list[presenters.Mark]] = []
    reached = 0
    for mark in marks:
        if groups and mark.start < reached:
            groups[-1].append(mark)
        else:
            groups.append([mark])
        reached = max(reached, mark.end)
    for group in groups:
        start, end = max(0, group[0].start), min(length, max(mark.end for mark in group))
        if start < end:
            yield start, end, [replace(m, start=m.start - start, end=m.end - start) for m in group]


def _runs(text: str, runs: Sequence[tuple[int, int, str]], start: int, end: int) -> Iterator[str]:
    """text[start:end] with its colours."""
    at = start
    for first, last, look in runs[max(0, bisect_right(runs, (start,)) - 1) :]:
        if first >= end:
            break
        if last <= at:
            continue
        begin, stop = max(first, at), min(last, end)
        yield _text(text[at:begin])
        yield f'<span class="{look}">{_text(text[begin:stop])}</span>'
        at = stop
    yield _text(text[at:end])


@register.filter
def difference(diff: Diff) -> SafeString:
    """A difference with line numbers; what stayed is folded, and each fold says how many lines it holds."""
    return _safe("".join(map(_stretch, diff.stretches)))


def _stretch(stretch: Stretch) -> str:
    lines = "".join(map(_line, stretch.lines))
    if not stretch.folded:
        return f'<pre class="code wrap diff" tabindex="0">{lines}</pre>'
    said = f"{stretch.count:,} unchanged line" + ("s" if stretch.count != 1 else "")
    if not stretch.lines:
        return (
            f'<p class="fold-far small muted">{said}: too many to write twice, the whole text is below.</p>'
        )
    inner = f'<pre class="code wrap diff" tabindex="0">{lines}</pre>'
    return f'<details class="fold"><summary>{said}</summary>{inner}</details>'


def _line(line: Line) -> str:
    numbers = f'<span class="line-no">{line.before or "":>4} {line.after or "":>4}</span> '
    if line.sign == "@":
        return f'<span class="hunk">{_text(line.text)}</span>\n'
    if line.sign == " ":
        return f"{numbers}  {_text(line.text)}\n"
    tag, look, said = _SIGNS[line.sign]
    shown = f'<span class="sr">{said}</span>{line.sign} {_text(line.text)}'
    return f'{numbers}<{tag} class="{look}">{shown}</{tag}>\n'


@register.filter
def cells(rows: Iterable[Sequence[Value]]) -> SafeString:
    """Rows of a table, with what was found in each cell."""
    return _safe("".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows))


def _cell(value: Value) -> str:
    return f"<td>{_value(value)}</td>"


@register.filter
def tree(node: Node) -> SafeString:
    """A nested value as lists within lists, with labels."""
    return _safe(_node(node))


def _node(node: Node) -> str:
    if node.value is not None:
        return _value(node.value) or '<span class="muted">empty</span>'
    if node.listed:
        return f'<ol class="items">{"".join(f"<li>{_node(child)}</li>" for child in node.children)}</ol>'
    return f'<dl class="kv inner">{"".join(map(_entry, node.children))}</dl>'


def _entry(child: Node) -> str:
    note = f'<span class="arg-note">{_text(child.note)}</span>' if child.note else ""
    return f"<dt>{_text(child.label)}{note}</dt><dd>{_node(child)}</dd>"


def _value(value: Value) -> str:
    if value.marks:
        return agentsec.marked(value.text, value.marks)
    return _text(value.text)


@register.inclusion_tag("approvals/payload/_tricks.html")
def tricks_in(texts: Iterable[str], known: Known) -> dict[str, Any]:
    """What tricks these texts play on eyes, told in words, each once and MOST_TOLD at most."""
    found = (trick for text in texts for trick in lookalikes.tricks(text, known))
    return {"tricks": list({trick.said: trick for trick in islice(found, MOST_TOLD)}.values())}


@register.filter
def items(values: Iterable[Value]) -> SafeString:
    """Values as the items of a list; what only outsiders may have written is marked."""
    return _safe(
        "".join(f"<li{_FOREIGN if v.origin == 'untrusted' else ''}>{_value(v)}</li>" for v in values)
    )


@register.simple_tag
def row_trick(action: Action) -> SafeString:
    """The first trick of a row's target, beside the organisation's domains and the requester's own."""
    requester = action.session.user if action.session.attested else ""
    found = lookalikes.tricks(action.target[:5_000], _own(requester))
    if not found:
        return _safe("")
    return _safe(f'<span class="trick"><span class="sr">Beware: </span>{_text(found[0].said)}</span>')


def _own(requester: str) -> Known:
    return lookalikes.known((*settings.AGENTSEC_DOMAINS, *lookalikes.hosts(requester)))


@register.filter
def listed(texts: Iterable[str]) -> SafeString:
    """Texts with commas between."""
    return agentsec.visible(", ".join(texts))


@register.filter
def marks(text: Any, known: Known) -> SafeString:
    """A text with its tricks marked."""
    whole = str("" if text is None else text)
    found = lookalikes.tricks(whole, known)
    return agentsec.marked(whole, found) if found else _safe(_text(whole))


@register.filter
def trusted_markup(markup: str) -> SafeString:
    """What `mailhtml` wrote: fixed tags without attributes, all else escaped."""
    return _safe(markup)


def _clear(text: str) -> bool:
    return not presenters.hides(text)


def _text(text: str) -> str:
    return escape(text) if _clear(text) else str(agentsec.visible(text))


def _safe(markup: str) -> SafeString:
    return mark_safe(markup)
