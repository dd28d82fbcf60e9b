"""TLS that is not read: held to the host that it was let through for, then carried until one side ends it."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass

from approvals.egress import hello
from approvals.egress.authority import asks_for
from approvals.egress.courier import Budget
from policies.fetch import Deadline
from traces.problems import Forbidden

PIECE = 1 << 16


@dataclass
class Carriage:
    """What went through, in bytes."""

    sent: int = 0
    received: int = 0


def greeting(job: socket.socket, host: str, deadline: Deadline) -> bytes:
    """The job's TLS hello, read to its end and for this host. Raises Forbidden, OSError."""
    data = b""
    try:
        while (found := hello.read(data)) is None:
            job.settimeout(deadline.left())
            piece = job.recv(PIECE)
            if not piece:
                raise Forbidden("it ended before its TLS began")
            data += piece
    except hello.NoHello as error:
        raise Forbidden(str(error)) from None
    if not asks_for(found.name, host):
        raise Forbidden("its TLS asks for another host than the one it was let through for")
    return data


def carry(
    job: socket.socket, server: socket.socket, carried: Carriage, budget: Budget, deadline: Deadline
) -> None:
    """Carry bytes both ways until both sides have ended or `deadline` is over, counting them in `carried`.

    Raises Refused, OSError.
    """
    open_ends = {job: server, server: job}
    for wire in open_ends:
        wire.setblocking(True)
    poll = select.poll()
    numbers = {wire.fileno(): wire for wire in open_ends}
    for number in numbers:
        poll.register(number, select.POLLIN)
    while open_ends:
        for number, _ in poll.poll(deadline.left() * 1000):
            source = numbers[number]
            if not _move(source, open_ends[source], carried, budget, deadline, outward=source is job):
                poll.unregister(number)
                del open_ends[source]


def _move(
    source: socket.socket,
    sink: socket.socket,
    carried: Carriage,
    budget: Budget,
    deadline: Deadline,
    *,
    outward: bool,
) -> bool:
    """One piece; False at the end of this direction."""
    data = source.recv(PIECE)
    if not data:
        sink.shutdown(socket.SHUT_WR)
        return False
    budget.spend(len(data))
    sink.settimeout(deadline.left())
    sink.sendall(data)
    sink.settimeout(None)
    carried.sent += len(data) if outward else 0
    carried.received += 0 if outward else len(data)
    return True
