"""The user's own word: rules that ask `@user`, the person whom the session serves.

Who that is, only a session says that was opened with `attest`; nobody's word counts anywhere else. Here is
what counts and why not; giving it is in `confirming`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings

from approvals import duties, sworn
from approvals.models import Action
from approvals.word_models import USER, ConfirmationLink, Word
from policies.models import User
from traces.models import Session
from traces.problems import Refused

# How pages and the log call that person where the name itself would outlive an erasure.
SERVED = "the person it serves"
LINK_MADE, LINK_ENDED = "confirmation.link_made", "confirmation.link_ended"
WAYS = {"host": "by the host’s word", "link": "on a page of their own", "account": "signed in"}
SPEAKERS = {"host": "the host application", "link": "the user’s own page"}


def asks(action: Action) -> bool:
    """Whether the user's own word is among what it asks for."""
    return any(item["group"] == USER for item in action.approvals)


def obstacle(session: Session) -> str:
    """Why nobody can give the user's word in this session; empty where somebody can."""
    if not session.user:
        return "the session names nobody whom it serves"
    if not session.attested:
        return "the session was opened without `attest`, so whom it serves is only the agent’s word"
    return ""


def account_name(user: User) -> str:
    """The name under which this account gives its own word; empty where accounts give none.

    Only the user name: it is unique, and an account's address is proved by nobody.
    """
    return user.username if settings.AGENTSEC_WORD_BY_ACCOUNT and user.is_active else ""


def is_served(user: User, session: Session) -> bool:
    """Whether this account is the person whom the session serves, as only its host application says."""
    name = account_name(user)
    return bool(name) and session.attested and session.user == name


def standing(action: Action) -> Word | None:
    """The word that stands on what is asked now. Reads the words that were prefetched."""
    now = (action.digest, action.revision)
    found = (word for word in action.words.all() if not word.void and (word.digest, word.revision) == now)
    return next(found, None)


def given(action: Action) -> int:
    """How many approvals the user’s word makes, 0 or 1; asks the database nothing where words were read."""
    word = standing(action) if USER in action.groups else None
    return int(word is not None and word.verdict == Word.Verdict.APPROVE)


def approvals(action: Action) -> tuple[Word, ...]:
    """The approval that counts, with the way that it came; empty where there is none."""
    words = action.words.select_related("key", "link__key", "account").filter(
        void=False, verdict=Word.Verdict.APPROVE, digest=action.digest, revision=action.revision
    )
    return tuple(words)


def asked_of(action: Action) -> str:
    """The name of the person whose word is waited for, as the host calls them; empty where none is."""
    if action.state != Action.State.PENDING or not asks(action) or obstacle(action.session):
        return ""
    return "" if standing(action) else action.session.user


def note(action: Action) -> dict[str, str]:
    """What an agent is told of its user's word while the action is open; empty where none is asked for."""
    if action.state not in (Action.State.PENDING, Action.State.READY) or not asks(action):
        return {}
    if standing(action):
        return {"state": "given"}
    if why := obstacle(action.session):
        return {"state": "impossible", "why": why}
    return {"state": "waiting", "why": "the person whom the session serves has to confirm it"}


def double(action: Action, user: User) -> str:
    """Why this person’s vote would be a second one beside their own word; empty where it is not."""
    # As where duties are separated: better to take two people for one than one for two.
    if not asks(action) or duties.mark(action.session.user) not in duties.marks(user):
        return ""
    return "this asks for your own word, and one person counts once: give that, and let others vote"


def refuse_double(action: Action, user: User) -> None:
    """Raise Refused("forbidden") where this person’s approval would count twice."""
    if why := double(action, user):
        raise Refused("forbidden", why)


def unfit(action: Action, words: Iterable[Word]) -> str:
    """Why a word does not carry the action any more; empty while each does.

    A key or link that was revoked takes its words along: it may have been in the wrong hands. One that has
    only run out does not.
    """
    for word in words:
        if why := obstacle(action.session) or _unfit(word, action):
            return f"the word of {SERVED} no longer holds: {why}"
    return ""


def _unfit(word: Word, action: Action) -> str:
    if word.account is not None:
        theirs = word.account.is_active and word.account.username == action.session.user
        return "" if theirs else "the account is switched off, or is another person’s"
    key = word.link.key if word.link is not None else word.key
    if key is None or str(key.agent_id) != str(action.agent_id) or not key.attests:
        return "the key is no host’s key of this agent"
    if key.revoked_at is not None:
        return "the host’s key was revoked"
    if word.link is not None and word.link.session_id != action.session_id:
        return "the link is another session’s"
    return "the link was ended" if word.link is not None and word.link.revoked_at is not None else ""


def contradiction(action: Action, words: Iterable[Word]) -> str:
    """Where the log says something else than the rows about whom the session serves and what they said;
    empty if not.
    """
    for word in words:
        if not _attested(action.session):
            return "the log does not hold whom the session serves: it was altered outside agentsec"
        if not any(_says(header, body, word, action) for header, body in sworn.sealed(uuid=word.entry)):
            return f"the log holds no approval by {SERVED}: it was made outside agentsec"
        if sworn.withdrawn(action, word.entry):
            return f"the log holds that the approval by {SERVED} counts no more"
        # A link whose end its row tells is no contradiction: its word only holds no longer.
        if word.link is not None and word.link.revoked_at is None and not _made(word.link):
            return f"the log holds no such link of {SERVED}, or that it was ended"
    return ""


def _attested(session: Session) -> bool:
    """Whether the session's first entry says, as it was sealed, that this is whom it serves."""
    return any(
        header.get("kind") == "session.opened" and header.get("session") == str(session.pk)
        and body.get("attested") is True and body.get("user") == session.user
        for header, body in sworn.sealed(session_id=session.pk, kind="session.opened")
    )  # fmt: skip


def _made(link: ConfirmationLink) -> bool:
    """Whether the host made this link, by the log, and has not ended it."""
    session, host, made = str(link.session_id), f"host:{link.key_id}", False
    for header, body in sworn.sealed(session_id=link.session_id, kind__in=[LINK_MADE, LINK_ENDED]):
        if (header.get("session"), body.get("link")) != (session, str(link.pk)):
            continue
        if header["kind"] == LINK_ENDED and str(header["actor"]).startswith("host:"):
            return False
        signed = (header["kind"], header["actor"], body.get("sha256"))
        made = made or signed == (LINK_MADE, host, link.sha256)
    return made


def _says(header: Any, body: Any, word: Word, action: Action) -> bool:
    signed = tuple(header.get(name) for name in ("kind", "action", "actor"))
    said = tuple(body.get(name) for name in ("verdict", "digest", "group", "channel", "by"))
    return signed == ("vote.approve", str(action.pk), word.actor) and said == (
        "approve", action.digest, USER, word.channel, action.session.user,
    )  # fmt: skip


def describe(action: Action) -> dict[str, Any] | None:
    """The word that stands, for REST; None where there is none."""
    word = standing(action)
    if word is None:
        return None
    told = {"verdict": word.verdict, "comment": word.comment, "revision": word.revision}
    return {"user": action.session.user, "by": word.channel, **told, "at": word.at.isoformat()}


def speaker(actor: str) -> str:
    """Who spoke, where the log names a host's key or a link; empty for anybody else."""
    return SPEAKERS.get(actor.partition(":")[0], "")
