"""Allowances for a while: what one reviewer has said yes to, and may therefore happen again for some minutes.

An allowance answers what named rules of one release ask about equal calls: the same agent, session, tool (as
it was defined), target and values that say who or what is affected. It answers nothing once the session has
taken on a label, a value came from a worse place, the firewall has found more, or its reviewer may no longer
decide. Rows are written by whoever can write to the database; what counts is what the log holds.

Lock order: the action, then its allowance, then the session.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F

from policies.access import actor as named
from policies.allowance_models import Allowance
from policies.arguments import digest
from policies.models import Agent, Release, Role, User
from policies.provenance import rank
from policies.tooling import ToolDef
from policies.values import leaves, pointer
from traces import dbtime, record
from traces.models import Entry, Session
from traces.problems import Refused

OFFERED = (5, 15, 60)
CALL_DOMAIN = b"agentsec/allowance/v1\n"
MINTED, USED, REVOKED, ENDED = "allowance.minted", "allowance.used", "allowance.revoked", "allowance.ended"
AGENTSEC = "agentsec"
# What runs is in the arguments themselves, whichever of them is said to be affected.
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(,[0-9]{3}){0,9}(\.[0-9]{1,30})?")
PROGRAMS = frozenset({"python", "shell", "sql"})


@dataclass(frozen=True)
class Call:
    """One call as it was judged. `asks` are the rules that ask about it, none of them by a failed condition;
    `labels` are the session's then; `origins` by JSON Pointer; `findings` hold detector, severity, why, path.
    """

    session: Session
    agent: Agent
    tool: ToolDef
    args: Mapping[str, Any]
    target: str
    labels: frozenset[str]
    origins: Mapping[str, str]
    findings: tuple[tuple[str, str, str, str], ...]
    asks: frozenset[str]
    release: str
    release_id: int

    @property
    def bound(self) -> dict[str, Any]:
        """The arguments that an equal call has the same: those that say who or what is affected.

        Where none does, or where they are a program, all of them.
        """
        if self.tool.runs in PROGRAMS:
            return dict(self.args)
        names = dict.fromkeys([*self.tool.authority_in(self.args), self.tool.target])
        parts = {name: _part(self.args, [name] if name in self.args else name.split(".")) for name in names}
        given = {name: part for name, part in parts.items() if part is not None}
        return given or dict(self.args)

    @property
    def digest(self) -> str:
        """Equal for equal calls: SHA-256(CALL_DOMAIN ‖ JCS(all that must be the same))."""
        told = {
            "session": str(self.session.pk), "agent": self.agent.pk, "tool": self.tool.name,
            "manifest": self.tool.manifest, "target": self.target, "same": self.bound,
        }  # fmt: skip
        return digest(CALL_DOMAIN, told)

    @property
    def free(self) -> Iterator[tuple[str, Any]]:
        """Each value that an equal call may have otherwise, under the name of its argument."""
        same = list(self.bound)
        for path, value in leaves(self.args, ()):
            if value is not None and not _under(pointer(path), same):
                yield ".".join(step for step in path if isinstance(step, str)), value

    @property
    def most(self) -> dict[str, Decimal]:
        """The largest number, whatever its sign, in each argument that may differ; texts of digits count.

        Of a list with several of them, as `name[]`, how many.
        """
        found: dict[str, Decimal] = {}
        for name, value in self.free:
            if (number := _number(value)) is not None:
                found[name] = max(found.get(name, number), number)
        several = {f"{name}[]": Decimal(count) for name, count in self.numbers.items() if count > 1}
        return found | several

    @property
    def numbers(self) -> Counter[str]:
        """How many numbers stand in each argument that may differ."""
        return Counter(name for name, value in self.free if _number(value) is not None)

    def origins_of(self, same: list[str]) -> dict[str, str]:
        """The origins of the values under these arguments."""
        return {path: origin for path, origin in self.origins.items() if _under(path, same)}


def offered() -> tuple[int, ...]:
    """The minutes that a page offers, none where allowances are switched off."""
    return tuple(minutes for minutes in OFFERED if minutes <= settings.AGENTSEC_ALLOWANCE_MINUTES)


def refuse_minutes(minutes: int) -> None:
    """Raise Refused("invalid") for a time that no allowance may have."""
    most = settings.AGENTSEC_ALLOWANCE_MINUTES
    if not 1 <= minutes <= most:
        told = f"for 1 to {most} minutes" if most else "for no time at all: this is switched off"
        raise Refused("invalid", f"a call may be allowed for a while {told}")


def mint(
    *, call: Call, user: User, group: str, action_id: UUID, vote: UUID, minutes: int, starts_at: datetime
) -> Allowance:
    """Answer in advance what this call's rules ask; the caller's transaction holds the approval.

    Locks the session. Appends `allowance.minted`. Raises Refused("invalid") for the minutes.
    """
    refuse_minutes(minutes)
    now = dbtime.now()
    same = sorted(call.bound)
    row = Allowance(
        id=uuid4(), session=call.session, agent=call.agent, tool=call.tool.name, target=call.target,
        same=same, call=call.digest, labels=sorted(call.labels), origins=call.origins_of(same),
        findings=sorted(map(list, call.findings)), rules=sorted(call.asks), release=call.release,
        most={name: str(number) for name, number in call.most.items()},
        release_id=call.release_id, user=user, group=group, action_id=action_id, vote=vote, made_at=now,
        starts_at=max(now, starts_at), until=now + timedelta(minutes=minutes),
    )  # fmt: skip
    entry = record.append(
        kind=MINTED, actor=named(user), session=call.session, action=str(action_id), body=row.told(),
        title=f"{row.tool} allowed for {minutes} min", text=f"{row.target} {' '.join(row.rules)}",
        attributes={"tool": row.tool},
    )  # fmt: skip
    row.entry = entry.uuid
    row.save(force_insert=True)
    return row


def answering(call: Call, *, now: datetime) -> Allowance | None:
    """The allowance that answers everything that is asked about this call; None if none does."""
    if not call.asks:
        return None
    standing = Allowance.objects.standing(now, release_id=call.release_id)
    equal = standing.filter(session=call.session, call=call.digest).select_related("user").order_by("-until")
    return next((row for row in equal if not unlike(row, call) and not lapsed(row, now=now)), None)


def unlike(row: Allowance, call: Call) -> str:
    """What about this call the person had not allowed, in words; empty where it is what they did."""
    if (row.call, row.agent_id, row.session_id) != (call.digest, call.agent.pk, call.session.pk):
        return "it is another call"
    if more := sorted(call.asks - set(row.rules)):
        return f"{', '.join(more)} asks too"
    worse = [
        path for path, origin in call.origins_of(row.same).items() if _worse(origin, row.origins.get(path))
    ]
    if worse:
        return f"{worse[0]} comes from a worse place now"
    if larger := next((name for name, value in call.free if _larger(value, row.most.get(name))), ""):
        return f"{larger} is larger, or no number any more"
    if more_of := next((name for name, count in call.numbers.items() if _more(name, count, row.most)), ""):
        return f"{more_of} holds more numbers"
    if Counter(call.findings) - Counter(map(tuple, row.findings)):
        return "the firewall found more in it"
    return _new_label(row, call.labels)


def lapsed(row: Allowance, *, now: datetime, session: Session | None = None) -> str:
    """Why it answers nothing any more, in words; empty while it does. `session` as it is now, if given."""
    if row.ended_at is not None:
        return row.ended or "it was revoked"
    if row.until <= now:
        return "its time is over"
    if row.release_id != newest_release():
        return "policy was published anew"
    if session is not None and (grown := _new_label(row, session.labels)):
        return grown
    return _unfit(row) or forged(row)


def locked(allowance_id: UUID) -> Allowance | None:
    """The row, locked until the transaction ends: while somebody starts by it nobody ends it."""
    return Allowance.objects.select_for_update(no_key=True, of=("self",)).filter(pk=allowance_id).first()


def use(row: Allowance, *, action_id: UUID, session: Session) -> None:
    """Count one start by it; the caller has it `locked`. Locks the session. Appends `allowance.used`."""
    Allowance.objects.filter(pk=row.pk).update(uses=F("uses") + 1, last_used_at=dbtime.now())
    body = {"allowance": str(row.pk), "by": row.user_id, "until": row.until.isoformat()}
    record.append(
        kind=USED, actor=AGENTSEC, session=session, action=str(action_id), body=body,
        title=f"{row.tool}: starts by an allowance for a while", attributes={"tool": row.tool},
    )  # fmt: skip


@transaction.atomic
def end(*, allowance_id: UUID, why: str, by: str, kind: str = REVOKED) -> bool:
    """End it at once; False where it had ended before.

    Locks its row, then the session: whoever starts by it at this moment is either done or finds it ended.
    Appends `allowance.revoked` (or `allowance.ended`, where nobody did it). Raises Refused("not_found").
    """
    row = locked(allowance_id)
    if row is None:
        raise Refused("not_found", "There is no such allowance.")
    if row.ended_at is not None:
        return False
    row.ended_at, row.ended = dbtime.now(), why[:200]
    row.save(update_fields=["ended_at", "ended"])
    body = {"allowance": str(row.pk), "why": why, "uses": row.uses}
    record.append(
        kind=kind, actor=by, session=row.session, action=str(row.action_id), body=body,
        title=f"{row.tool}: no longer allowed for a while", text=why, attributes={"tool": row.tool},
    )  # fmt: skip
    return True


def end_due(now: datetime, *, batch: int = 200) -> int:
    """Write down the end of each that ended by itself; how many there were."""
    newest = newest_release()
    due = Allowance.objects.due(now, release_id=newest).values_list("pk", "until")[:batch]
    return sum(
        end(
            allowance_id=key, by=AGENTSEC, kind=ENDED,
            why="its time is over" if until <= now else "policy was published anew",
        )
        for key, until in due
    )  # fmt: skip


def newest_release() -> int:
    """The key of the release that decides now; publishing an old one again makes a new key. 0 if none."""
    return Release.objects.order_by("-id").values_list("id", flat=True).first() or 0


def forged(row: Allowance) -> str:
    """Where the log does not hold this allowance, or holds that it ended; empty where it stands.

    An entry's payload is sealed under a key outside the database, so nobody writes one with the database
    alone. One that cannot be read says nothing for it.
    """
    about = Entry.objects.about(str(row.action_id)).filter(kind__in=[MINTED, REVOKED, ENDED])
    stands = False
    for entry in about.select_related("subject_key"):
        kind, actor, body = _read(entry)
        if entry.uuid == row.entry:
            stands = (kind, actor, body) == (MINTED, f"user:{row.user_id}", row.told())
        elif entry.kind != MINTED and body.get("allowance", str(row.pk)) == str(row.pk):
            return "the log holds that it ended"
    return "" if stands else "the log does not hold it: it was made outside agentsec"


def _read(entry: Entry) -> tuple[str, str, Mapping[str, Any]]:
    header, body = record.as_sealed(entry)
    if not header or header.get("action") != entry.action_id:
        return "", "", {}
    return str(header.get("kind")), str(header.get("actor")), body


def _unfit(row: Allowance) -> str:
    voter = User.objects.get(pk=row.user_id)
    if voter.has_role(Role.APPROVER) and row.group in voter.group_names:
        return ""
    return f"{voter.username} may no longer decide for {row.group}"


def _new_label(row: Allowance, labels: Iterable[str]) -> str:
    new = sorted(set(labels) - set(row.labels))
    return f"the session is labelled {', '.join(new)} since" if new else ""


def _worse(now: str, then: str | None) -> bool:
    return then is None or rank(now) < rank(then)


def _part(value: Any, path: list[str]) -> Any:
    """What stands at a path such as `mail.to`, within the objects and lists that lead there, or None."""
    if not path:
        return value
    if isinstance(value, list):
        return [_part(item, path) for item in value]
    if not isinstance(value, Mapping):
        return value  # where an object was expected stands something else: it must be the same
    return {path[0]: _part(value[path[0]], path[1:])} if path[0] in value else None


def _number(value: Any) -> Decimal | None:
    """The size of a number, however it is written; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return None
    return abs(Decimal(str(value).strip().replace(",", "")))


def _larger(value: Any, most: str | None) -> bool:
    """Whether a value is a larger number than was allowed, or one where none was, or none where one was."""
    number = _number(value)
    if number is None or most is None:
        return (number is None) != (most is None)
    return number > Decimal(most)


def _more(name: str, count: int, most: Mapping[str, str]) -> bool:
    """Whether there are more numbers than were allowed: each as large would be more together."""
    return count > Decimal(most.get(f"{name}[]", "1"))


def _under(path: str, names: list[str]) -> bool:
    """Whether a JSON Pointer leads into one of these arguments; a dotted name reads through lists."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    dotted = ".".join(step for step in steps if not step.isdigit()) + "."
    return any(steps[0] == name or dotted.startswith(name + ".") for name in names)
