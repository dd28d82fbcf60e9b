"""Asking a person's browser for the signature of a decision: whether it takes one, and over what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from approvals import decisions, stepup
from approvals.models import Action
from approvals.voting import tally
from policies import passkeys
from policies.models import User
from traces.problems import Refused


@dataclass(frozen=True)
class Demand:
    """For which step-up group a person's approval would count (empty: no signature is needed), and what
    keeps them from signing (empty: nothing).
    """

    group: str = ""
    missing: str = ""


def demand(action: Action, user: User) -> Demand:
    """Whether this person's approval of the action, as it stands, has to be signed by a passkey of theirs."""
    counted = tally(action)
    try:
        groups = counted.groups_for(user)
    except Refused:
        return Demand()
    if groups[0] not in counted.step_up:
        return Demand()
    if passkeys.usable(user):
        return Demand(groups[0])
    # Unsigned it may still count for another group that they are in.
    if not counted.step_up.issuperset(groups):
        return Demand()
    return Demand(groups[0], passkeys.site().why_not or "You have no passkey yet.")


def request(
    *, action_id: UUID | str, user: User, digest: str, comment: str, args: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a browser needs to sign the approval (with `args`: of the edited call), as JSON; `{}` where no
    signature is needed. Nothing is changed. Raises Refused as `decisions.edit`.
    """
    if args is None:
        action = decisions.shown(action_id=action_id, user=user, digest=digest)
    else:
        action = decisions.foreseen(action_id=action_id, user=user, digest=digest, args=args)
    if not demand(action, user).group:
        return {}
    wanted = stepup.challenge(action, user, verdict="approve", comment=comment)
    return passkeys.request(wanted, user=user)
