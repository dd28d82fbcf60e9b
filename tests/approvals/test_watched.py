"""What an approved script opened, executed and connected to: on the page, and sealed in the log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals import clock, execution, outputs, starting, watched
from approvals.models import Action, Execution
from approvals.sandbox import Noticed, Watched
from approvals.watch_models import JobWatch
from policies.firewall import known
from tests.cast import Cast
from traces import record
from traces.models import Entry
from traces.problems import Refused

TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
CODE = f"""
import socket, subprocess
subprocess.run(['/bin/echo', 'hello'])
for attempt in (lambda: open('/etc/shadow'), lambda: open('/tmp/{TOKEN}'),
                lambda: socket.socket().connect(('192.0.2.1', 443))):
    try: attempt()
    except OSError: pass
"""


@pytest.fixture
def action(committed_cast: Cast) -> Action:
    action = committed_cast.propose("script.run", {"code": CODE})
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    assert action.state == "succeeded", action.error
    return action


def test_it_is_sealed_masked_and_shown(action: Action, committed_cast: Cast) -> None:
    entry = Entry.objects.about(str(action.pk)).get(kind="action.watched")
    body = record.open_payload(entry)
    assert entry.span.title == "script.run: 2 files, 1 command, 1 connection"
    assert [item["what"] for item in body["executed"] + body["connected"]] == [
        "/bin/echo hello",
        "192.0.2.1:443",
    ]
    assert body["opened"][0] == {"what": "/etc/shadow", "how": "read", "times": 1}
    assert TOKEN not in str(body) + entry.span.text
    client = Client()
    client.force_login(committed_cast.auditor, backend="django.contrib.auth.backends.ModelBackend")
    page = client.get(f"/actions/{action.pk}/progress").content.decode()
    assert "2 files, 1 command, 1 connection" in page
    assert "192.0.2.1:443" in page
    assert TOKEN not in page


def test_artifacts_with_long_names_in_common_do_not_keep_an_action_from_ending(committed_cast: Cast) -> None:
    code = (
        "import os\nfolder = '/'.join(['x' * 100] * 2); os.makedirs(folder)\n"
        "for end in 'ab': open(f'{folder}/{\"y\" * 100}{end}', 'w').write(end)\nopen('c', 'w').write('c')"
    )
    action = committed_cast.propose("script.run", {"code": code})
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    assert (action.state, [item["name"] for item in action.result["artifacts"]]) == ("succeeded", ["c"])


def test_what_a_running_job_did_so_far_can_be_seen(cast: Cast) -> None:
    action = cast.propose("script.run", {"code": "pass"})
    running = Execution.objects.create(action=action, fence=7, worker="tests")
    watched.show(running, Watched(opened=(Noticed("/one", "read"),)))
    watched.show(running, Watched(opened=(Noticed("/one", "read", 2),)))
    assert JobWatch.objects.get().found["opened"] == [{"what": "/one", "how": "read", "times": 2}]


def abandoned(cast: Cast, *seen: Watched) -> dict[str, Any]:
    """What is sealed of a job whose worker was killed after it had told that much."""
    action = cast.propose("script.run", {"code": "pass"})
    begun = starting.start(action_id=action.pk, worker="killed with -9")
    assert isinstance(begun, starting.Started)
    for found in seen:
        watched.show(begun.execution, found)
    Execution.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    assert (clock.recover(timezone.now()), clock.recover(timezone.now())) == (1, 0)
    watched.show(begun.execution, Watched())
    entry = Entry.objects.about(str(action.pk)).get(kind="action.watched")
    return dict(record.open_payload(entry))


def test_what_a_killed_worker_had_told_is_sealed_once_and_marked(committed_cast: Cast) -> None:
    body = abandoned(
        committed_cast,
        Watched((Noticed("/etc/shadow", "read"),)),
        Watched((Noticed("/etc/shadow", "read", 2),)),
    )
    assert (body["opened"], body["cut_off"]) == ([{"what": "/etc/shadow", "how": "read", "times": 2}], True)
    assert watched.summary(JobWatch.objects.get().found).endswith("cut off, its end was not reported")


def test_that_a_killed_worker_had_told_nothing_is_sealed_too(committed_cast: Cast) -> None:
    assert abandoned(committed_cast)["gap"].startswith("nobody knows what it did")


def test_a_job_whose_run_failed_inside_is_sealed_as_far_as_it_was_told(committed_cast: Cast) -> None:
    action = committed_cast.propose("script.run", {"code": "pass"})
    begun = starting.start(action_id=action.pk, worker="tests")
    assert isinstance(begun, starting.Started)
    watched.show(begun.execution, Watched((Noticed("/one", "read"),)))
    execution.finish(begun.execution, outputs.failure("agentsec failed while it ran this"))
    entry = Entry.objects.about(str(action.pk)).get(kind="action.watched")
    assert record.open_payload(entry)["opened"][0]["what"] == "/one"


def test_a_gap_is_said_in_words() -> None:
    assert watched.summary(watched.described(Watched(gap="it is switched off"))) == "it is switched off"


def told(*opened: str, connected: tuple[str, ...] = ()) -> list[str]:
    lists = {"opened": opened, "connected": connected}
    found = watched.described(
        Watched(**{kind: tuple(Noticed(what, "read") for what in names) for kind, names in lists.items()})
    )
    return [item["what"] for kind in lists for item in found[kind]]


def test_one_name_that_looks_like_a_key_hides_no_other() -> None:
    with known.holding(known.NOTHING):
        names = told(
            "/tmp/-----BEGIN PRIVATE KEY-----" + "A" * 60, "/etc/shadow", connected=("192.0.2.1:443",)
        )
    assert "AAAA" not in names[0]
    assert names[1:] == ["/etc/shadow", "192.0.2.1:443"]


def test_a_stored_value_is_masked_where_it_stands_and_where_it_is_spread_over_names() -> None:
    with known.holding(known.Known([("mail", "correct-horse-battery")])):
        names = told("/one", "/tmp/correct-horse-battery", "correct-horse", "-battery", "/two")
    assert names == ["/one", "/tmp/[secret mail]", "[secret mail]", "[secret mail]", "/two"]


def test_where_values_cannot_be_read_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def shut() -> known.Known:
        raise Refused("unavailable", "the secret does not open")

    monkeypatch.setattr(known, "_source", [shut])
    assert watched.described(Watched(opened=(Noticed("/one", "read"),)))["opened"] == ()


def test_what_did_not_fit_is_said() -> None:
    found = watched.described(Watched(unlisted=3))
    assert watched.summary(found) == "no files, no commands, no connections and more"
