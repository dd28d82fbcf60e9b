"""The admin: each role finds its rooms and no others, every change tells the log, nothing breaks the CSP."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from policies import agents, limits, people, releases, secrets, world
from policies.models import (
    Agent,
    AgentKey,
    Case,
    PersonalToken,
    Release,
    Role,
    Rule,
    Secret,
    Switch,
    Tool,
    User,
)
from tests.cast import Cast, person
from tests.page import INLINE
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db

# What the strict policy of the site refuses to run or to paint.
MODELS = (
    "agent",
    "tool",
    "rule",
    "case",
    "release",
    "switch",
    "grant",
    "user",
    "agentkey",
    "personaltoken",
    "secret",
)


@pytest.fixture
def browser(client: Client, cast: Cast) -> Any:
    """Sign somebody in by role."""

    def sign_in(*roles: str, name: str = "") -> Client:
        user = person(name or "-".join(roles), roles=roles)
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in


def listing(model: str) -> str:
    return reverse(
        "admin:auth_group_changelist" if model == "group" else f"admin:policies_{model}_changelist"
    )


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def kinds() -> list[str]:
    return list(Entry.objects.order_by("id").values_list("kind", flat=True))


def rule_form(**fields: Any) -> dict[str, Any]:
    given = {
        "name": "nights",
        "description": "",
        "effect": "ask",
        "agents": "",
        "tools": "email.*",
        "when": "",
        "approvers": "comms",
    }
    return {**given, "quorum": 1, "expires_after": "15m", "mode": "live", "enabled": "on", **fields}


def errors(answer: Any) -> str:
    return str(answer.context["adminform"].form.errors)


# Who finds what


@pytest.mark.parametrize("model", [*MODELS, "group"])
def test_an_administrator_or_an_editor_sees_every_room_that_is_theirs(browser: Any, model: str) -> None:
    assert browser("administrator", "editor").get(listing(model)).status_code == 200


@pytest.mark.parametrize("model", ["user", "agentkey", "personaltoken", "secret", "group"])
def test_an_editor_does_not_see_people_keys_and_secrets(browser: Any, model: str) -> None:
    assert browser("editor").get(listing(model)).status_code == 403


@pytest.mark.parametrize("model", ["tool", "rule", "case"])
def test_an_administrator_reads_rules_and_adds_none(browser: Any, model: str) -> None:
    client = browser("administrator")
    assert (
        client.get(listing(model)).status_code,
        client.get(reverse(f"admin:policies_{model}_add")).status_code,
    ) == (200, 403)


@pytest.mark.parametrize("model", [*MODELS, "group"])
def test_an_auditor_reads_everything_and_adds_nothing(browser: Any, model: str) -> None:
    client, label = browser("auditor"), "auth_group" if model == "group" else f"policies_{model}"
    assert (
        client.get(listing(model)).status_code,
        client.get(reverse(f"admin:{label}_add")).status_code,
    ) == (200, 403)


@pytest.mark.parametrize("role", ["approver", "member"])
def test_approvers_and_members_have_no_business_here(browser: Any, role: str) -> None:
    assert browser(role).get("/admin/").status_code == 302


def test_nobody_finds_the_queues_or_the_permissions_of_others(browser: Any) -> None:
    page = browser(*Role.values).get("/admin/").content.decode()
    assert not re.search(r"django_rq|/admin/axes|permission", page, re.I)


def test_an_auditor_cannot_change_what_they_read(browser: Any) -> None:
    rule = Rule.objects.get(name="mass-mail")
    answer = browser("auditor").post(page_of(rule), rule_form(name="mass-mail", effect="allow"))
    assert (answer.status_code, Rule.objects.get(pk=rule.pk).effect) == (403, "ask")


def test_an_auditor_cannot_publish(browser: Any) -> None:
    assert browser("auditor").post(reverse("admin:policies_publish")).status_code == 403


# The pages themselves


def rows() -> list[Any]:
    people.issue_token(User.objects.get(username="ada"))
    limits.stop(scope="agent:scout", reason="odd", by="tests")
    secrets.put(name="database", value="hunter2-and-more", by="tests")
    Case.objects.create(name="a case", tool="deploy", args={"target": "x"}, expect="ask")
    firsts = [Agent, Tool, Rule, Case, Release, Switch, User, AgentKey, PersonalToken, Secret, Group]
    return [model.objects.first() for model in firsts]


def test_every_page_is_there_and_keeps_to_the_content_security_policy(browser: Any) -> None:
    client = browser("administrator", "editor")
    wanted = [page_of(row) for row in rows()]
    wanted += [
        reverse(f"admin:policies_{model}_add")
        for model in ("agent", "tool", "rule", "case", "switch", "user", "secret")
    ]
    wanted += [reverse("admin:auth_group_add"), reverse("admin:policies_publish"), reverse("admin:index")]
    wanted += [
        reverse("admin:policies_agent_key", args=[Agent.objects.first().pk]),
        *map(listing, (*MODELS, "group")),
    ]
    found = {address: client.get(address) for address in wanted}
    bad = {
        address: INLINE.search(answer.content.decode()) or answer.status_code
        for address, answer in found.items()
        if answer.status_code != 200 or INLINE.search(answer.content.decode())
    }
    assert bad == {}


def test_no_page_holds_the_hash_of_a_key_or_the_value_of_a_secret(browser: Any) -> None:
    client, found = browser("administrator", "editor"), rows()
    text = "".join(client.get(page_of(row)).content.decode() for row in found)
    hashes = [AgentKey.objects.first().sha256, PersonalToken.objects.first().sha256]
    assert not [secret for secret in (*hashes, "hunter2-and-more") if secret in text]


# Rules and releases


def test_a_rule_is_saved_as_a_draft_that_decides_nothing_yet(browser: Any) -> None:
    answer = browser("editor").post(reverse("admin:policies_rule_add"), rule_form())
    names = [rule.name for rule in releases.current().compiled.rules]
    assert (answer.status_code, kinds()[-1], "nights" in names) == (302, "policy.drafted", False)


def test_a_condition_that_does_not_type_check_is_refused_with_its_place(browser: Any) -> None:
    answer = browser("editor").post(reverse("admin:policies_rule_add"), rule_form(when="args.x +"))
    assert "line 1, column" in errors(answer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("approvers", ""),
        ("approvers", "nobody"),
        ("quorum", 0),
        ("expires_after", "15"),
        ("name", "a b"),
        ("tools", "x\x00"),
    ],
)
def test_a_rule_that_no_file_could_hold_is_refused(browser: Any, field: str, value: Any) -> None:
    browser("editor").post(reverse("admin:policies_rule_add"), rule_form(**{field: value}))
    assert not Rule.objects.filter(effect="ask", tools=["email.*"]).exists()


def test_publishing_says_what_changes_first(browser: Any) -> None:
    client = browser("editor")
    client.post(reverse("admin:policies_rule_add"), rule_form())
    assert "rule nights: added" in client.get(reverse("admin:policies_publish")).content.decode()


def test_publishing_takes_a_post_and_then_the_rule_decides(browser: Any) -> None:
    client = browser("editor")
    client.post(reverse("admin:policies_rule_add"), rule_form())
    client.post(reverse("admin:policies_publish"), {"note": "nights"})
    assert "nights" in [rule.name for rule in releases.current().compiled.rules]


def test_a_failing_case_keeps_the_draft_from_being_published_and_is_named(browser: Any) -> None:
    client = browser("editor")
    Case.objects.create(name="deploys go at once", tool="deploy", args={"target": "x"}, expect="allow")
    client.post(reverse("admin:policies_rule_add"), rule_form())
    answer = client.post(reverse("admin:policies_publish"), {"note": ""})
    assert "case deploys go at once" in answer.content.decode() and Release.objects.count() == 1


def test_with_four_eyes_an_editor_cannot_publish_their_own_draft(browser: Any, settings: Any) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    client = browser("editor")
    client.post(reverse("admin:policies_rule_add"), rule_form())
    answer = client.post(reverse("admin:policies_publish"), {"note": ""})
    assert "somebody else has to publish it" in answer.content.decode()


def test_disabling_and_removing_rules_are_told_to_the_log(browser: Any) -> None:
    client, rule = browser("editor"), Rule.objects.get(name="mail")
    client.post(listing("rule"), {"action": "disable", "_selected_action": [rule.pk]})
    client.post(reverse("admin:policies_rule_delete", args=[rule.pk]), {"post": "yes"})
    titles = [record.open_payload(entry)["changes"] for entry in Entry.objects.filter(kind="policy.drafted")][
        -2:
    ]
    assert titles == [["rule mail: enabled changed"], ["rule mail: removed"]]


def tool_form(**fields: Any) -> dict[str, Any]:
    schema = '{"type": "object", "properties": {"to": {"type": "string"}}}'
    given = {
        "name": "sms.send",
        "description": "",
        "runs": "agent",
        "effect": "write",
        "sends": "external",
        "output": "trusted",
    }
    return {
        **given,
        "parameters": schema,
        "authority": "to",
        "target": "to",
        "summary": "To {to}",
        "config": "{}",
        **fields,
    }


def test_a_tool_is_saved(browser: Any) -> None:
    answer = browser("editor").post(reverse("admin:policies_tool_add"), tool_form(returns=["private"]))
    assert (answer.status_code, Tool.objects.get(name="sms.send").authority) == (302, ["to"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("authority", "cc"),
        ("target", "cc"),
        ("summary", "{cc}"),
        ("config", '{"minutes": 900}'),
        ("config", '{"x": 1}'),
        ("config", "[]"),
        ("parameters", '{"type": "array"}'),
        ("parameters", '{"properties": {"to": {"pattern": "("}}}'),
        ("parameters", '{"description": "\\u0000"}'),
        ("config", '{"source": "\\ud800"}'),
        ("labels", "Not A Label"),
        ("parameters", "[" * 3000),
    ],
)
def test_a_tool_that_no_file_could_hold_is_refused(browser: Any, field: str, value: str) -> None:
    answer = browser("editor").post(reverse("admin:policies_tool_add"), tool_form(**{field: value}))
    assert answer.status_code == 200 and not Tool.objects.filter(name="sms.send").exists()


def test_a_tool_is_paused_at_once(browser: Any, cast: Cast) -> None:
    tool = Tool.objects.get(name="deploy")
    browser("editor").post(listing("tool"), {"action": "pause", "_selected_action": [tool.pk]})
    assert limits.held(cast.agent, releases.current().tool("deploy")) == "the tool deploy is paused"


# Agents, keys, switches


def test_an_agent_is_paused_at_once_and_the_log_says_who_did_it(browser: Any, cast: Cast) -> None:
    browser("editor", name="ed").post(
        listing("agent"), {"action": "pause", "_selected_action": [cast.agent.pk]}
    )
    last = Entry.objects.latest("id")
    editor = User.objects.get(username="ed")
    assert (Agent.objects.get(pk=cast.agent.pk).mode, last.kind, last.actor) == (
        "paused",
        "agent.mode",
        f"user:{editor.pk}",
    )


def test_a_new_key_is_shown_once_and_works(browser: Any, cast: Cast) -> None:
    client = browser("administrator")
    answer = client.post(reverse("admin:policies_agent_key", args=[cast.agent.pk]), {"scopes": ["act"]})
    raw = re.search(r"ask_[\w-]+", answer.content.decode()).group()
    assert agents.authenticate_key(raw).scopes == ["act"] and "no-store" in answer["Cache-Control"]


def test_an_editor_issues_no_keys(browser: Any, cast: Cast) -> None:
    address = reverse("admin:policies_agent_key", args=[cast.agent.pk])
    assert browser("editor").post(address, {"scopes": ["act"]}).status_code == 403


def test_a_key_is_revoked_at_once(browser: Any, cast: Cast) -> None:
    browser("administrator").post(
        listing("agentkey"), {"action": "revoke", "_selected_action": [cast.key.pk]}
    )
    assert agents.authenticate_key(cast.raw_key) is None


def test_an_auditor_revokes_nothing(browser: Any, cast: Cast) -> None:
    browser("auditor").post(listing("agentkey"), {"action": "revoke", "_selected_action": [cast.key.pk]})
    assert agents.authenticate_key(cast.raw_key) is not None


def test_the_kill_switch_is_thrown_and_lifted(browser: Any, cast: Cast) -> None:
    client = browser("editor")
    client.post(reverse("admin:policies_switch_add"), {"scope": "all", "reason": "a drill"})
    stopped = limits.held(cast.agent, releases.current().tool("deploy"))
    client.post(reverse("admin:policies_switch_delete", args=[Switch.objects.get().pk]), {"post": "yes"})
    assert (stopped, Switch.objects.exists()) == ("the kill switch stops everything: a drill", False)


def test_a_switch_that_stops_nothing_is_refused_on_the_page(browser: Any) -> None:
    answer = browser("editor").post(
        reverse("admin:policies_switch_add"), {"scope": "scout", "reason": ""}, follow=True
    )
    assert "stops all, agent:NAME, group:NAME or tool:NAME" in answer.content.decode()


# People


def user_form(**fields: Any) -> dict[str, Any]:
    return {"username": "dora", "email": "dora@example.com", "roles": ["approver"], **fields}


def test_a_person_is_invited_by_a_link_that_is_shown_once(browser: Any) -> None:
    comms = Group.objects.get(name="comms")
    answer = browser("administrator").post(reverse("admin:policies_user_add"), user_form(groups=[comms.pk]))
    token = re.search(r"/welcome/(lnk_[\w-]+)", answer.content.decode()).group(1)
    user = people.redeem(token=token, password="correct horse battery")
    assert (user.username, user.group_names, user.roles) == ("dora", {"comms"}, ["approver"])


def test_roles_and_groups_change_by_the_verbs_that_log_them(browser: Any, cast: Cast) -> None:
    form = {"username": "ada", "is_active": "on", "roles": ["auditor"], "groups": []}
    browser("administrator").post(page_of(cast.approver), form)
    ada = User.objects.get(username="ada")
    assert (ada.roles, ada.group_names, kinds()[-2:]) == (
        ["auditor"],
        frozenset(),
        ["person.roles", "person.groups"],
    )


def test_the_last_administrator_stays_one(browser: Any, cast: Cast) -> None:
    client = browser("administrator", name="boss")
    people.set_active(user=cast.administrator, active=False, by="tests")
    boss = User.objects.get(username="boss")
    answer = client.post(
        page_of(boss), {"username": "boss", "is_active": "on", "roles": ["member"]}, follow=True
    )
    assert "Somebody has to stay administrator" in answer.content.decode() and User.objects.get(
        pk=boss.pk
    ).roles == ["administrator"]


def test_whoever_is_switched_off_loses_their_token(browser: Any, cast: Cast) -> None:
    raw = people.issue_token(cast.approver)
    browser("administrator").post(
        listing("user"), {"action": "switch_off", "_selected_action": [cast.approver.pk]}
    )
    assert people.authenticate_token(raw) is None


def test_no_form_makes_a_superuser_or_sets_a_password(browser: Any, cast: Cast) -> None:
    form = {
        "username": "ada",
        "is_active": "on",
        "is_superuser": "on",
        "is_staff": "on",
        "password": "x",
        "roles": [],
    }
    browser("administrator").post(page_of(cast.approver), form)
    ada = User.objects.get(username="ada")
    assert (ada.is_superuser, ada.is_staff, ada.has_usable_password()) == (False, False, False)


def test_a_group_that_a_rule_names_is_not_removed(browser: Any) -> None:
    comms = Group.objects.get(name="comms")
    browser("administrator").post(reverse("admin:auth_group_delete", args=[comms.pk]), {"post": "yes"})
    assert Group.objects.filter(name="comms").exists()


def test_a_secret_goes_in_and_is_replaced(browser: Any) -> None:
    client = browser("administrator")
    client.post(reverse("admin:policies_secret_add"), {"name": "smtp", "value": "the-first-1"})
    client.post(page_of(Secret.objects.get()), {"value": " the-second-2 "})
    assert secrets.read("smtp") == " the-second-2 "


def test_what_people_do_here_is_never_logged_with_a_secret_in_it(browser: Any) -> None:
    client = browser("administrator")
    client.post(reverse("admin:policies_secret_add"), {"name": "smtp", "value": "s3cr3t-value"})
    answer = client.post(
        reverse("admin:policies_agent_key", args=[Agent.objects.first().pk]), {"scopes": ["act"]}
    )
    raw = re.search(r"ask_[\w-]+", answer.content.decode()).group()
    said = "".join(str(record.open_whole(entry)) for entry in Entry.objects.all())
    assert not [value for value in ("s3cr3t-value", raw) if value in said]


def test_the_world_file_and_the_admin_edit_the_same_draft(browser: Any) -> None:
    browser("editor").post(reverse("admin:policies_rule_add"), rule_form())
    report = world.apply("rules: []", by="operator")
    assert report.warnings == ["published with it, not from this file: rule nights: added"]


def test_a_person_gets_a_new_link_by_a_post_and_the_older_one_ends(browser: Any, cast: Cast) -> None:
    client, address = browser("administrator"), reverse("admin:policies_user_link", args=[cast.approver.pk])
    older = people.invite(user=cast.approver, by="tests").token
    asked = client.get(address).content.decode()
    token = re.search(r"/welcome/(lnk_[\w-]+)", client.post(address).content.decode()).group(1)
    assert ("lnk_" in asked, people.peek(token).user.username) == (False, "ada")
    with pytest.raises(Refused):
        people.peek(older)


def test_an_editor_makes_no_links(browser: Any, cast: Cast) -> None:
    address = reverse("admin:policies_user_link", args=[cast.approver.pk])
    assert browser("editor").post(address).status_code == 403


def test_a_post_without_the_forms_token_changes_nothing(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    editor = person("ed", roles=("editor",))
    client.force_login(editor, backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(reverse("admin:policies_publish"), {"note": ""}).status_code == 403


@pytest.mark.parametrize("model", [Agent, Tool])
def test_what_rules_and_switches_name_keeps_its_name(browser: Any, model: Any) -> None:
    row = model.objects.first()
    browser("editor").post(page_of(row), {**tool_form(), **agent_form(), "name": "another"})
    assert model.objects.get(pk=row.pk).name == row.name


def agent_form(**fields: Any) -> dict[str, Any]:
    given = {"name": "helper", "description": "", "mode": "standard", "labels": "", "owner": "", "team": ""}
    inline = {"keys-TOTAL_FORMS": 0, "keys-INITIAL_FORMS": 0}
    return {**given, "actions_per_minute": 1, "actions_per_day": 2, "pending": 3, **inline, **fields}


def test_an_agent_is_made_and_changed(browser: Any) -> None:
    client = browser("editor")
    client.post(reverse("admin:policies_agent_add"), agent_form())
    helper = Agent.objects.get(name="helper")
    answer = client.post(page_of(helper), agent_form(labels="finance, trial", pending=7))
    found = Agent.objects.get(name="helper")
    assert (answer.status_code, found.labels, found.pending) == (302, ["finance", "trial"], 7)
    assert kinds()[-2:] == ["agent.created", "agent.changed"]


@pytest.mark.parametrize(
    ("field", "value"), [("labels", "Not A Label"), ("name", "a b"), ("pending", -1), ("mode", "god")]
)
def test_an_agent_that_no_file_could_hold_is_refused(browser: Any, field: str, value: Any) -> None:
    answer = browser("editor").post(reverse("admin:policies_agent_add"), agent_form(**{field: value}))
    assert answer.status_code == 200 and Agent.objects.count() == 1


def test_a_tool_is_changed(browser: Any) -> None:
    tool = Tool.objects.get(name="deploy")
    form = tool_form(runs="shell", config='{"argv": ["/bin/true"]}', paused="on")
    answer = browser("editor").post(page_of(tool), form)
    found = Tool.objects.get(name="deploy")
    assert (answer.status_code, found.config, found.paused) == (302, {"argv": ["/bin/true"]}, True)


def test_a_rule_is_changed_and_reads_back_what_was_typed(browser: Any) -> None:
    client, rule = browser("editor"), Rule.objects.get(name="mass-mail")
    form = rule_form(name="mass-mail", expires_after="1h30m", until_0="2030-01-01", until_1="12:00:00")
    answer = client.post(page_of(rule), form)
    rule.refresh_from_db()
    assert (answer.status_code, rule.expires_after, rule.until.year) == (302, 5400, 2030)
    assert 'value="90m"' in client.get(page_of(rule)).content.decode()


def test_a_case_is_added(browser: Any) -> None:
    form = {
        "name": "a deploy is asked about",
        "tool": "deploy",
        "args": '{"target": "x"}',
        "labels": "untrusted",
    }
    answer = browser("editor").post(
        reverse("admin:policies_case_add"), {**form, "origin": "", "expect": "ask"}
    )
    case = Case.objects.get()
    assert (answer.status_code, case.args, case.labels, case.origin) == (
        302,
        {"target": "x"},
        ["untrusted"],
        {},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("args", "[]"),
        ("args", '{"a": 1, "a": 2}'),
        ("args", '{"a": NaN}'),
        ("origin", '{"a": "heaven"}'),
        ("args", "{"),
    ],
)
def test_a_case_that_no_file_could_hold_is_refused(browser: Any, field: str, value: str) -> None:
    form = {
        "name": "c",
        "tool": "deploy",
        "args": "",
        "labels": "",
        "origin": "",
        "expect": "ask",
        field: value,
    }
    assert browser("editor").post(reverse("admin:policies_case_add"), form).status_code == 200
    assert not Case.objects.exists()
