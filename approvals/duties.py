"""Separation of duties: whose vote alone never suffices, and why. The one place for all of it.

Two kinds of people have a stake. Whoever edited an argument that says who or what is affected, in every
action; and, where a rule separates duties, the agent's owner and whoever started its session. Whom a session
serves is what its host said (a username or an address); where nobody vouches for that, it might be anybody,
so two different people are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from approvals.matching import Need
from approvals.models import Action
from approvals.word_models import USER
from policies.models import Agent, User
from traces.models import Session

# How far a session's parents are followed: longer chains than agents make, shorter than a loop.
MAX_PARENTS = 20


def sealed(approvals: list[dict[str, Any]], *, agent: Agent, session: Session) -> list[dict[str, Any]]:
    """What is asked, with who has a stake in it as things stand now: `interested` names them, and where
    nobody vouches for who started the session, `unvouched` is set and two people are needed.
    """
    return [_sealed(item, agent, session) if _separates(item) else item for item in approvals]


def needs(action: Action) -> dict[str, Need]:
    """What each asked group needs, with everybody who has a stake in it, as sealed and as of now."""
    return {str(item["group"]): Need(int(item["quorum"]), _stakes(action, item)) for item in action.approvals}


def marks(user: User) -> frozenset[str]:
    """The names by which a session or an agent may mean this person. Case and blanks tell nobody apart: it is
    safer to take two people for one here than one for two.
    """
    return frozenset(filter(None, map(_mark, (user.username, user.email))))


def has_stake(need: Need, user: User) -> bool:
    """Whether this person's vote alone cannot satisfy what one group needs."""
    return bool(need.interested & marks(user))


def why(action: Action, user: User) -> str:
    """Why this person's vote alone will not do, as the end of a sentence; empty where it may."""
    if action.needs_other_than and action.needs_other_than == user.username:
        return "you changed who or what is affected"
    mine = marks(user)
    for item in action.approvals:
        if not _separates(item):
            continue
        if _mark(_owner(action.agent)) in mine:
            return f"you own {action.agent.name}"
        if mine & _starters(action.session):
            return "you started the session, as its host says"
        if mine & _stakes(action, item):
            return "you had a part in it when it was asked"
    return ""


def notes(action: Action) -> list[str]:
    """What the rules want of who approves, one sentence each, for the card."""
    said = []
    for item in action.approvals:
        if _separates(item):
            whom = _listed(item.get("interested", ()))
            said.append(f"For {item['group']} somebody else than {whom} has to approve.")
        if item.get("unvouched"):
            said.append(
                "Nobody vouches for who started the session, so two different people have to approve."
            )
    if action.needs_other_than:
        said.append(
            f"{action.needs_other_than} changed who or what is affected, so somebody else has to approve too."
        )
    return said


def other_than(names: Iterable[str]) -> str:
    """Who is still needed where only people with a stake have approved."""
    return f"somebody other than {_listed(names)}"


def _separates(item: Mapping[str, Any]) -> bool:
    """Whom the session serves is asked for their own word: there nobody else is meant."""
    return bool(item.get("separate_duties")) and item["group"] != USER


def _sealed(item: Mapping[str, Any], agent: Agent, session: Session) -> dict[str, Any]:
    names = sorted(filter(None, {*item.get("interested", ()), _owner(agent), *_users(session)}))
    told = {**item, "interested": names}
    if session.attested:
        return told
    return {**told, "unvouched": True, "quorum": max(2, int(item["quorum"]))}


def _stakes(action: Action, item: Mapping[str, Any]) -> frozenset[str]:
    if not _separates(item):
        return frozenset()
    names = {*item.get("interested", ()), _owner(action.agent), *_users(action.session)}
    return frozenset(filter(None, map(_mark, {*names, action.needs_other_than})))


def _starters(session: Session) -> frozenset[str]:
    return frozenset(filter(None, map(_mark, _users(session))))


def _users(session: Session) -> list[str]:
    """Whom this session and those that it came from serve."""
    found: list[str] = []
    at: Session | None = session
    for _ in range(MAX_PARENTS):
        if at is None:
            break
        found.append(at.user)
        at = at.parent
    return found


def _owner(agent: Agent) -> str:
    return agent.owner.username if agent.owner else ""


def _mark(name: str) -> str:
    return name.strip().casefold()


def _listed(names: Iterable[str]) -> str:
    known = sorted(set(names))
    return " or ".join(known) if known else "whoever started the session"
