"""Members of another group may answer for a group that is asked: by escalation or by delegation.

One mechanism for both. A widening adds people who may answer and takes none away: the asked group, its
quorum and every check of its votes stay, and one person still counts for one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approvals import notify, states
from approvals.models import Action
from approvals.widening_models import Widening
from traces import record
from traces.problems import Refused

Why = Widening.Why
SUBJECT = "@user"


def voting_groups(action: Action) -> Mapping[str, frozenset[str]]:
    """Each group that a rule asks, with every group whose members' votes count for it, itself among them.

    Reads `action.widenings`, which may be prefetched.
    """
    counting = {str(item["group"]): {str(item["group"])} for item in action.approvals}
    steps = {(item["group"], step["to"]) for item in action.approvals for step in item.get("escalate", ())}
    # A new one has nothing yet that widens whom it asks.
    for row in () if action._state.adding else action.widenings.all():
        # A row about a group that nobody asks lets nobody in, nor one of a step that an edit has taken away.
        holds = row.why != Why.ESCALATED or (row.group, row.by_group) in steps
        if row.group in counting and holds:
            counting[row.group].add(row.by_group)
    return {group: frozenset(names) for group, names in counting.items()}


def widen(
    action: Action, *, group: str, to: str, why: str, actor: str, body: Mapping[str, Any] | None = None
) -> None:
    """Let members of `to` answer for `group` too, for this action only, and tell the pages.

    The caller holds the action's lock (`states.lock`) and has asked whether `actor` may; takes that of its
    session by the log. `why` is escalated or delegated; `body` says more of it in the entry. Appends
    `action.escalated` or `action.delegated`. Raises Refused: conflict (nothing waits any more, or `to`
    answers for it already), invalid (`group` is not asked, or asks the person whom the session serves).
    """
    _refuse(action, group=group, to=to)
    groups = sorted({*action.groups, to})
    told = {**(body or {}), "group": group, "to": to, "digest": action.digest, "revision": action.revision}
    entry = record.append(
        kind=f"action.{Why(why)}", actor=actor, session=action.session, action=str(action.pk), body=told,
        title=f"{action.tool}: {why} from {group} to {to}", text=str(told.get("reason", "")),
        attributes={"group": group, "to": to, "tool": action.tool},
    )  # fmt: skip
    Widening.objects.create(action=action, group=group, by_group=to, why=why, entry=entry.uuid)
    Action.objects.filter(pk=action.pk).update(groups=groups)
    action.groups = groups
    # What was prefetched before knows nothing of the new row.
    getattr(action, "_prefetched_objects_cache", {}).pop("widenings", None)
    notify.about(action, kind=notify.NoticeKind(why), groups=[to])
    states.announce(action)


def groups_of(action: Action) -> list[str]:
    """For the inbox's filter: the groups asked, and those that may answer for them; sorted."""
    return sorted(frozenset().union(*voting_groups(action).values()))


def _refuse(action: Action, *, group: str, to: str) -> None:
    counting = voting_groups(action)
    if action.state != Action.State.PENDING:
        raise Refused("conflict", states.already(action), state=action.state, decided_by=action.decided_by)
    if group not in counting:
        raise Refused("invalid", f"{group} is not asked here", field="group")
    if SUBJECT in (group, to):
        raise Refused("invalid", "nobody else can answer for the person whom the session serves")
    if to in counting[group]:
        raise Refused("conflict", f"{to} answers for {group} already")
