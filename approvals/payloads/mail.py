"""Mail: headers, then the body as text and, where it is HTML, as a harmless preview beside its words."""

from __future__ import annotations

from collections.abc import Sequence

from approvals.payloads import mailhtml
from approvals.payloads.parts import Call, Drawing, Figure, Kind, Past

ORDER = (
    "from", "to", "recipients", "cc", "bcc", "reply_to", "subject", "body", "text", "html", "body_html",
    "html_body", "bodyHtml", "message", "attachments",
)  # fmt: skip
_TO = ("to", "recipients", "recipient")
_HTML = ("html", "body_html", "html_body", "bodyHtml", "body", "message", "content", "text")
MOST_SHOWN = 2


def _fits(call: Call) -> bool:
    return any(name in call.args for name in _TO) and bool({"subject", "body", "html"} & call.args.keys())


def _draw(call: Call, past: Sequence[Past]) -> Drawing:
    names = [
        name for name in _HTML if isinstance(text := call.args.get(name), str) and mailhtml.is_html(text)
    ]
    shown = names[:MOST_SHOWN]
    figures = tuple(
        Figure("mail", mailhtml.mail(name, call.args[name], call.context.known), name) for name in shown
    )
    return Drawing(
        figures, ORDER, dict.fromkeys(shown, "html"),
        dict.fromkeys(shown, "HTML source, shown above as it would be read"),
    )  # fmt: skip


KIND = Kind("mail", _fits, _draw)
