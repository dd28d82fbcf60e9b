"""What a passkey signed is proved to somebody who has only a bundle, and what it did not sign is named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from approvals import decisions, signing
from approvals.models import Action
from policies import passkeys, world
from tests.approvals.test_stepup import STEP_UP, equip, forge
from tests.authenticator import Authenticator
from tests.cast import Cast
from traces import bundle, keys, record, sequencer, signed, tool
from traces.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def watched(
    committed_cast: Cast, sequencer_dsn: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cast]:
    """The cast under a rule with step-up, and the log's sequencer at work."""
    settings.AGENTSEC_URL = "http://localhost:8000"
    world.apply(STEP_UP, by="tests")
    monkeypatch.setattr(sequencer, "INTERVAL", 0.01)
    stop = threading.Event()
    runner = threading.Thread(target=sequencer.run, args=(stop, sequencer_dsn))
    runner.start()
    yield committed_cast
    stop.set()
    runner.join(10)


@pytest.fixture
def device(watched: Cast) -> Authenticator:
    return equip(watched.approver)


def approved(cast: Cast, device: Authenticator) -> Action:
    action, user = cast.deploy(), cast.approver
    wish = signing.request(action_id=action.pk, user=user, digest=action.digest, comment="go")
    return decisions.approve(
        action_id=action.pk, user=user, digest=action.digest, comment="go", confirm="production",
        answer=json.dumps(device.get(wish)),
    ).action  # fmt: skip


def verify(folder: Path, action: Action, *more: str) -> tuple[int, str]:
    (folder / "evidence.zip").write_bytes(bundle.export([str(action.session_id)]))
    (folder / tool.NAME).write_bytes(tool.packed())
    command = [sys.executable, "-I", "-S", tool.NAME, "evidence.zip", "--key", keys.verifier_key(), *more]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_bundle_brings_the_registration_and_verifies_alone(
    watched: Cast, device: Authenticator, tmp_path: Path
) -> None:
    status, told = verify(tmp_path, approved(watched, device))
    with zipfile.ZipFile(tmp_path / "evidence.zip") as archive:
        held = [json.loads(archive.read(name)) for name in archive.namelist() if name.startswith("entries/")]
    bodies = [json.loads(each["payload"])["body"] for each in held]
    assert (status, told[:8]) == (0, "VERIFIED") and device.jwk in [body.get("key") for body in bodies]


def test_an_approval_that_the_server_made_up_is_named(
    watched: Cast, device: Authenticator, tmp_path: Path
) -> None:
    """The whole tree holds, every signature of the log is right; only the person never said so."""
    action, thief = watched.deploy(), Authenticator()
    wanted = signing.stepup.challenge(action, watched.approver, verdict="approve", comment="")
    entry = str(Entry.objects.get(kind=signed.ADDED).uuid)
    forge(action, watched.approver, {**thief.sign(wanted), "credential": device.id, "passkey": entry})
    vote = Entry.objects.get(kind="vote.approve")
    status, told = verify(tmp_path, action)
    why = f"the approval by user:{watched.approver.pk} is not theirs: the signature is wrong"
    assert (status, told.splitlines()[0]) == (1, f"FORGED entry {vote.uuid}: {why}")


def test_pinned_passkeys_show_a_key_that_the_server_registered(
    watched: Cast, device: Authenticator, tmp_path: Path
) -> None:
    (tmp_path / "pins.json").write_text(json.dumps(passkeys.registered()))
    action, thief = watched.deploy(), Authenticator()
    body = {
        "user": f"user:{watched.approver.pk}",
        "credential": thief.id,
        "key": thief.jwk,
        "rp_id": "localhost",
    }
    with transaction.atomic():
        added = record.append(kind=signed.ADDED, actor=body["user"], subject=record.SITE, body=body)
    wanted = signing.stepup.challenge(action, watched.approver, verdict="approve", comment="")
    forge(action, watched.approver, {**thief.sign(wanted), "passkey": str(added.uuid)})
    found = [verify(tmp_path, action)[0], *verify(tmp_path, action, "--passkeys", "pins.json")]
    assert found[:2] == [0, 1] and "none of those that were pinned" in str(found[2])


def test_the_whole_log_is_checked_too(
    watched: Cast, device: Authenticator, capsys: pytest.CaptureFixture[str], settings: Any, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    approved(watched, device)
    out = io.StringIO()
    call_command("verify", stdout=out)
    action = watched.deploy()
    forge(action, watched.approver, None)
    with pytest.raises(SystemExit):
        call_command("verify", stdout=out)
    assert (
        out.getvalue().startswith("VERIFIED")
        and f"FORGED entry {Entry.objects.last().uuid}" in out.getvalue()
    )


@pytest.mark.parametrize("held", ["x", {"passkey": 7}, {"passkey": "nothing", "credential": None}, [], {}])
def test_a_forged_vote_of_any_form_can_be_exported_and_named(
    watched: Cast, held: Any, tmp_path: Path
) -> None:
    action = watched.deploy()
    forge(action, watched.approver, held)
    status, told = verify(tmp_path, action)
    assert status == 1 and told.startswith("FORGED entry")
