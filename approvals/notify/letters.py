"""What a message says, before a channel gives it its form. Pure, apart from the rows it reads from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from approvals.models import Action
from approvals.notice_models import Notice, NoticeKind, Outlet
from approvals.notify import words
from policies.firewall import known

# More than so many at once are counted, and only the most urgent of them told.
MOST = 5
K = NoticeKind
# Which of several reasons to tell of one action is said.
_FIRST = (K.DECIDED, K.USER_WORD, K.EXPIRING, K.ANSWERED, K.ESCALATED, K.DELEGATED, K.ASKED)
_SAID = {
    K.ASKED: "waits for a decision",
    K.ESCALATED: "was escalated to you",
    K.DELEGATED: "was delegated to you",
    K.EXPIRING: "expires soon",
    K.ANSWERED: "has an answer to your question",
    K.USER_WORD: "needs your own word",
    K.DECIDED: "was decided",
}


@dataclass(frozen=True)
class Item:
    """One action as a message tells it: one line each, at most so long, the invisible spelled out.

    Nothing of it is escaped: each channel does that in its own way.
    """

    action: str
    kind: str
    said: str
    summary: str
    target: str
    tool: str
    agent: str
    rules: str
    until: datetime
    left: str
    clock: str
    link: str


@dataclass(frozen=True)
class Letter:
    """One message: at most five items of `total`, the most urgent first. `bare` ones name nothing."""

    id: str
    at: datetime
    items: tuple[Item, ...]
    total: int
    tools: tuple[tuple[str, int], ...]
    site: str
    bare: bool = False
    test: bool = False
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """One line; still to be made safe where it goes."""
        if self.test:
            return "A test message: notifications arrive here"
        if self.notes:
            return f"{words.count(len(self.notes), 'credential needs', 'credentials need')} attention"
        if self.bare:
            return f"{words.count(self.total, 'action waits', 'actions wait')} for you"
        if self.total == 1:
            said = self.items[0].said
            return f"{said[0].upper()}{said[1:]}: {self.items[0].summary}"
        return f"{words.count(self.total, 'action', 'actions')} to look at"

    @property
    def link(self) -> str:
        """Where to look: a page that asks for sign-in, and that decides nothing by being opened."""
        if self.notes:
            return f"{self.site}/policies/credentials"
        return self.items[0].link if self.total == 1 and self.items else f"{self.site}/"

    @property
    def settings(self) -> str:
        return f"{self.site}/account#notifications"

    @property
    def more(self) -> int:
        return 0 if self.bare else self.total - len(self.items)


def write(
    notices: Sequence[Notice], *, outlet: Outlet, message: str, now: datetime, site: str, bare: bool
) -> Letter:
    """The message of these notices, which are not empty."""
    pressing = _one_an_action(notices)
    pressing.sort(key=lambda notice: (_is_over(notice), notice.action.deadline, str(notice.action_id)))
    tools = Counter(words.line(notice.action.tool, most=100) for notice in pressing)
    shown = () if bare else tuple(_item(each, outlet, now, site) for each in pressing[:MOST])
    counted = () if bare else tuple(tools.most_common(3))
    return Letter(message, now, shown, len(pressing), counted, site, bare=bare)


def test(*, message: str, now: datetime, site: str) -> Letter:
    """What somebody sends to themselves to see whether it arrives."""
    return Letter(message, now, (), 0, (), site, test=True)


def warning(notes: tuple[str, ...], *, message: str, now: datetime, site: str, bare: bool) -> Letter:
    """What is said of credentials; a bare one says only of how many."""
    said = tuple("" if bare else words.line(note, most=300) for note in notes)
    return Letter(message, now, (), 0, (), site, bare=bare, notes=said)


def link_of(site: str, action: Action, kind: str) -> str:
    """The page on which this is read; whoever gives their own word has a page of their own."""
    if kind == K.USER_WORD:
        return f"{site}/mine"
    return f"{site}/?open={quote(str(action.pk))}"


def _one_an_action(notices: Sequence[Notice]) -> list[Notice]:
    found: dict[object, Notice] = {}
    for notice in notices:
        known = found.get(notice.action_id)
        if known is None or _FIRST.index(K(notice.kind)) < _FIRST.index(K(known.kind)):
            found[notice.action_id] = notice
    return list(found.values())


def _is_over(notice: Notice) -> bool:
    return notice.kind == K.DECIDED


def _item(notice: Notice, outlet: Outlet, now: datetime, site: str) -> Item:
    action, zone, clean = notice.action, ZoneInfo(outlet.zone), known.current().masked
    verdict = action.verdict
    rules = [match["name"] for match in verdict["matched"] if match["effect"] == verdict["effect"]]
    target = action.target if action.target != action.tool else ""
    return Item(
        action=str(action.pk), kind=notice.kind, said=_said(notice),
        summary=words.line(clean(action.summary or action.tool), most=300),
        target=words.line(clean(target), most=200),
        tool=words.line(action.tool, most=100), agent=words.line(action.agent.name, most=100),
        rules=words.line(", ".join(rules), most=200), until=action.deadline,
        left=words.left(now, action.deadline),
        clock=f"{action.deadline.astimezone(zone):%H:%M} {outlet.zone}",
        link=link_of(site, action, notice.kind),
    )  # fmt: skip


def _said(notice: Notice) -> str:
    if notice.kind != K.DECIDED:
        return _SAID[K(notice.kind)]
    action = notice.action
    decided = {"rejected": "was rejected", "expired": "expired", "cancelled": "was taken back by its agent"}
    by = (
        f" by {words.line(action.decided_by, most=150)}"
        if action.decided_by and action.state != "cancelled"
        else ""
    )
    return decided.get(action.state, "was approved") + by
