"""The gate of a start: it holds only as long as the start does, and what passes it stands in the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from approvals import starting
from approvals.egress import gate as gate_module
from approvals.egress.gate import RunGate, Told
from approvals.models import Action, Execution
from approvals.starting import Started
from policies.models import Grant
from tests.cast import Cast
from traces import record
from traces.models import Entry
from traces.problems import Refused


def started(cast: Cast) -> Started:
    action = cast.propose("script.run", {"code": "pass"})
    begun = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(begun, Started)
    return begun


def test_every_way_in_which_a_start_ends_shuts_the_gate(committed_cast: Cast) -> None:
    begun = started(committed_cast)
    pk = begun.execution.pk
    ends = [
        (Grant, {"state": Grant.State.REVOKING}, {"state": Grant.State.ACTIVE}),
        (Grant, {"minted_at": timezone.now() - timezone.timedelta(1), "expires_at": timezone.now()},
         {"expires_at": timezone.now() + timezone.timedelta(1)}),
        (Execution, {"stop_requested": "somebody"}, {"stop_requested": ""}),
        (Execution, {"ended_at": timezone.now()}, {"ended_at": None}),
        (Action, {"fence": begun.execution.fence + 1}, {"fence": begun.execution.fence}),
        (Action, {"state": "interrupted"}, {"state": "running"}),
    ]  # fmt: skip
    with RunGate(Execution.objects.get(pk=pk), begun.grant) as gate:
        for model, change, back in ends:
            gate.check()
            model.objects.update(**change)
            with pytest.raises(Refused, match="this start is over"):
                gate.check()
            model.objects.update(**back)
        gate.check()


def test_each_decision_stands_in_the_log_and_a_flood_is_counted(
    committed_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "TOLD", 10)
    begun = started(committed_cast)
    with RunGate(begun.execution, begun.grant) as gate, ThreadPoolExecutor(8) as pool:
        told = Told("refused", "GET http://a.example/", "a.example", 80, "not listed")
        list(pool.map(lambda _: gate.tell(told), range(1000)))
    entries = Entry.objects.filter(action_id=str(begun.action.pk), kind__startswith="egress.").order_by("pk")
    assert [entry.kind for entry in entries] == ["egress.refused"] * 10 + ["egress.more"]
    last, first = record.open_payload(entries[10]), record.open_payload(entries[0])
    assert isinstance(last, dict) and isinstance(first, dict)
    assert (last["count"], last["more"][0]["why"]) == (990, "not listed")
    assert (first["what"], first["fence"]) == ("GET http://a.example/", begun.execution.fence)


def test_where_the_log_fails_nothing_more_goes_out_and_the_run_is_no_success(committed_cast: Cast) -> None:
    begun = started(committed_cast)
    begun.execution.action.session.pk = uuid4()  # the log refuses an entry for a session that is not there
    with pytest.raises(Refused, match="could not ask or tell its own log"):
        with RunGate(begun.execution, begun.grant) as gate:
            gate.check()
            gate.tell(Told("allowed", "GET http://a.example/"))
            gate._threads[1].join(5)
            with pytest.raises(Refused, match="could not ask or tell its own log"):
                gate.check()
        raise AssertionError("nobody gets here")


def test_a_gate_that_nobody_passed_costs_no_connection(committed_cast: Cast) -> None:
    begun = started(committed_cast)
    with RunGate(begun.execution, begun.grant) as gate:
        assert gate._threads == []
    connections.close_all()
