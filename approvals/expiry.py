"""What is said of an action that nobody decided in time: to its agent a rejection, with this reason."""

from __future__ import annotations

from approvals import word
from approvals.models import Action
from approvals.voting import tally
from approvals.widening import voting_groups
from approvals.word_models import USER
from policies.rules import duration


def reason(action: Action) -> str:
    """Why it expires now; the caller holds its lock. Say who was asked, how long, and how many did answer."""
    if action.state != Action.State.PENDING:
        return "it did not start in time"
    counted, groups = tally(action), voting_groups(action)
    waited = duration(max(1, round((action.deadline - action.changed_at).total_seconds())))
    silent = [group for group in counted.needs if counted.lacking(group) and group != USER]
    said = []
    for group in silent:
        others = sorted(groups[group] - {group})
        asked = " or ".join([group, *others])
        have, need = counted.counts[group], counted.needs[group].quorum
        said.append(f"only {have} of {need} of {asked}" if have else f"nobody of {asked}")
    told = [f"{' and '.join(said)} decided within {waited}"] if said else []
    if USER in counted.needs and counted.lacking(USER):
        why = word.obstacle(action.session)
        told.append(f"the user’s own word did not come within {waited}" + (f": {why}" if why else ""))
    return "; ".join(told) or f"nobody else approved within {waited}"
