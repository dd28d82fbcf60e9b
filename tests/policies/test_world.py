"""The world file: strictly read, applied whole or not at all, dumped as it stands."""

from __future__ import annotations

import pytest

from policies import releases, world
from policies.models import Agent, Case, Release, Rule, Tool, User
from policies.world import WorldRefused
from traces.models import Entry

pytestmark = pytest.mark.django_db

MAIL = """
agents:
  - name: billing-bot
    owner: ops-lead
    team: finance
    mode: standard
    labels: [finance]
    limits: {actions_per_minute: 60, actions_per_day: 5000, pending: 50}
tools:
  - name: email.send
    description: Send an email
    runs: agent
    effect: write
    output: untrusted
    untrusted_fields: []
    returns: []
    sends: external
    idempotent: false
    authority: [to, cc, bcc]
    target: to
    summary: "Send “{subject}” to {to}"
    parameters: {type: object, properties: {to: {type: array, items: {type: string}}, cc: {type: array},
      bcc: {type: array}, subject: {type: string}, body: {type: string}, attachments: {type: array}},
      required: [to, subject, body]}
rules:
  - name: mass-mail
    effect: ask
    tools: [email.send]
    when: recipients(args) > 2 || (has(args.attachments) && size(args.attachments) > 0)   # to, cc and bcc
    approvers: comms
    quorum: 1
    expires_after: 15m
cases:
  - name: a newsletter is asked about
    tool: email.send
    args: {to: [a@x.example, b@x.example, c@x.example], subject: News, body: Hello}
    expect: ask
"""


def apply(text: str) -> world.Report:
    return world.apply(text, by="operator")


def refused(text: str) -> str:
    with pytest.raises(WorldRefused) as caught:
        apply(text)
    return caught.value.detail


def test_a_file_makes_agents_tools_rules_and_cases_and_says_so() -> None:
    report = apply(MAIL)
    assert report.changes == [
        "person ops-lead: declared; `manage.py user create ops-lead` invites them",
        "group finance: created",
        "agent billing-bot: created, standard",
        "tool email.send: created",
        "group comms: created",
        "rule mass-mail: created",
        "case a newsletter is asked about: created",
    ]


def test_applying_it_again_changes_nothing() -> None:
    apply(MAIL)
    before = (Entry.objects.count(), Release.objects.count())
    report = apply(MAIL)
    assert (report.changes, report.published, (Entry.objects.count(), Release.objects.count())) == (
        [],
        None,
        before,
    )


def test_what_is_applied_decides() -> None:
    apply(MAIL)
    assert [rule.name for rule in releases.current().compiled.rules] == ["mass-mail"]
