"""Links that were copied letter for letter from a message. Pure.

Opening a link carries its own letters outside. Where somebody else wrote all of them before, none of them can
be this session's data; where the agent put the link together, any can. So a copied link is worth less than a
link that the user wrote, and more than any other value of outsiders:

- it stands whole in a field of a trusted tool's answer that others write, in a record that says who: a
  message whose sender the tool vouches for. A page that anybody may have written offers none, or it would
  lead from page to page; nor does a mail whose sender is only claimed; and it leads to a public name;
- the answer was to the user's question: he named the channel or mailbox, or there was nothing to choose;
- it is equal sign by sign, but for a scheme put before it;
- the call carries nothing else that is not the user's or a trusted tool's.

Which of several links is opened tells something too: `MAX_LINKS` and `MAX_READS` keep that under twelve bits
a session. What the session itself may have written is for the caller to leave out (`approvals.following`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from policies import records
from policies.lookup import Origin, Source
from policies.passages import Passages
from policies.values import pointer

MAX_LINKS = 16
MAX_READS = 3
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'`()\[\]{}|\\^\x00-\x20\x7f]{3,500}", re.IGNORECASE)
_LOOKS_LIKE = re.compile(r"(?:https?://|www\.)\S", re.IGNORECASE)
_SCHEMES = ("https://", "http://")
# No addresses, ports or users: a link from outside shall not open what stands inside.
_PUBLIC = re.compile(
    r"(?:[a-z0-9-]{1,63}\.)+(?!(?:local|internal|localhost|lan|home|corp|arpa)$)[a-z][a-z0-9-]*[a-z0-9]"
)
_AUTHOR = frozenset(("sender", "from", "author", "user", "username", "by", "creator", "owner", "poster"))
_OURS = ("user", "named", "trusted", "reviewer")
_ENDS = ".,;:!?…"


def offered(sources: Iterable[Source]) -> dict[str, str]:
    """The links that may be copied, each with the entry it stands in first; none where there are too many."""
    found: dict[str, str] = {}
    for source in sources:
        if source.origin == "trusted" and source.call is not None and source.call.is_the_users_question:
            for text in _written_by_others(source):
                for link in _LINK.findall(text):
                    found.setdefault(link.rstrip(_ENDS), source.entry_id)
    if len(found) > MAX_LINKS:
        return {}
    return {link: entry for link, entry in found.items() if _PUBLIC.fullmatch(host(link))}


def _written_by_others(source: Source) -> Iterator[str]:
    """What others wrote into records that say who it was."""
    signed: dict[tuple[str, ...], bool] = {}
    bodies: list[tuple[tuple[str, ...], str]] = []
    quoted = Passages(source.quoted)
    for field in source.fields:
        record = field.record or ()
        if quoted.touch(field.start, field.end):
            bodies.append((record, source.text[field.start : field.end]))
        elif _AUTHOR & set(records.words(field.key)) and field.start < field.end:
            signed[record] = True
    return (text for record, text in bodies if record in signed)


def wanted(args: Mapping[str, Any], origins: Mapping[str, Origin]) -> bool:
    """Whether an argument could be a copied link at all: a name of a host that only outsiders wrote."""
    return any(
        isinstance(value, str) and _LOOKS_LIKE.match(value) is not None
        and (found := origins.get(pointer((name,)))) is not None and found.origin == "untrusted"
        for name, value in args.items()
    )  # fmt: skip


def copied(
    args: Mapping[str, Any], origins: Mapping[str, Origin], links: Mapping[str, str]
) -> dict[str, str]:
    """The arguments that are a copied link, each with the link as it was offered.

    None unless every other leaf of the call is the user's, a trusted tool's or a reviewer's.
    """
    found = {name: link for name, value in args.items() if (link := _as_offered(value, links))}
    others = (origin for path, origin in origins.items() if path not in {pointer((name,)) for name in found})
    return found if all(origin.origin in _OURS for origin in others) else {}


def host(link: str) -> str:
    """The host that a link leads to, in lower case, with the port and user it names, if any."""
    try:
        return urlsplit(link if "://" in link else f"//{link}").netloc.lower() or link
    except ValueError:
        return link


def _as_offered(value: Any, links: Mapping[str, str]) -> str:
    if not isinstance(value, str):
        return ""
    bare = next((value[len(scheme) :] for scheme in _SCHEMES if value.startswith(scheme)), value)
    return next((link for link in (value, bare) if link in links), "")
