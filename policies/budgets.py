"""Keeping shared limits: each call under one is counted with the limit's row locked until commit.

Lock order, everywhere: the agent or the action first, then limits by their key, then the session. So calls of
many agents at once pass no limit by one and never wait for each other in a ring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from policies import limits
from policies.limit_models import PLACES, Charge, Limit, Tally
from policies.models import Agent
from traces import record
from traces.problems import Refused

STEP = Decimal(1).scaleb(-PLACES)
LARGEST = Decimal(10) ** 30
_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True)
class Counted:
    """One call as it was counted under one limit; `amount` is None where nothing is added up."""

    limit: Limit
    day: Tally
    amount: Decimal | None


def admit(
    *, agent: Agent, tool: str, args: Mapping[str, Any], now: datetime, waiting: Callable[[Limit], int]
) -> tuple[Counted, ...]:
    """Let one call in under every shared limit that covers it, and count it.

    Needs the transaction of the action, and `keep` once it is stored. Locks the limits. `waiting` is asked
    under that lock how many calls under a limit wait for people. Raises Refused: limit with `retry_after` in
    seconds, invalid where an argument that is added up is no amount.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("admit needs the transaction of the action it lets in")
    return tuple(_admit(limit, args, now, waiting) for limit in _locked(agent, tool))


def keep(counted: tuple[Counted, ...], *, action_id: UUID) -> None:
    """Remember what the stored action takes of each sum, so that it can be given back."""
    Charge.objects.bulk_create(
        Charge(tally=one.day, action_id=action_id, amount=one.amount)
        for one in counted
        if one.amount is not None
    )


@transaction.atomic
def give_back(*, action_id: UUID) -> None:
    """The action will never happen: what it took of each sum is free again. Its count is not.

    Locks the limits: call it before the session is locked, or once that transaction stands.
    """
    charges = Charge.objects.filter(action_id=action_id).select_related("tally")
    for charge in _by_limit(charges):
        taken, _ = Charge.objects.filter(pk=charge.pk).delete()
        if taken:
            Tally.objects.filter(pk=charge.tally_id).update(total=F("total") - charge.amount)


def change(*, action_id: UUID, agent: Agent, tool: str, args: Mapping[str, Any], now: datetime) -> None:
    """The action's arguments were edited: its sums change with them. Raises Refused as `admit`.

    Locks the limits; the caller has the action locked.
    """
    for limit in _locked(agent, tool):
        if limit.sum_of:
            _recharge(limit, action_id, amount_of(args, limit.sum_of), now)


def amount_of(args: Mapping[str, Any], path: str) -> Decimal:
    """The sum of the numbers at a path such as `lines.amount`, through objects and lists; 0 if there is none.

    Raises Refused("invalid") for what is no amount: a negative one would make room for others.
    """
    return sum((_amount(value, path) for value in _at(args, path.split("."))), Decimal(0))


def changed(limit: Limit, *, what: str, by: str) -> None:
    """Append `limit.changed`: a limit acts at once, without a release."""
    fields = {"limit": limit.name, "what": what, "tool": limit.tool, "group": limit.group}
    ceilings = {"per_minute": limit.per_minute, "per_day": limit.per_day, "pending": limit.pending}
    total = None if limit.sum_per_day is None else str(limit.sum_per_day)
    body = fields | ceilings | {"agent": limit.agent, "sum_of": limit.sum_of, "sum_per_day": total}
    with transaction.atomic():
        record.append(kind="limit.changed", actor=by, body=body, title=f"Limit {limit.name} {what}")


def _locked(agent: Agent, tool: str) -> list[Limit]:
    """The limits that cover a call, locked in the order of their keys, as they stand under the lock."""
    group = agent.team.name if agent.team else ""
    names = {"agent": agent.name, "group": group, "tool": tool}
    keys = [limit.pk for limit in Limit.objects.all() if limit.covers(**names)]
    if not keys:
        return []
    rows = Limit.objects.select_for_update(no_key=True).filter(pk__in=keys).order_by("pk")
    return [limit for limit in rows if limit.covers(**names)]


def _admit(limit: Limit, args: Mapping[str, Any], now: datetime, waiting: Callable[[Limit], int]) -> Counted:
    starts = limits.starts(now)
    minute, day = _tally(limit, "minute", starts[0]), _tally(limit, "day", starts[1])
    if limit.per_minute is not None and minute.count >= limit.per_minute:
        _refuse(
            limit, f"{limit.per_minute} calls a minute", limits.seconds(now, starts[0] + MINUTE), "per_minute"
        )
    if limit.per_day is not None and day.count >= limit.per_day:
        _refuse(limit, f"{limit.per_day} calls a day", limits.seconds(now, starts[1] + DAY), "per_day")
    if limit.pending is not None and waiting(limit) >= limit.pending:
        _refuse(limit, f"{limit.pending} calls waiting for people", limits.PENDING_RETRY, "pending")
    amount = amount_of(args, limit.sum_of) if limit.sum_of else None
    _refuse_sum(limit, day.total, amount or Decimal(0), now)
    Tally.objects.filter(pk=minute.pk).update(count=F("count") + 1)
    Tally.objects.filter(pk=day.pk).update(count=F("count") + 1, total=F("total") + (amount or 0))
    return Counted(limit, day, amount)


def _recharge(limit: Limit, action_id: UUID, amount: Decimal, now: datetime) -> None:
    day = _tally(limit, "day", limits.starts(now)[1])
    charge = Charge.objects.filter(action_id=action_id, tally__limit=limit).select_related("tally").first()
    tally, before = (charge.tally, charge.amount) if charge else (day, Decimal(0))
    if amount > before:
        _refuse_sum(limit, tally.total, amount - before, now)
    Tally.objects.filter(pk=tally.pk).update(total=F("total") + (amount - before))
    Charge.objects.update_or_create(tally=tally, action_id=action_id, defaults={"amount": amount})


def _refuse_sum(limit: Limit, total: Decimal, more: Decimal, now: datetime) -> None:
    if limit.sum_per_day is not None and total + more > limit.sum_per_day:
        most, taken = (f"{Decimal(sum_).normalize():f}" for sum_ in (limit.sum_per_day, total))
        told = f"{most} of {limit.sum_of} a day, {taken} are taken"
        _refuse(limit, told, limits.seconds(now, limits.starts(now)[1] + DAY), "sum_per_day")


def _refuse(limit: Limit, most: str, retry_after: int, ceiling: str) -> None:
    detail = f"The limit {limit.name} is {most}."
    raise Refused("limit", detail, retry_after=retry_after, limit=limit.name, ceiling=ceiling)


def _tally(limit: Limit, window: str, starts_at: datetime) -> Tally:
    row, created = Tally.objects.get_or_create(limit=limit, window=window, starts_at=starts_at)
    if created:
        # As with an agent's usage, a new window is the moment to forget old ones.
        old = starts_at - limits.KEEP[window]
        Tally.objects.filter(limit=limit, window=window, starts_at__lt=old).delete()
    return row


def _by_limit(charges: Any) -> list[Charge]:
    """The charges as they stand with their limits locked."""
    keys = {charge.tally.limit_id for charge in charges}
    if not keys:
        return []
    list(Limit.objects.select_for_update(no_key=True).filter(pk__in=keys).order_by("pk"))
    return list(charges.all())


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        if path[0] in value:
            yield from _at(value[path[0]], path[1:])
    elif value is not None:
        yield ()  # where an object was expected stands something else, which is no amount


def _amount(value: Any, path: str) -> Decimal:
    if value is None:
        return Decimal(0)
    number = _number(value)
    if number is None or not 0 <= number <= LARGEST:
        raise Refused("invalid", f"{path} is added up by a limit: it must be a number from 0, without a sign")
    return number.quantize(STEP, rounding=ROUND_CEILING)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
