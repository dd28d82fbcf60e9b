"""An evidence bundle proves itself, alone, offline; whatever is changed in it is named."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lengths import tries
from tests.traces.ledger import Ledger
from traces import bundle, keys, problems, proofs, record, sequencer, tool, verify
from traces.models import Checkpoint, Entry, Session

Change = Callable[[dict[str, bytes]], None]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def running(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(sequencer, "INTERVAL", 0.01)
    stop = threading.Event()
    runner = threading.Thread(target=sequencer.run, args=(stop, ledger.sequencer_dsn))
    runner.start()
    yield ledger
    stop.set()
    runner.join(10)


@pytest.fixture
def session(running: Ledger) -> Session:
    session = running.session()
    for number in range(3):
        running.append(session, action=f"act-{number}", body={"order": number, "odd": "\x00\ud800"})
    running.append(running.session("eve"), body={"secret": "of another session"})
    return session


@pytest.fixture
def exported(session: Session) -> bytes:
    return bundle.export(
        [str(session.pk)], actor="user:1", extra={"rules.txt": "ask comms", "votes.json": [1, 2]}
    )


SAMPLE: list[bytes] = []


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> bytes:
    """One bundle for all tests that only look at its bytes."""
    if not SAMPLE:
        SAMPLE.append(request.getfixturevalue("exported"))
    return SAMPLE[0]


def unpack(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def run(folder: Path, data: bytes, *options: str) -> subprocess.CompletedProcess[str]:
    """The verifier in a folder with nothing else, by an interpreter that finds no package."""
    (folder / "bundle.zip").write_bytes(data)
    (folder / tool.NAME).write_bytes(tool.packed())
    command = [sys.executable, "-I", "-S", tool.NAME, "bundle.zip", "--key", keys.verifier_key(), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def names(files: dict[str, bytes]) -> list[str]:
    return sorted(name for name in files if name.startswith("entries/"))


def test_it_verifies_alone(sample: bytes, tmp_path: Path) -> None:
    done = run(tmp_path, sample)
    assert (done.returncode, done.stderr, done.stdout[:20]) == (0, "", "VERIFIED: 4 entries,")


def test_it_holds_the_session_and_nothing_of_another(exported: bytes, session: Session) -> None:
    found = {name.removeprefix("entries/").removesuffix(".json") for name in names(unpack(exported))}
    assert found == {str(entry.uuid) for entry in Entry.objects.of_session(session.pk)}


def test_a_person_can_read_it(sample: bytes) -> None:
    summary = json.loads(unpack(sample)["summary.json"])
    assert [entry["payload"].get("order") for entry in summary["entries"]] == [None, 0, 1, 2]


def test_an_action_is_exported_by_itself(session: Session, tmp_path: Path) -> None:
    done = run(tmp_path, bundle.export(["act-1"]))
    assert done.stdout.startswith("VERIFIED: 1 entries, 1 open")


def test_its_keys_open_these_entries_and_no_other(exported: bytes, session: Session) -> None:
    disclosed = {json.loads(unpack(exported)[name])["key"] for name in names(unpack(exported))}
    wrapped = Entry.objects.of_session(session.pk)[0].subject_key
    subject_key = record.seal.unwrap(bytes(wrapped.wrapped or b""), str(wrapped.pk))
    assert base64.b64encode(subject_key).decode() not in disclosed


def test_the_export_is_in_the_log(exported: bytes) -> None:
    assert Entry.objects.get(kind="bundle.exported").actor == "user:1"


def test_an_erased_person_s_bundle_still_verifies(session: Session, tmp_path: Path) -> None:
    record.erase_subject(subject="ada", actor="user:1")
    done = run(tmp_path, bundle.export([str(session.pk)]))
    assert done.stdout.startswith("VERIFIED: 4 entries, 0 open")


def test_what_does_not_exist_cannot_be_exported(running: Ledger) -> None:
    with pytest.raises(problems.NotFound):
        bundle.export(["act-unknown"])


@pytest.mark.parametrize("name", ["verify.pyz", "checkpoint", "entries/x.json", "../x", "/etc/passwd"])
def test_a_further_file_takes_no_name_of_ours(session: Session, name: str) -> None:
    with pytest.raises(problems.Invalid):
        bundle.export([str(session.pk)], extra={name: "x"})


def test_an_export_inside_a_transaction_is_refused(session: Session) -> None:
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        bundle.export([str(session.pk)])


def test_without_a_sequencer_it_says_so(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "WAIT_SECONDS", 0.1)
    session = ledger.session()
    with pytest.raises(problems.Unavailable):
        bundle.export([str(session.pk)])


def field(name: str, change: Callable[[Any], Any]) -> Change:
    """Change one field of the second entry's file."""

    def apply(files: dict[str, bytes]) -> None:
        path = names(files)[1]
        data = json.loads(files[path])
        data[name] = change(data[name])
        files[path] = json.dumps(data).encode()

    return apply


def flipped(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


EDITS: dict[str, Change] = {
    "header": field("header", flipped),
    "sealed": field("sealed", flipped),
    "payload": field("payload", lambda text: text.replace(":", ": ", 1)),
    "key": field("key", flipped),
    "index": field("index", lambda index: index + 1),
    "wrong type": field("index", str),
    "proof": field("proof", lambda proof: proof[:-1]),
    "no proof": field("proof", lambda _proof: None),
    "not an object": lambda files: files.update({names(files)[1]: b"[]"}),
    "not JSON": lambda files: files.update({names(files)[1]: b"\xff"}),
    "too deep": lambda files: files.update({names(files)[1]: b"[" * 200_000}),
    "deleted": lambda files: files.__delitem__(names(files)[1]),
    "replaced": lambda files: files.update({names(files)[1]: files[names(files)[0]]}),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS.keys())
def test_a_changed_entry_is_named(sample: bytes, tmp_path: Path, change: Change) -> None:
    files = unpack(sample)
    victim = names(files)[1].removeprefix("entries/").removesuffix(".json")
    change(files)
    done = run(tmp_path, pack(files))
    assert (done.returncode, victim in done.stdout, done.stderr) == (1, True, "")


OTHERS: dict[str, Change] = {
    "a file more": lambda files: files.update({"more.txt": b"x"}),
    "an entry more": lambda files: files.update({"entries/x.json": files[names(files)[0]]}),
    "a file less": lambda files: files.__delitem__("rules.txt"),
    "another summary": lambda files: files.update({"summary.json": b"{}"}),
    "another rule": lambda files: files.update({"rules.txt": b"allow"}),
    "no receipt": lambda files: files.__delitem__("receipt.json"),
    "no checkpoint": lambda files: files.__delitem__("checkpoint"),
    "another checkpoint": lambda files: files.update(
        {"checkpoint": files["checkpoint"].replace(b"\n", b"\n1", 1)}
    ),
    "an entry as receipt": lambda files: files.update({"receipt.json": files[names(files)[0]]}),
    "another verifier": lambda files: files.update({"verify.pyz": b"print('VERIFIED')"}),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_a_changed_bundle_does_not_verify(sample: bytes, tmp_path: Path, change: Change) -> None:
    files = unpack(sample)
    change(files)
    done = run(tmp_path, pack(files))
    assert (done.returncode, done.stderr) == (1, "")


@given(data=st.data())
@settings(max_examples=tries(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_changes_nothing_unseen(sample: bytes, tmp_path: Path, data: st.DataObject) -> None:
    place, flip = data.draw(st.integers(0, len(sample) - 1)), data.draw(st.integers(1, 255))
    path = tmp_path / "bundle.zip"
    path.write_bytes(sample[:place] + bytes([sample[place] ^ flip]) + sample[place + 1 :])
    if verify.main([str(path), "--key", keys.verifier_key()]) == 0:
        assert unpack(path.read_bytes()) == unpack(sample)


def test_what_is_no_bundle_cannot_be_verified(tmp_path: Path) -> None:
    assert run(tmp_path, b"not a zip").returncode == 2


def test_another_log_s_key_does_not_verify_it(sample: bytes, tmp_path: Path) -> None:
    stranger = "x.example+" + keys.verifier_key().partition("+")[2]
    done = run(tmp_path, sample, "--key", stranger)
    assert done.returncode == 2


def test_one_byte_changed_in_the_database_is_named_by_a_later_bundle(
    running: Ledger, session: Session, tmp_path: Path
) -> None:
    victim = Entry.objects.get(session=session, seq=3)
    bundle.export([str(session.pk)])
    running.forge("UPDATE traces_entry SET sealed = set_byte(sealed, 20, 0) WHERE id = %s", victim.pk)
    done = run(tmp_path, bundle.export([str(session.pk)]))
    assert (done.returncode, f"EDITED entry {victim.uuid}" in done.stdout) == (1, True)


def test_a_later_bundle_continues_the_one_seen_before(
    running: Ledger, session: Session, tmp_path: Path
) -> None:
    run(tmp_path, bundle.export([str(session.pk)]), "--state", "seen.json")
    running.append(session)
    done = run(tmp_path, bundle.export([str(session.pk)]), "--state", "seen.json")
    assert (done.returncode, done.stdout[:21]) == (0, "VERIFIED: 5 entries, ")


def test_a_bundle_seen_before_verifies_again(running: Ledger, session: Session, tmp_path: Path) -> None:
    first = bundle.export([str(session.pk)])
    run(tmp_path, first, "--state", "seen.json")
    run(tmp_path, bundle.export([str(session.pk)]), "--state", "seen.json")
    assert run(tmp_path, first, "--state", "seen.json").returncode == 0


def test_a_fork_is_found_by_what_was_seen(sample: bytes, tmp_path: Path) -> None:
    run(tmp_path, sample, "--state", "seen.json")
    state = json.loads((tmp_path / "seen.json").read_text())
    for sizes in state.values():
        sizes.update(dict.fromkeys(sizes, "00" * 32))
    (tmp_path / "seen.json").write_text(json.dumps(state))
    done = run(tmp_path, sample, "--state", "seen.json")
    assert (done.returncode, "FORKED" in done.stdout) == (1, True)


def test_a_log_that_was_cut_back_is_found_by_what_was_seen(sample: bytes, tmp_path: Path) -> None:
    origin = keys.verifier_key().partition("+")[0]
    (tmp_path / "seen.json").write_text(json.dumps({origin: {"1000": "00" * 32}}))
    assert run(tmp_path, sample, "--state", "seen.json").returncode == 1


def test_a_reader_may_ask_for_the_proof_since_any_checkpoint(
    running: Ledger, session: Session, tmp_path: Path
) -> None:
    proofs.wait_covered([running.append(session).pk], timeout=10)
    seen = Checkpoint.objects.order_by("size").first()
    assert seen is not None
    running.append(session)
    origin = keys.verifier_key().partition("+")[0]
    (tmp_path / "seen.json").write_text(json.dumps({origin: {str(seen.size): bytes(seen.root).hex()}}))
    done = run(tmp_path, bundle.export([str(session.pk)], since=[seen.size]), "--state", "seen.json")
    assert done.returncode == 0


def test_one_entry_that_belongs_to_no_session_is_exported_alone(session: Session) -> None:
    with transaction.atomic():
        review = record.append(kind="access.reviewed", body={"kept": 3}, actor="user:1")
        record.append(kind="policy.published", body={}, actor="user:1")
    told = json.loads(unpack(bundle.export([str(review.uuid)]))["summary.json"])
    assert [entry["payload"] for entry in told["entries"]] == [{"kept": 3}]
