"""Incoming webhooks as Slack has them, and Mattermost, Rocket.Chat and others after it.

Form: https://api.slack.com/messaging/webhooks; escapes: https://api.slack.com/reference/surfaces/formatting.
What an agent could have written stands in code spans, where no server looks for mentions or addresses.
"""

from __future__ import annotations

from approvals.notify import posting, words
from approvals.notify.channel import Channel, Destination, always
from approvals.notify.letters import Item, Letter


def escape(text: str) -> str:
    """Foreign words for mrkdwn: one code span, in which nothing mentions, links or formats."""
    safe = words.defang(text).replace("`", "'").replace("@", "[@]")
    return "`" + safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") + "`"


def render(letter: Letter) -> str:
    """The message's text."""
    if letter.notes and not letter.bare:
        said = "\n".join(escape(note) for note in letter.notes)
        return f"*{letter.title}*\n{said}\n<{letter.link}|Open agentsec>"
    if letter.test or letter.bare:
        return f"{letter.title}.\n<{letter.link}|Open agentsec>"
    lines = [_item(item) for item in letter.items]
    if letter.total > 1:
        lines.insert(0, f"*{words.count(letter.total, 'action', 'actions')} to look at*{_tools(letter)}")
    if letter.more:
        lines.append(f"<{letter.link}|and {letter.more:,} more>")
    return "\n".join(lines)


def _tools(letter: Letter) -> str:
    if not letter.more:
        return ""
    return ": " + ", ".join(f"{number:,} {escape(tool)}" for tool, number in letter.tools)


def _item(item: Item) -> str:
    about = [f"agent {escape(item.agent)}", f"tool {escape(item.tool)}"]
    about += [f"target {escape(item.target)}"] if item.target else []
    about += [f"rule {escape(item.rules)}"] if item.rules else []
    waits = "" if item.kind == "decided" else f" ({item.left} left)"
    return f"*{_said(item)}*{waits}: {escape(item.summary)}\n{' · '.join(about)}\n<{item.link}|Open>"


def _said(item: Item) -> str:
    safe = item.said.translate(str.maketrans("", "", "&<>@*_~`"))
    return safe[:1].upper() + safe[1:]


def deliver(letter: Letter, to: Destination) -> None:
    """Post it. Raises Undelivered."""
    body = {
        "text": render(letter),
        "mrkdwn": True,
        "link_names": 0,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    posting.post(to.url, posting.encode(body), {})


CHANNEL = Channel(
    name="slack", label="Slack-compatible webhook",
    about="An incoming webhook of Slack, Mattermost, Rocket.Chat and others.",
    available=always, deliver=deliver, has_url=True,
)  # fmt: skip
