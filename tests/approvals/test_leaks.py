"""A stored secret that an agent, a job or a tool brings in is masked before anything keeps it."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agentsec_site.logs import MaskingFormatter
from approvals import decisions, execution, files, handout, outputs, questions, results
from approvals.models import Action, Artifact
from policies import secrets, secretvalues, sessions
from policies.models import PastValue, Secret, Tool
from tests import planted
from tests.cast import Cast
from traces import record
from traces.models import Entry
from traces.problems import Refused

VALUE = "Zq7-planted/Value+04817"
HALVES = f"{VALUE[:9]!r} + {VALUE[9:]!r}"


@pytest.fixture
def guarded(cast: Cast) -> Cast:
    secrets.put(name="crm", value=VALUE, by="tests")
    return cast


def kept() -> str:
    """Every entry of the log and every action, as text."""
    entries = " ".join(content.decode() for _, content in planted.opened())
    rows = [json.dumps(row, default=str) for row in Action.objects.values()]
    return entries + " ".join(rows)


def test_a_call_that_holds_a_value_is_blocked_and_keeps_none_of_it(guarded: Cast) -> None:
    args = {"to": ["a@example.com"], "subject": "Hi", "body": f"token: {VALUE}"}
    action = guarded.propose("email.send", args, reason=f"the key is {VALUE}")
    assert action.state == "blocked" and action.args["body"] == "token: [secret crm]"
    assert any(found["why"] == "the value of the secret crm" for found in action.findings)
    assert VALUE not in kept()


def test_a_value_in_pieces_or_in_a_key_is_a_leak_too(guarded: Cast) -> None:
    for args in (
        {"id": 1, "x": [VALUE[:10], VALUE[10:]]},
        {VALUE: 1},
        {"x": base64.b64encode(VALUE.encode()).decode()},
    ):
        assert guarded.propose("unknown.tool", args).state == "blocked"
    assert VALUE not in kept()


def test_the_same_call_without_the_value_goes_on(guarded: Cast) -> None:
    action = guarded.propose("email.send", {"to": ["a@example.com"], "subject": "Hi", "body": VALUE[:12]})
    assert action.state == "ready"


@pytest.mark.parametrize("field", ["tool_call_id", "idempotency_key"])
def test_what_is_kept_word_for_word_may_not_hold_a_value(guarded: Cast, field: str) -> None:
    with pytest.raises(Refused, match="secret crm"):
        guarded.propose("notes.read", {"id": 1}, **{field: VALUE})
    with pytest.raises(Refused, match="secret crm"):
        guarded.session(purpose=f"use {VALUE}")
    assert VALUE not in kept()


def test_a_file_that_holds_a_value_is_not_taken(guarded: Cast) -> None:
    for content in (VALUE.encode(), b"\xff\x00" + VALUE.encode("utf-16")):
        with pytest.raises(Refused, match="secret crm"):
            files.store(content=content, agent=guarded.agent)


def test_a_reviewer_does_not_put_a_value_into_a_call(guarded: Cast) -> None:
    action = guarded.order(500)
    with pytest.raises(Refused, match="secret crm"):
        decisions.edit(
            action_id=action.pk, user=guarded.second, digest=action.digest,
            args={"supplier": VALUE, "item": "paper", "amount": 500},
        )  # fmt: skip
    assert VALUE not in kept()


def test_what_is_said_and_read_is_told_on_without_the_value(guarded: Cast) -> None:
    session = guarded.session()
    for kind in ("user_message", "tool_result", "reasoning"):
        told = sessions.add_event(agent=guarded.agent, key=guarded.host_key, session=session, kind=kind,
                                  text=f"it is {VALUE}")  # fmt: skip
        assert told.text == "it is [secret crm]"
    assert VALUE not in kept()


def test_an_agents_answer_and_result_are_kept_without_the_value(guarded: Cast) -> None:
    waiting = guarded.order(500)
    asked = questions.ask(action_id=waiting.pk, user=guarded.second, text="why?")
    questions.answer(action_id=waiting.pk, agent=guarded.agent, question_id=asked.pk, text=f"for {VALUE}")
    asked.refresh_from_db()
    assert asked.answer == "for [secret crm]" and VALUE not in kept()


def test_the_log_itself_takes_no_value_from_anybody(guarded: Cast) -> None:
    entry = record.append(
        kind="tests.leak",
        actor="tests",
        body={"a": [VALUE], VALUE: VALUE.encode().hex()},
        title=VALUE,
        text=VALUE,
    )
    assert record.open_whole(entry) == {
        "body": {"a": ["[secret crm]"], "[secret crm]": "[secret crm]"},
        "title": "[secret crm]", "text": "[secret crm]", "attributes": {},
    }  # fmt: skip


def test_a_job_that_prints_a_value_gives_it_to_nobody(committed_cast: Cast, superuser_dsn: str) -> None:
    """Its output, its files and their names, in several encodings; then every table is searched."""
    secrets.put(name="crm", value=VALUE, by="tests")
    code = (
        f"import base64\nvalue = {HALVES}\nprint('token', value)\n"
        "print(base64.b64encode(('user:' + value).encode()).decode())\nprint(value.encode().hex().upper())\n"
        "import sys; sys.stderr.write(value)\n"
        "open('plain.txt', 'w').write('x' + value)\nopen('wide.txt', 'wb').write(value.encode('utf-16'))\n"
        "open(value.replace('/', '') , 'w').write('name')\nsys.exit(3)\n"
    )
    action = committed_cast.propose("script.run", {"code": code})
    execution.run(action_id=action.pk, worker="tests")
    action.refresh_from_db()
    assert action.result["stdout"].startswith("token [secret crm]\n")
    artifact = Artifact.objects.get(name="plain.txt")
    assert bytes(artifact.blob.content) == b"x[secret crm]"
    assert artifact.blob_id == hashlib.sha256(b"x[secret crm]").hexdigest()
    found = planted.search(VALUE, dsn=superuser_dsn, payloads=planted.opened())
    assert found == []


def test_the_search_finds_what_is_there(committed_cast: Cast, superuser_dsn: str) -> None:
    """It is itself tried on a value that nobody calls a secret."""
    action = committed_cast.propose("notes.read", {"id": 1}, reason=f"because of {VALUE}")
    found = planted.search(VALUE, dsn=superuser_dsn, payloads=planted.opened())
    assert "table public.approvals_action: plain" in found
    assert any(place.startswith("entry action.proposed") for place in found)
    coded = committed_cast.propose("notes.read", {"id": 2}, reason=base64.b64encode(VALUE.encode()).decode())
    assert action.pk != coded.pk
    assert any(place.endswith("base64 0") for place in planted.search(VALUE, dsn=superuser_dsn))


def test_an_output_that_was_cut_ends_before_what_could_be_half_a_value(guarded: Cast) -> None:
    cut = "x" * (outputs.MAX_STREAM - 5) + VALUE
    kept_part = outputs._whole(cut, cut=False)
    assert VALUE[:5] not in kept_part and len(kept_part) > outputs.MAX_STREAM - 500
    assert outputs._whole("whole", cut=False) == "whole"


def test_what_an_agent_reports_is_masked(guarded: Cast) -> None:
    action = guarded.propose("notes.read", {"id": 1})
    handed = handout.take(action.pk, agent=guarded.agent)
    assert handed is not None
    done = results.report(agent=guarded.agent, action_id=action.pk, status="succeeded",
                          output={"rows": [[VALUE]], VALUE: 1})  # fmt: skip
    assert done.result == {"output": {"rows": [["[secret crm]"]], "[secret crm]": 1}, "artifacts": []}


# The store


def test_what_was_replaced_or_removed_is_masked_for_another_day(guarded: Cast) -> None:
    secrets.put(name="crm", value="another-Value-5521", by="tests")
    secrets.remove(name="crm", by="tests")
    assert outputs.masked(f"{VALUE} another-Value-5521") == "[secret crm] [secret crm]"
    secrets.forget_past(timezone.now() + timedelta(hours=25))
    assert (outputs.masked(VALUE), PastValue.objects.count()) == (VALUE, 0)


def test_a_value_that_somebody_else_stored_is_known_at_once(guarded: Cast) -> None:
    """Another process stores it: nothing here is told of it, and the next text is masked all the same."""
    sealed = secrets.seal("other", b"stored-elsewhere-9921")
    assert outputs.masked("stored-elsewhere-9921") == "stored-elsewhere-9921"
    Secret.objects.create(name="other", sealed=sealed)
    assert outputs.masked("stored-elsewhere-9921") == "[secret other]"


def test_a_value_that_does_not_open_holds_every_output_back_but_no_entry_of_the_log(guarded: Cast) -> None:
    Secret.objects.create(name="foreign", sealed=b"\0" * 40)
    assert outputs.masked("hello") == outputs.WITHHELD
    with pytest.raises(Refused, match="foreign"):
        guarded.propose("notes.read", {"id": 1})
    before = Entry.objects.count()
    record.append(kind="tests.still", actor="tests", body={"a": VALUE})
    assert Entry.objects.count() == before + 1
    secrets.remove(name="foreign", by="tests")
    assert outputs.masked("hello") == "hello"


@pytest.mark.parametrize("value", ["short", "letmeinplease", "1111111111", "\ud800-lone-surrogate"])
def test_a_value_that_cannot_be_masked_is_not_stored(guarded: Cast, value: str) -> None:
    with pytest.raises(Refused) as refused:
        secrets.put(name="crm", value=value, by="tests")
    assert refused.value.code == "invalid" and value not in refused.value.detail


def test_the_values_before_stay_usable_for_the_overlap_and_no_longer(guarded: Cast) -> None:
    secrets.put(name="crm", value="second-Value-5521", by="tests", overlap=timedelta(hours=1))
    assert secrets.usable("crm") == ("second-Value-5521", VALUE)
    PastValue.objects.update(usable_until=timezone.now())
    assert secrets.usable("crm") == ("second-Value-5521",)
    assert VALUE not in kept() and "second-Value-5521" not in kept()


def test_a_tool_says_for_how_long_the_value_before_stays_usable(guarded: Cast) -> None:
    tool = {"source": "crm", "secret_overlap_minutes": 30}
    Tool.objects.filter(name="deploy").update(config=tool)
    secrets.put(name="crm", value="second-Value-5521", by="tests")
    (past,) = PastValue.objects.all()
    assert past.usable_until is not None
    assert timedelta(minutes=29) < past.usable_until - timezone.now() <= timedelta(minutes=30)


def test_answers_of_the_site_hold_no_value_whatever_stands_in_the_database(
    guarded: Cast, client: Any
) -> None:
    """It stood there before it was a secret."""
    action = guarded.propose("notes.read", {"id": 1}, reason="because")
    Action.objects.filter(pk=action.pk).update(reason="late-Secret-99x")
    secrets.put(name="late", value="late-Secret-99x", by="tests")
    secretvalues.forget()
    answer = client.get(
        f"/api/v1/actions/{action.pk}", headers={"Authorization": f"Bearer {guarded.raw_key}"}
    )
    assert answer.status_code in (200, 202) and b"late-Secret-99x" not in answer.content
    assert answer.json()["id"] == str(action.pk)


def test_a_traceback_in_a_process_log_holds_no_value(guarded: Cast) -> None:
    outputs.masked("whatever this process reads first")
    try:
        raise ValueError(f"cannot connect with {VALUE}")
    except ValueError:
        record_of = logging.LogRecord("x", logging.ERROR, "x", 1, "failed: %s", (VALUE,), sys.exc_info())
    line = MaskingFormatter("%(message)s").format(record_of)
    assert line.startswith("failed: [secret crm]\n") and VALUE not in line
