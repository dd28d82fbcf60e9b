"""Being away over REST, and what an agent is told of what nobody decided."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from approvals import clock
from approvals.models import Action
from tests.cast import person
from tests.gateway.conftest import Door


def test_somebody_says_sees_and_ends_it(door: Door) -> None:
    person("zoe", "archive")
    until = (timezone.now() + timedelta(days=1)).isoformat()
    assert door.approver.post("/absence", {"until": until, "stand_in": "zoe"})[0] == 200
    assert door.approver.get("/absence")[1]["absence"]["stand_in"] == "zoe"
    assert door.approver.post("/absence", {"until": until})[0] == 409
    assert door.approver.delete("/absence")[0] == 204
    assert door.approver.get("/absence")[1] == {"absence": None, "stands_in_for": []}
    assert door.approver.delete("/absence")[0] == 404


def test_a_moment_without_its_zone_or_a_stranger_to_stand_in_is_refused(door: Door) -> None:
    assert door.approver.post("/absence", {"until": "2030-01-01T00:00:00"})[0] in (400, 422)
    until = (timezone.now() + timedelta(days=1)).isoformat()
    assert door.approver.post("/absence", {"until": until, "stand_in": "nobody"})[0] in (400, 422)


def test_an_agents_key_says_nobody_away(door: Door) -> None:
    assert door.agent.get("/absence")[0] in (401, 403)


def test_an_agent_is_told_that_nobody_decided(door: Door) -> None:
    action = door.cast.mass_mail()
    Action.objects.update(deadline=timezone.now())
    clock.expire(timezone.now())
    status, told = door.agent.get(f"/actions/{action.pk}")
    assert (status, told["state"]) == (200, "expired")
    assert told["rejection"]["reason"].startswith("nobody of comms decided within")


def test_a_reviewer_reads_who_else_is_asked(door: Door) -> None:
    action = door.cast.mass_mail()
    told = door.approver.get(f"/actions/{action.pk}")[1]["who_else"]
    assert told["escalates"] == [] and told["not_alone"] == ""
