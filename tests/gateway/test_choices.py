"""The user says “the largest note”; by the time the agent deletes it, agentsec knows which one he meant."""

from __future__ import annotations

import json

import pytest

from approvals.models import Action
from policies import world
from tests.gateway.conftest import Door

TOOLS = """
tools:
  - name: notes.list
    effect: read
    output: trusted
    sends: none
    authority: []
    parameters: {type: object, properties: {query: {type: string}}}
  - name: notes.delete
    effect: destructive
    output: trusted
    sends: none
    authority: [note_id]
    parameters: {type: object, properties: {note_id: {type: string}}}
"""
NOTES = [{"id": "n-11", "size": 7}, {"id": "n-12", "size": 900}, {"id": "n-13", "size": 8}]


@pytest.mark.parametrize(
    ("asked", "note", "expected"),
    [({}, "n-12", "named"), ({}, "n-11", "trusted"), ({"query": "diary"}, "n-12", "trusted")],
)
def test_what_the_user_chose_in_his_own_list_is_named(
    door: Door, asked: dict[str, str], note: str, expected: str
) -> None:
    world.apply(TOOLS, by="tests")
    session = door.host.session()
    said = {"kind": "user_message", "text": "Find and delete the largest note"}
    door.host.post(f"/sessions/{session}/events", said)
    listed = door.host.propose("notes.list", asked, session=session)[1]
    result = {"status": "succeeded", "output": NOTES, "grant": listed["grant"]["id"]}
    door.host.post(f"/actions/{listed['id']}/result", result)
    deleted = door.host.propose("notes.delete", {"note_id": note}, session=session)[1]
    assert json.loads(Action.objects.get(pk=deleted["id"]).facts_json)["authority"] == {"note_id": expected}
