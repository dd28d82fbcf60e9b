"""Agents' keys: shown once, recognised, counted, replaced, ended; never stored, never logged."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from policies import agents
from policies.models import Agent, AgentKey
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def scout(db: None) -> Agent:
    return agents.create_agent(name="scout", by="operator")


def refused(code: str, verb: Any, *words: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        verb(*words, **arguments)
    assert caught.value.code == code
    return caught.value.detail


def test_a_new_agent_may_only_read(scout: Agent) -> None:
    assert scout.mode == "read_only"


def test_a_key_holds_256_random_bits(scout: Agent) -> None:
    raw = agents.issue_key(scout, by="operator")
    assert re.fullmatch(r"ask_[A-Za-z0-9_-]{43}", raw)


def test_a_key_names_its_agent_and_scopes_and_counts_its_uses(scout: Agent) -> None:
    raw = agents.issue_key(scout, ["attest", "act"], by="operator")
    found = [agents.authenticate_key(raw) for _ in range(3)]
    stored = AgentKey.objects.get()
    assert ({key.agent.name for key in found}, stored.scopes, stored.uses) == (
        {"scout"},
        ["act", "attest"],
        3,
    )


def test_recognising_a_key_costs_two_queries(scout: Agent, django_assert_num_queries: Any) -> None:
    raw = agents.issue_key(scout, by="operator")
    with django_assert_num_queries(2):
        assert str(agents.authenticate_key(raw).agent.team) == "None"


def test_what_is_no_key_never_reaches_the_database(scout: Agent, django_assert_num_queries: Any) -> None:
    raw = agents.issue_key(scout, by="operator")
    with django_assert_num_queries(0):
        assert [
            agents.authenticate_key(guess)
            for guess in ("", raw[:-1], raw + "x", "ast_" + raw[4:], "ask_\x00" + raw[5:])
        ] == [None] * 5


def test_the_right_prefix_with_the_wrong_rest_is_no_key(scout: Agent) -> None:
    raw = agents.issue_key(scout, by="operator")
    assert agents.authenticate_key(raw[:12] + "A" * 35) is None


def test_neither_the_database_nor_the_log_holds_a_key(scout: Agent) -> None:
    raws = [agents.issue_key(scout, by="operator"), agents.rotate(agent=scout, by="operator")]
    kept = str(list(AgentKey.objects.values())) + "".join(
        str(record.open_whole(entry)) for entry in Entry.objects.all()
    )
    assert not [raw for raw in raws if raw in kept]


@pytest.mark.parametrize("scopes", [[], ["root"], ["act", "root"], [""]])
def test_a_key_has_known_scopes(scout: Agent, scopes: list[str]) -> None:
    refused("invalid", agents.issue_key, scout, scopes, by="operator")


def test_an_expired_key_is_no_key(scout: Agent) -> None:
    raw = agents.issue_key(scout, by="operator", expires_at=timezone.now() + timedelta(hours=1))
    AgentKey.objects.update(expires_at=timezone.now())
    assert agents.authenticate_key(raw) is None


def test_after_a_rotation_both_keys_work_and_then_only_the_new_one(scout: Agent) -> None:
    old = agents.issue_key(scout, by="operator")
    new = agents.rotate(agent=scout, by="operator", overlap=timedelta(minutes=5))
    both = [agents.authenticate_key(raw) is not None for raw in (old, new)]
    AgentKey.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    assert (both, [agents.authenticate_key(raw) is not None for raw in (old, new)]) == (
        [True, True],
        [False, True],
    )


def test_a_rotation_never_lengthens_the_life_of_an_old_key(scout: Agent) -> None:
    ends = timezone.now() + timedelta(minutes=1)
    agents.issue_key(scout, by="operator", expires_at=ends)
    agents.rotate(agent=scout, by="operator")
    assert AgentKey.objects.order_by("pk").first().expires_at == ends


def test_a_rotation_without_overlap_ends_the_old_key_now(scout: Agent) -> None:
    old = agents.issue_key(scout, by="operator")
    agents.rotate(agent=scout, by="operator", overlap=timedelta(minutes=-5))
    assert agents.authenticate_key(old) is None


def test_a_rotation_never_hands_attest_to_who_only_had_act(scout: Agent) -> None:
    agents.issue_key(scout, ["act"], by="operator")
    host = agents.issue_key(scout, ["attest"], by="operator")
    assert "differ in scopes" in refused("invalid", agents.rotate, agent=scout, by="operator")
    new = agents.rotate(agent=scout, by="operator", prefix=host[:12])
    assert agents.authenticate_key(new).scopes == ["attest"]


def test_all_keys_of_an_agent_end_at_once(scout: Agent) -> None:
    raws = [agents.issue_key(scout, by="operator") for _ in range(3)]
    ended = agents.revoke(agent=scout, by="operator")
    assert (ended, [agents.authenticate_key(raw) for raw in raws]) == (3, [None] * 3)


def test_one_key_ends_and_the_others_go_on(scout: Agent) -> None:
    first, second = (agents.issue_key(scout, by="operator") for _ in range(2))
    agents.revoke(agent=scout, by="operator", prefix=first[:12])
    assert [agents.authenticate_key(raw) is None for raw in (first, second)] == [True, False]


def test_ending_what_is_not_there_is_said(scout: Agent) -> None:
    assert refused("not_found", agents.revoke, agent=scout, by="operator") == "scout has no living key."


def test_the_key_of_one_agent_is_not_ended_through_another(scout: Agent) -> None:
    other = agents.create_agent(name="other", by="operator")
    raw = agents.issue_key(scout, by="operator")
    refused("not_found", agents.revoke, agent=other, by="operator", prefix=raw[:12])


@pytest.mark.parametrize("name", ["", "a b", "scout\n", "-x", "ü", "x" * 101, "a/b"])
def test_a_bad_name_is_refused(name: str) -> None:
    refused("invalid", agents.create_agent, name=name, by="operator")


def test_a_name_that_is_taken_is_refused(scout: Agent) -> None:
    refused("conflict", agents.create_agent, name="scout", by="operator")


def test_a_mode_is_changed_and_told_once(scout: Agent) -> None:
    for _ in range(2):
        agents.set_mode(agent=scout, mode="paused", by="operator")
    assert Entry.objects.filter(kind="agent.mode").count() == 1


def test_a_mode_that_is_none_is_refused(scout: Agent) -> None:
    refused("invalid", agents.set_mode, agent=scout, mode="god", by="operator")
