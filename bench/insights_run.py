"""The part of `bench/insights.py` that needs a running instance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client

from approvals import pipeline
from approvals.insights import BREAKDOWNS
from approvals.models import Action
from bench import history
from policies import agents, people, sessions, world
from policies.models import Agent, User

GOAL_PAGE, GOAL_BULK = 300.0, 2000.0
ROUNDS, HEAP = 9, 50
REVIEWERS = 12
DESK = """
agents:
  - {name: desk-bot, mode: standard, limits: {actions_per_minute: 1000, pending: 500}}
tools:
  - name: note.send
    runs: agent
    effect: write
    output: trusted
    sends: internal
    authority: [to]
    target: to
    summary: "Send a note to {to}"
    parameters: {type: object, properties: {to: {type: string}, text: {type: string}}, required: [to]}
rules:
  - {name: notes, effect: ask, tools: [note.send], approvers: desk}
"""
# Each decided action by somebody, within minutes, after a look of seconds.
VOTES = """
WITH votes AS (
    INSERT INTO approvals_vote
        (action_id, revision, digest, user_id, "group", verdict, comment, channel, at, void, entry)
    SELECT a.id, a.revision, a.digest, (%(people)s::bigint[])[1 + floor(random() * %(count)s)::int],
           a.groups->>0, CASE a.state WHEN 'rejected' THEN 'reject' ELSE 'approve' END, '', 'browser',
           a.created_at + make_interval(secs => 5 + 900 * random() ^ 3), false, gen_random_uuid()
    FROM approvals_action a
    WHERE a.approvals_json <> '[]' AND a.state IN ('rejected', 'succeeded') RETURNING id
)
INSERT INTO approvals_look (vote_id, seen_ms, risky)
SELECT id, 500 + 30000 * random() ^ 4, random() < 0.1 FROM votes
"""


def run(calls: int) -> None:
    """Make the company, print the table."""
    settings.ALLOWED_HOSTS = ["*"]
    active = history.found_company()
    history.write(calls, active=active)
    world.apply(DESK, by="bench")
    administrator = person("bench-administrator", "administrator")
    reviewers = [person(f"reviewer-{number}", "approver") for number in range(REVIEWERS)]
    with connection.cursor() as cursor:
        cursor.execute(VOTES, {"people": [user.pk for user in reviewers], "count": REVIEWERS})
        cursor.execute("ANALYZE")
    asked = Action.objects.exclude(approvals_json="[]").count()
    print(f"{calls:,} calls, {asked:,} of them asked about\n")
    print(f"{'what':<16} {'p50 ms':>8} {'worst':>8} {'own cpu':>8} {'queries':>8} {'/ goal':>7}")
    for by in BREAKDOWNS:
        client = signed_in(administrator)
        show(f"page by {by}", GOAL_PAGE, ROUNDS, lambda client=client, by=by: page(client, by))
    show(f"{HEAP} at once", GOAL_BULK, 3, heap(person("desk-person", "approver", "desk")).__next__)


def show(name: str, goal: float, rounds: int, act: Callable[[], object]) -> None:
    """Time it, the first round included, which has read nothing yet."""
    took, computed, queries = [], [], 0
    for _ in range(rounds):
        with counted() as count:
            began, worked = time.perf_counter(), time.process_time()
            act()
            took.append((time.perf_counter() - began) * 1000)
            computed.append((time.process_time() - worked) * 1000)
        queries = len(count)
    middle, cpu = median(took), median(computed)
    print(
        f"{name:<16} {middle:8.1f} {max(took):8.1f} {cpu:8.1f} {queries:8} {middle / goal:7.2f}", flush=True
    )


@contextmanager
def counted() -> Iterator[list[str]]:
    seen: list[str] = []

    def wrapper(execute: Any, sql: str, *rest: Any) -> Any:
        seen.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(wrapper):
        yield seen


def page(client: Client, by: str) -> None:
    answer = client.get("/insights", {"by": by, "days": "30"})
    if answer.status_code != 200 or b"Nothing was asked" in answer.content:
        raise SystemExit(f"the page by {by} answered {answer.status_code} or nothing")


def heap(user: User) -> Iterator[None]:
    """Fifty like calls a round; only the request that approves them is within the round."""
    client, agent = signed_in(user), Agent.objects.get(name="desk-bot")
    key = agents.authenticate_key(agents.issue_key(agent, ["act", "attest"], by="bench"))
    assert key is not None
    heaps = []
    for _ in range(3):
        session = sessions.open_session(agent=agent, key=key, user="somebody")
        made = [
            pipeline.propose(
                agent=agent, key=key, session_id=session.pk, tool="note.send",
                args={"to": f"person {number}", "text": "hello"},
            )
            for number in range(HEAP)
        ]  # fmt: skip
        heaps.append([f"{action.pk}:{action.digest}" for action in made])
    for items in heaps:
        sent = {"verdict": "approve", "item": items}
        answer = client.post("/bulk/decide", sent, headers={"HX-Request": "true"})
        if f"{HEAP} approved." not in answer.content.decode():
            raise SystemExit(f"not all were approved: {answer.content[:400]!r}")
        yield


def person(name: str, role: str, *groups: str) -> User:
    return people.create_user(name=name, groups=list(groups), roles=[role], by="bench").user


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client
