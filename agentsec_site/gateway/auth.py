"""Who calls: an agent by its key (`ask_…`) or a person by a personal token (`ast_…`), as a bearer credential.

No cookie ever authenticates a call, so no page in a browser can be made to call the API for its user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from django.http import HttpRequest
from ninja.security import HttpBearer

from policies import factors
from policies.agents import authenticate_key
from policies.models import Agent, AgentKey, User
from policies.people import authenticate_token
from traces.problems import Forbidden, Unauthorized

_AGENT_KEY = re.compile(r"ask_[A-Za-z0-9_-]{20,200}")
_PERSONAL_TOKEN = re.compile(r"ast_[A-Za-z0-9_-]{20,200}")


@dataclass(frozen=True)
class AgentCaller:
    """An agent, and the key that it showed, whose scopes say what it may do."""

    agent: Agent
    key: AgentKey

    def must(self, scope: str) -> None:
        """Raises Forbidden where the key lacks a scope."""
        if scope not in self.key.scopes:
            raise Forbidden(f"This key lacks the scope “{scope}”.", scopes=list(self.key.scopes))


@dataclass(frozen=True)
class PersonCaller:
    """A person, by a token that expires and never satisfies step-up."""

    user: User


Caller = AgentCaller | PersonCaller


class AgentKeyAuth(HttpBearer):
    """Takes agent keys only."""

    openapi_description = "An agent's key, `ask_…`; `manage.py agent create NAME` prints one."

    def authenticate(self, request: HttpRequest, token: str) -> AgentCaller:
        return _agent(token)


class PersonalTokenAuth(HttpBearer):
    """Takes personal tokens only."""

    openapi_description = "A person's token, `ast_…`; `manage.py token create USER` prints one."

    def authenticate(self, request: HttpRequest, token: str) -> PersonCaller:
        return _person(token)


class AnyAuth(HttpBearer):
    """Takes either."""

    openapi_description = "An agent's key or a person's token."

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        return _agent(token) if token.startswith("ask_") else _person(token)


def _agent(token: str) -> AgentCaller:
    if _PERSONAL_TOKEN.fullmatch(token):
        raise Forbidden("This call is for agents: it takes an agent's key, not a person's token.")
    key = authenticate_key(token) if _AGENT_KEY.fullmatch(token) else None
    if key is None:
        raise Unauthorized("The key is unknown, expired or revoked.")
    return AgentCaller(agent=key.agent, key=key)


def _person(token: str) -> PersonCaller:
    if _AGENT_KEY.fullmatch(token):
        raise Forbidden("This call is for people: it takes a personal token, not an agent's key.")
    user = authenticate_token(token) if _PERSONAL_TOKEN.fullmatch(token) else None
    if user is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    if why := factors.lacking(user):
        raise Forbidden(why)
    return PersonCaller(user=user)


agents = AgentKeyAuth()
people = PersonalTokenAuth()
anyone = AnyAuth()


def caller(request: HttpRequest) -> Caller:
    """Who was authenticated for this request."""
    return cast(Caller, request.auth)  # type: ignore[attr-defined]


def again(request: HttpRequest) -> Caller:
    """The caller, authenticated anew: after a wait the key may be revoked, or the person out of the group.

    Raises Unauthorized.
    """
    return AnyAuth().authenticate(request, request.headers["Authorization"].partition(" ")[2])


def agent_caller(request: HttpRequest, *, scope: str = "") -> AgentCaller:
    """The calling agent; raises Forbidden where the key lacks `scope`."""
    found = cast(AgentCaller, caller(request))
    if scope:
        found.must(scope)
    return found


def person(request: HttpRequest) -> User:
    """The calling person."""
    return cast(PersonCaller, caller(request)).user
