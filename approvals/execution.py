"""Running a started action in the sandbox, and ending it: output inspected, labels given, grant revoked."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction
from django.db.models.functions import Now

from approvals import executors, files, heartbeat, outputs, sandbox, starting, states, watched
from approvals.models import Action, Artifact, Blob, BlobOwner, Execution
from approvals.starting import Dropped, Held, Started
from policies import grants, sessions
from policies.calls import Call
from traces import live, record
from traces.problems import Refused

S = Action.State
WORKER_KINDS = tuple(executors.EXECUTORS)
COVER_SECONDS = 5.0
LIVE_SECONDS, LIVE_CHARACTERS = 0.25, 1 << 16
RETRY_SECONDS = 0.2
CLOSED = ("ended_at", "ended", "tier", "stdout", "stderr", "exit_status", "interpreter", "usage")
logger = logging.getLogger(__name__)


def run(*, action_id: UUID | str, worker: str) -> str:
    """Start an action if it may start now, run it to its end; returns what came of it, for the worker's
    log.
    """
    try:
        begun = start_when_covered(action_id=action_id, worker=worker)
    except Refused as refused:
        return refused.detail
    if isinstance(begun, Held | Dropped):
        return begun.why
    try:
        return _run(begun)
    finally:
        grants.revoke(grant=begun.grant, why="the action ended")


def start_when_covered(*, action_id: UUID | str, worker: str) -> Started | Held | Dropped:
    """Start, waiting a few seconds for the checkpoint that covers the votes. Raises Refused("conflict")."""
    until = time.monotonic() + COVER_SECONDS
    while True:
        begun = starting.start(action_id=action_id, worker=worker)
        if not isinstance(begun, Held) or not begun.soon or time.monotonic() > until:
            return begun
        time.sleep(0.05)


def _run(begun: Started) -> str:
    try:
        with heartbeat.beating(begun.execution) as pulse:
            return _ended(begun, _produce(begun, pulse), pulse)
    except Refused as over:
        return over.detail  # somebody declared this worker dead meanwhile; its result counts for nothing


def _ended(begun: Started, output: outputs.Output, pulse: heartbeat.Pulse) -> str:
    """Write how it ended; while the start is ours, a database that restarts is waited for."""
    while True:
        try:
            return finish(begun.execution, _kept(output))
        except Refused as over:
            if over.code != "too_large":
                raise
            output = outputs.failure(f"its output cannot be kept: {over.detail}")
        except DatabaseError as error:
            if not _went_away(error) or pulse.lost.wait(RETRY_SECONDS):
                raise
            connection.close()


def _kept(output: outputs.Output) -> outputs.Output:
    """With artifacts as they may be kept; where that cannot be said, none of it is."""
    try:
        return replace(output, artifacts=outputs.without_secrets(output.artifacts))
    except Refused as refused:
        return outputs.failure(refused.detail)


def _went_away(error: DatabaseError) -> bool:
    """Whether it is the connection that failed and not the statement."""
    return isinstance(error, OperationalError | InterfaceError)


def _produce(begun: Started, pulse: heartbeat.Pulse) -> outputs.Output:
    """Run the work; whatever goes wrong is an output that says so."""
    progress = _Progress(begun.execution)
    try:
        grants.use(action_id=begun.action.pk, digest=begun.action.digest, fence=begun.execution.fence)
        with progress.shown():
            output = executors.EXECUTORS[begun.action.runs](_running(begun, progress, pulse.stop))
        return _with_reason(output, begun.execution)
    except (Refused, sandbox.SandboxUnavailable, executors.NotRunnable, ValueError) as refused:
        return outputs.failure(str(refused))
    except Exception:
        logger.exception("action %s failed inside agentsec", begun.action.pk)
        return outputs.failure("agentsec failed while it ran this; see the worker's log")


def _running(begun: Started, progress: _Progress, stop: threading.Event) -> executors.Running:
    return executors.Running(
        action=begun.action, tool=begun.tool, execution=begun.execution, grant=begun.grant,
        content=files.content, tell=progress.add, noticed=progress.notice, stop=stop,
        last_look=partial(heartbeat.last_look, begun.execution),
    )  # fmt: skip


def _with_reason(output: outputs.Output, execution: Execution) -> outputs.Output:
    """Of a job that was stopped, who or what stopped it."""
    if output.ended != "stopped":
        return output
    execution.refresh_from_db(fields=["stop_requested"])
    return replace(output, error=execution.stop_requested or output.error)


class _Progress:
    """What the job prints, masked, shown while it runs. Masking takes its time, which is nobody's but this
    thread's: whoever drains the job must not wait for it.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution, self.texts, self.fresh = execution, {"stdout": "", "stderr": ""}, False
        self.lock = threading.Lock()
        self.watched: sandbox.Watched | None = None

    def add(self, stream: str, chunk: str) -> None:
        with self.lock:
            self.texts[stream], self.fresh = (self.texts[stream] + chunk)[-LIVE_CHARACTERS:], True

    def notice(self, found: sandbox.Watched) -> None:
        with self.lock:
            self.watched, self.fresh = found, True

    @contextmanager
    def shown(self) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=self._show, args=[done], name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _show(self, done: threading.Event) -> None:
        try:
            while not done.wait(LIVE_SECONDS):
                if self.fresh:
                    self._tell_or_wait()
        except Exception:
            logger.exception("what action %s prints is not shown live", self.execution.action_id)
        finally:
            connections.close_all()

    def _tell_or_wait(self) -> None:
        try:
            self._tell()
        except DatabaseError as error:
            logger.warning("live output waits for the database: %s", str(error).splitlines()[0])
            self.fresh = True
            connections.close_all()

    def _tell(self) -> None:
        with self.lock:
            texts, self.fresh = {name: _whole_lines(text) for name, text in self.texts.items()}, False
            found, self.watched = self.watched, None
        masked = {name: outputs.masked(text) for name, text in texts.items()}
        Execution.objects.filter(pk=self.execution.pk, ended_at=None).update(**masked)
        if found is not None:
            watched.show(self.execution, found)
        live.publish(
            f"output:{self.execution.action_id}", {"type": "output", "id": str(self.execution.action_id)}
        )


def _whole_lines(text: str) -> str:
    """Without what is still being written, and without what the cut at the beginning left of a line: half of
    a secret is not recognised as one.
    """
    first = text.find("\n") + 1 if len(text) == LIVE_CHARACTERS else 0
    return text[first : text.rfind("\n") + 1]


def _call(action: Action) -> Call:
    """How the tool was called, as the last verdict on these arguments saw it."""
    seen = json.loads(action.facts_json)
    return Call(effect=action.effect, origin=seen["origin"], authority=seen["authority"], args=seen["args"])


@transaction.atomic
def finish(execution: Execution, output: outputs.Output) -> str:
    """Store how an execution ended and move its action to succeeded or failed.

    Locks the action, then its session. Appends `session.tool_result` through the session's verb,
    `action.watched`, `action.output` and `action.<state>`. A worker whose fence is not the action's any more
    changes nothing and raises Refused("conflict").
    """
    action = states.lock(execution.action_id)
    if action.state != S.RUNNING or action.fence != execution.fence:
        raise Refused("conflict", f"this start is over: {states.already(action)}")
    output = replace(output, error=outputs.masked(output.error))
    artifacts = _keep_artifacts(execution, action, output)
    result = output.result | {"artifacts": artifacts}
    returned = sessions.add_output(
        session=action.session,
        tool_name=action.tool,
        output=result,
        action_id=str(action.pk),
        attested=output.attested,
        call=_call(action),
    )
    _close(execution, output, returned.output)
    watched.seal(execution, action, output.watched)
    body = {
        "ended": output.ended, "tier": output.tier, "usage": result.get("usage", {}), "artifacts": artifacts,
        "findings": returned.findings, "verdict": returned.verdict, "output_entry": str(returned.entry),
    }  # fmt: skip
    record.append(
        kind="action.output", actor=states.AGENTSEC, session=action.session, action=str(action.pk), body=body,
        title=f"{action.tool}: {output.ended}", attributes={"ended": output.ended},
    )  # fmt: skip
    states.move(
        action, to=S.SUCCEEDED if output.succeeded else S.FAILED, actor=states.AGENTSEC,
        where={"fence": execution.fence}, result_json=json.dumps(returned.output), error=output.error,
        body={"fence": execution.fence, "ended": output.ended, "error": output.error},
    )  # fmt: skip
    live.publish(f"output:{action.pk}", {"type": "output", "id": str(action.pk)})
    return f"{action.state}: {output.ended}"


@transaction.atomic
def interrupt(*, action_id: UUID | str, fence: int, why: str) -> None:
    """End a start that nobody can answer for any more: its worker is gone, or its agent never reported.

    Locks the action. Appends `action.watched`, with what was kept of a job in the sandbox, and
    `action.interrupted`. Raises Refused("conflict") if the start is over already.
    """
    action = states.lock(action_id)
    if action.state != S.RUNNING or action.fence != fence:
        raise Refused("conflict", f"this start is over: {states.already(action)}")
    mine = Execution.objects.filter(action=action, fence=fence)
    mine.filter(ended_at=None).update(ended_at=Now(), ended="lost")
    watched.seal_cut_off(mine.get(), action)
    states.move(
        action, to=S.INTERRUPTED, actor=states.AGENTSEC, where={"fence": fence}, error=why,
        body={"fence": fence, "why": why},
    )  # fmt: skip


def _close(execution: Execution, output: outputs.Output, screened: Any) -> None:
    """End an execution; `screened` is its output as the firewall lets it go on, perhaps held back."""
    execution.ended_at = Now()
    execution.ended, execution.tier = output.ended, output.tier
    told = screened if isinstance(screened, dict) else {}
    withheld = outputs.WITHHELD if "held_back" in told else ""
    execution.stdout = str(told.get("stdout", withheld))
    execution.stderr = str(told.get("stderr", withheld))
    execution.exit_status, execution.interpreter = output.exit_status, output.interpreter
    if output.tier:
        execution.usage = output.result.get("usage", {})
    # Not all of it: who asked it to stop, and the heartbeat, are written by others meanwhile.
    execution.save(update_fields=CLOSED)


def _keep_artifacts(execution: Execution, action: Action, output: outputs.Output) -> list[dict[str, Any]]:
    kept = []
    for item in output.artifacts:
        blob = Blob(sha256=item.sha256, content=item.content, size=len(item.content))
        Blob.objects.bulk_create([blob], ignore_conflicts=True)
        BlobOwner.objects.bulk_create(
            [BlobOwner(blob_id=item.sha256, agent=action.agent)], ignore_conflicts=True
        )
        Artifact.objects.create(execution=execution, name=item.name[:255], blob_id=item.sha256)
        kept.append({"name": item.name, "sha256": item.sha256, "size": len(item.content)})
    return kept
