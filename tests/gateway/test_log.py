"""The log at the door: the bytes of C2SP, and who may read what."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tests.cast import MANY
from tests.gateway.conftest import Door
from traces import merkle, sequencer, verify
from traces.models import Checkpoint, Entry, Leaf
from traces.verify import VerifierKey, open_checkpoint

NO_TILES = [
    "0/000",
    "0/001",
    "0/0",
    "0/000.p/0",
    "0/000.p/256",
    "0/000.p/02",
    "64/000",
    "00/000",
    "0/x000/000",
    "0/000/",
    "0/-01",
    "0/000.p/255",
    "0/٠٠٠.p/2",
    "1/000.p/1",
    "x",
    "0",
    "0/" + "x999/" * 3000 + "999",
    "0/x999/x999/x999/x999/x999/x999/999",
]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def logged(committed_door: Door, sequencer_dsn: str) -> Door:
    """An action was proposed and the sequencer has taken everything in."""
    committed_door.cast.mass_mail()
    with psycopg.connect(sequencer_dsn, autocommit=True) as db:
        while sequencer.integrate_once(db):
            pass
    return committed_door


def raw(door: Door, who: str, path: str) -> tuple[int, bytes]:
    response = getattr(door, who).call("GET", path)
    return response.status_code, response.content


def size_and_root(door: Door) -> tuple[int, bytes]:
    key = VerifierKey.parse(Path(settings.AGENTSEC_LOG_PUBLIC_KEY).read_text().strip())
    opened = open_checkpoint(raw(door, "agent", "/log/checkpoint")[1].decode(), key)
    return opened.size, opened.root


def test_before_the_first_checkpoint_there_is_none(committed_door: Door) -> None:
    assert committed_door.agent.get("/log/checkpoint")[0] == 503


def test_the_checkpoint_is_the_signed_note(logged: Door) -> None:
    response = logged.agent.call("GET", "/log/checkpoint")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content.decode() == Checkpoint.objects.newest().note


def test_a_partial_tile_leads_to_the_signed_root(logged: Door) -> None:
    size, root = size_and_root(logged)
    status, data = raw(logged, "agent", f"/log/tile/0/000.p/{size}")
    assert status == 200
    assert merkle.root_of([data[i : i + 32] for i in range(0, len(data), 32)]) == root


def test_an_earlier_tile_is_still_there(logged: Door) -> None:
    assert (
        raw(logged, "agent", "/log/tile/0/000.p/2")[1] == raw(logged, "agent", "/log/tile/0/000.p/3")[1][:64]
    )


def test_a_tile_has_one_address_only(logged: Door) -> None:
    found = {path: logged.agent.get(f"/log/tile/{path}")[0] for path in NO_TILES}
    assert found == dict.fromkeys(found, 404)
    bundles = {
        path: logged.auditor.get(f"/log/tile/entries/{path[2:]}")[0] for path in NO_TILES if path[:2] == "0/"
    }
    assert bundles == dict.fromkeys(bundles, 404)


def test_entries_hash_to_the_leaves(logged: Door) -> None:
    size, _ = size_and_root(logged)
    status, data = raw(logged, "auditor", f"/log/tile/entries/000.p/{size}")
    found = []
    while data:
        (length,) = struct.unpack(">H", data[:2])
        found.append(hashlib.sha256(b"\x00" + data[2 : 2 + length]).digest())
        data = data[2 + length :]
    assert status == 200
    assert b"".join(found) == raw(logged, "agent", f"/log/tile/0/000.p/{size}")[1]


def test_entries_are_for_auditors_only(logged: Door) -> None:
    entry = Leaf.objects.get(index=0).entry
    for path in ("/log/tile/entries/000.p/1", f"/log/entries/{entry.uuid}"):
        assert logged.auditor.call("GET", path).status_code == 200
        assert logged.approver.get(path)[0] == 403
        assert logged.agent.get(path)[0] == 403


def test_a_proof_leads_from_the_entry_to_the_signed_root(logged: Door) -> None:
    size, root = size_and_root(logged)
    entry = Entry.objects.latest("id")
    status, told = logged.agent.get(f"/log/proof/{entry.uuid}")
    hashes = [base64.b64decode(item) for item in told["hashes"]]
    leaf = base64.b64decode(told["leaf_hash"])
    assert status == 200
    merkle.verify_inclusion(index=told["index"], size=size, leaf=leaf, proof=hashes, root=root)
    assert told["proof"].splitlines()[:2] == ["c2sp.org/tlog-proof@v1", f"index {told['index']}"]
    assert told["proof"].endswith("\n\n" + told["checkpoint"])


def test_an_entry_that_waits_for_its_checkpoint_says_so(logged: Door) -> None:
    logged.cast.mass_mail()
    response = logged.agent.call("GET", f"/log/proof/{Entry.objects.latest('id').uuid}")
    assert (response.status_code, response["Retry-After"]) == (503, "1")


@pytest.fixture
def sequencing(committed_door: Door, sequencer_dsn: str) -> Iterator[None]:
    """A sequencer that runs as it does beside the site."""
    stop = threading.Event()
    thread = threading.Thread(target=sequencer.run, args=(stop, sequencer_dsn))
    thread.start()
    yield
    stop.set()
    thread.join(10)


def test_the_evidence_verifies_offline(sequencing: None, committed_door: Door, tmp_path: Path) -> None:
    door = committed_door
    action = door.cast.mass_mail()
    vote = {"verdict": "approve", "digest": action.digest, "comment": "fine"}
    assert door.approver.post(f"/actions/{action.pk}/decision", vote)[0] == 200
    response = door.approver.call("GET", f"/actions/{action.pk}/evidence")
    (tmp_path / "e.zip").write_bytes(response.content)
    assert response["Content-Disposition"].startswith("attachment")
    key = str(settings.AGENTSEC_LOG_PUBLIC_KEY)
    assert verify.main([str(tmp_path / "e.zip"), "--key", key]) == 0
    assert door.agent.get(f"/actions/{action.pk}/evidence")[0] == 403


def test_an_approved_call_is_handed_out_once_its_votes_are_under_a_checkpoint(
    sequencing: None, committed_door: Door
) -> None:
    door = committed_door
    told = door.agent.propose("email.send", {"to": MANY, "subject": "News", "body": "x"})[1]
    vote = {"verdict": "approve", "digest": told["digest"]}
    door.approver.post(f"/actions/{told['id']}/decision", vote)
    status, handed = door.agent.get(f"/actions/{told['id']}")
    assert (status, handed["state"], handed["grant"]["digest"]) == (200, "running", told["digest"])
