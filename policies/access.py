"""Who may do what: the one table of role and verb that pages, sockets, REST and the admin all ask.

Roles add up: a person with two roles may do what either allows. A role that says "in an asked group" or
"in the agent's team" says nothing outside of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied

from policies.models import Role, User
from traces.problems import Refused


class Verb(StrEnum):
    INBOX_SEE = "open the inbox"
    ACTION_READ = "see this action"
    ACTION_DECIDE = "decide this action"
    ACTION_STOP = "stop this action"
    TRACES_SEE = "open the traces"
    TRACE_READ = "read this trace"
    TRACE_EXPORT = "export this evidence"
    LABEL_CLEAR = "clear a session's label"
    POLICY_READ = "read policies"
    POLICY_EDIT = "edit rules, tools and releases"
    AGENTS_EDIT = "edit agents"
    ACCOUNTS_READ = "read people, keys and names of secrets"
    PEOPLE_EDIT = "edit people and groups"
    KEYS_EDIT = "issue and revoke agents' keys"
    SECRETS_EDIT = "store secrets"
    GRANTS_END = "end a grant now"
    CHANNELS_EDIT = "set up where groups are told"
    KILL = "use the kill switch"
    ALLOWANCE_END = "revoke this allowance"
    TRUST_DECIDE = "decide how far an agent is trusted"
    ACCESS_SIGN = "sign the access review"
    FIREWALL_TRY = "try texts on the firewall"
    TOKEN_ASK = "ask whether a token holds"
    HEALTH_READ = "read the health page"
    INSIGHTS_SEE = "open the insights"
    INSIGHTS_READ = "read insights of this group"


class Where(StrEnum):
    ANYWHERE = "anywhere"
    ASKED = "in an asked group"
    TEAM = "in the agent's team"


@dataclass(frozen=True)
class Access:
    """Whether, and why: `why` names the role that allows it or says what is missing."""

    allowed: bool
    why: str

    def __bool__(self) -> NoReturn:
        # An Access object would be true even where it refuses, so no `if may(…)` may ever pass.
        raise TypeError("ask .allowed")


ANYWHERE, ASKED, TEAM = Where
_EVERYBODY = dict.fromkeys(Role, ANYWHERE)
_OVERSEERS = dict.fromkeys((Role.AUDITOR, Role.EDITOR, Role.ADMINISTRATOR), ANYWHERE)

TABLE: Mapping[Verb, Mapping[Role, Where]] = {
    Verb.INBOX_SEE: _EVERYBODY,
    Verb.ACTION_READ: {Role.AUDITOR: ANYWHERE, Role.APPROVER: ASKED},
    Verb.ACTION_DECIDE: {Role.APPROVER: ASKED},
    Verb.ACTION_STOP: {Role.APPROVER: ASKED, Role.EDITOR: ANYWHERE, Role.ADMINISTRATOR: ANYWHERE},
    Verb.TRACES_SEE: {Role.AUDITOR: ANYWHERE, Role.APPROVER: ANYWHERE, Role.MEMBER: ANYWHERE},
    Verb.TRACE_READ: {Role.AUDITOR: ANYWHERE, Role.MEMBER: TEAM, Role.APPROVER: ASKED},
    Verb.TRACE_EXPORT: {Role.AUDITOR: ANYWHERE, Role.APPROVER: ASKED},
    Verb.LABEL_CLEAR: {Role.APPROVER: TEAM},
    Verb.POLICY_READ: {Role.EDITOR: ANYWHERE, Role.ADMINISTRATOR: ANYWHERE, Role.AUDITOR: ANYWHERE},
    Verb.POLICY_EDIT: {Role.EDITOR: ANYWHERE},
    Verb.AGENTS_EDIT: {Role.EDITOR: ANYWHERE, Role.ADMINISTRATOR: ANYWHERE},
    Verb.ACCOUNTS_READ: {Role.ADMINISTRATOR: ANYWHERE, Role.AUDITOR: ANYWHERE},
    Verb.PEOPLE_EDIT: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.KEYS_EDIT: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.SECRETS_EDIT: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.GRANTS_END: {Role.EDITOR: ANYWHERE, Role.ADMINISTRATOR: ANYWHERE},
    Verb.CHANNELS_EDIT: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.KILL: {Role.ADMINISTRATOR: ANYWHERE, Role.EDITOR: ANYWHERE},
    Verb.ALLOWANCE_END: {Role.APPROVER: ASKED, Role.EDITOR: ANYWHERE, Role.ADMINISTRATOR: ANYWHERE},
    Verb.TRUST_DECIDE: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.ACCESS_SIGN: {Role.ADMINISTRATOR: ANYWHERE},
    Verb.FIREWALL_TRY: _EVERYBODY,
    Verb.TOKEN_ASK: _EVERYBODY,
    Verb.HEALTH_READ: _EVERYBODY,
    Verb.INSIGHTS_SEE: {**_OVERSEERS, Role.APPROVER: ANYWHERE},
    Verb.INSIGHTS_READ: {**_OVERSEERS, Role.APPROVER: ASKED},
}

# The admin's models: what seeing and what changing them takes. A model that is not here is not there.
MODELS: Mapping[str, tuple[Verb, Verb]] = {
    "policies.agent": (Verb.POLICY_READ, Verb.AGENTS_EDIT),
    "policies.limit": (Verb.POLICY_READ, Verb.AGENTS_EDIT),
    "policies.tool": (Verb.POLICY_READ, Verb.POLICY_EDIT),
    "policies.rule": (Verb.POLICY_READ, Verb.POLICY_EDIT),
    "policies.case": (Verb.POLICY_READ, Verb.POLICY_EDIT),
    "policies.release": (Verb.POLICY_READ, Verb.POLICY_EDIT),
    "policies.grant": (Verb.POLICY_READ, Verb.GRANTS_END),
    "policies.allowance": (Verb.POLICY_READ, Verb.ALLOWANCE_END),
    "policies.switch": (Verb.POLICY_READ, Verb.KILL),
    "policies.user": (Verb.ACCOUNTS_READ, Verb.PEOPLE_EDIT),
    "auth.group": (Verb.ACCOUNTS_READ, Verb.PEOPLE_EDIT),
    "policies.agentkey": (Verb.ACCOUNTS_READ, Verb.KEYS_EDIT),
    "policies.personaltoken": (Verb.ACCOUNTS_READ, Verb.PEOPLE_EDIT),
    "policies.secret": (Verb.ACCOUNTS_READ, Verb.SECRETS_EDIT),
}
# Whoever runs commands on the machine itself, as the log names them.
OPERATOR = "operator"
# Who finds anything in the admin, and so carries Django's `is_staff`.
STAFF = frozenset({Role.ADMINISTRATOR, Role.EDITOR, Role.AUDITOR})


def actor(user: User) -> str:
    """How the log names a person: an id, since an entry's header outlives an erasure."""
    return f"user:{user.pk}"


def may(user: User | AnonymousUser, verb: Verb, *, team: str = "", groups: Iterable[str] = ()) -> Access:
    """Whether this person may do this, and why.

    `team` is the team of the agent that it concerns, `groups` the approver groups that are asked.
    """
    if not isinstance(user, User) or not user.is_active:
        return Access(False, "Nobody is signed in, or the account is switched off.")
    asked = frozenset(groups)
    missing = []
    for role, where in TABLE[verb].items():
        if role not in user.roles:
            continue
        place = _place(user, where, team, asked)
        if place:
            return Access(True, f"{Role(role).label}, {place}")
        missing.append(f"as {Role(role).label.lower()} only {where}")
    return Access(False, f"You may not {verb}: {'; '.join(missing) or 'no role of yours allows it'}.")


def require(user: User | AnonymousUser, verb: Verb, *, team: str = "", groups: Iterable[str] = ()) -> User:
    """The person, who may. Raises Refused("forbidden") with the reason otherwise."""
    access = may(user, verb, team=team, groups=groups)
    if not access.allowed or not isinstance(user, User):
        raise Refused("forbidden", access.why)
    return user


def teams_read(user: User | AnonymousUser) -> frozenset[str] | None:
    """The teams whose traces this person reads by TRACE_READ, for a query; None means every team."""
    if may(user, Verb.TRACE_READ).allowed:
        return None
    if isinstance(user, User) and user.has_role(Role.MEMBER):
        return user.group_names
    return frozenset()


def groups_decided(user: User | AnonymousUser) -> frozenset[str]:
    """The groups for which this person may decide, for a query."""
    if isinstance(user, User) and user.has_role(Role.APPROVER):
        return user.answers_for
    return frozenset()


def groups_overseen(user: User | AnonymousUser) -> frozenset[str] | None:
    """The groups whose insights this person reads, for a query; None means every group."""
    return None if may(user, Verb.INSIGHTS_READ).allowed else groups_decided(user)


def _place(user: User, where: Where, team: str, asked: frozenset[str]) -> str:
    """Where the role holds here, as words; empty where it does not."""
    if where is ANYWHERE:
        return "anywhere"
    if where is TEAM:
        return f"in the team {team}" if team and team in user.group_names else ""
    mine = sorted(asked & user.group_names)
    if not mine and asked:
        return next((f"in {group}, for who is away" for group in sorted(asked & user.answers_for)), "")
    return f"in {mine[0]}" if mine else ""


class TableBackend(BaseBackend):
    """Answers Django's permission questions, the admin's above all, from the table.

    It signs nobody in. Where the table says no it raises PermissionDenied, which ends the search: another
    backend would look into permissions of groups, a second table that nobody sees.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        app, _, rest = perm.partition(".")
        word, _, model = rest.partition("_")
        verbs = MODELS.get(f"{app}.{model}")
        if verbs is None:
            raise PermissionDenied(f"the table knows no {perm}")
        needed = verbs if word == "view" else verbs[1:]
        if any(may(user_obj, verb).allowed for verb in needed):
            return True
        raise PermissionDenied(f"no role allows {perm}")

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        known = [verbs for model, verbs in MODELS.items() if model.startswith(f"{app_label}.")]
        if any(may(user_obj, verb).allowed for verbs in known for verb in verbs):
            return True
        raise PermissionDenied(f"no role allows anything in {app_label}")
