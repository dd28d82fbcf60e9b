"""The benchmarks are commands of manage.py; they say what they measured, and measure no wrong answer."""

from __future__ import annotations

import json
from functools import partial
from uuid import UUID

import pytest
from django.core.management import CommandError

from agentsec_site.management.commands.bench import Command
from approvals.models import Action
from bench import (
    backtest_run,
    engine,
    history,
    inbox_run,
    insights_run,
    live_run,
    provenance,
    provenance_gateway,
)
from bench.timing import measure
from tests.cast import Cast


def bench(*words: str) -> None:
    Command().run_from_argv(["manage.py", "bench", *words])


BRIEF = partial(measure, seconds=0.01, most=20)


def test_the_engine_is_measured_beside_its_rivals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "measure", lambda act, warm: BRIEF(act, warm=warm))
    bench("engine", "20")
    printed = capsys.readouterr().out
    assert "decide p50" in printed
    assert "20 rules, 20 apply:" in printed


def test_a_decision_that_is_wrong_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "loop", lambda facts, predicates: ["somebody"])
    with pytest.raises(SystemExit, match="differ"):
        engine.main(["10"])


def test_provenance_is_measured_by_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provenance, "measure", lambda act, **_: BRIEF(act, warm=0))
    bench("provenance", "--pure", "8")
    assert "trace nowhere" in capsys.readouterr().out


def test_provenance_is_measured_within_proposals(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provenance_gateway, "ROUNDS", 2)
    monkeypatch.setattr(provenance_gateway, "COLD_ROUNDS", 1)
    provenance_gateway.show(provenance_gateway.Bench(), 8, "list")
    told = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert told == ["cold", "warm", "propose", "said"]
    assert Action.objects.count() == 5


@pytest.mark.django_db
def test_a_month_made_up_is_one_that_a_backtest_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KINDS", ("mail", "pay"))
    active = history.found_company(rules=4, bots=2)
    assert history.write(30, active=active) > 30_000
    done, _ = backtest_run.tried()
    assert (done.difference.judged, done.difference.unread, done.difference.changed) == (30, 0, 0)


@pytest.mark.django_db
def test_insights_and_deciding_many_are_measured_with_their_queries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(insights_run, "ROUNDS", 1)
    monkeypatch.setattr(insights_run, "HEAP", 2)
    monkeypatch.setattr(insights_run, "REVIEWERS", 3)
    monkeypatch.setattr(history, "found_company", partial(history.found_company, rules=8, bots=2))
    insights_run.run(40)
    told = [line[:16].strip() for line in capsys.readouterr().out.splitlines()]
    assert told[3:] == ["page by rule", "page by group", "page by agent", "page by tool", "2 at once"]


def test_an_unknown_benchmark_is_refused_by_name() -> None:
    with pytest.raises(CommandError, match="engine"):
        bench("speed")


def test_the_inbox_page_is_measured_with_its_queries(cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    cast.mass_mail()
    inbox_run.report([inbox_run.measured("ada", cast.approver, "/", 3)])
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "ada"


@pytest.mark.django_db
def test_a_crowd_of_reviewers_hears_from_a_bare_server() -> None:
    with live_run.bare() as rival:
        told = {"port": rival.hear()["port"], "path": "/", "cookies": [""] * 5}
        with live_run.clients(told) as crowd:
            rival.say(json.dumps({"type": "row", "id": str(UUID(int=7))}))
            began = rival.hear()["began"]
            heard = crowd.hear()
    assert began < heard["first"] <= heard["last"] and str(UUID(int=7)) in heard["text"]
