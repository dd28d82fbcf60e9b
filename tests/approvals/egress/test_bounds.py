"""Rules that narrow what a run may reach: shown, bound by the digest, held to by the proxy, never widened."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals import answers, starting, weighing
from approvals.models import Action
from policies import people, secrets, world
from policies.models import Rule
from policies.rules import RuleSpec
from policies.world import WorldRefused
from tests.approvals.egress.test_runs import ASK, KEY, answer, declare, run, server
from tests.cast import Cast
from tests.receiver import Receiver

__all__ = ["server"]
LOGIN = "django.contrib.auth.backends.ModelBackend"


def bound(*egress: str, effect: str = "allow", **more: Any) -> world.Report:
    told = {"name": "bound", "effect": effect, "tools": ["it"], "egress": list(egress), **more}
    told |= {"approvers": "comms"} if effect == "ask" else {}
    return world.apply(json.dumps({"rules": [told]}), by="tests")


def test_a_job_reaches_what_tool_and_rule_both_list(committed_cast: Cast, server: Receiver) -> None:
    secrets.put(name="api-key", value=KEY, by="tests")
    base = f"http://127.0.0.1:{server.port}"
    declare(
        committed_cast, runs="python", secrets=["api-key"],
        egress=[f"{base}/v1/*", f"POST {base}/pay with api-key"],
    )  # fmt: skip
    bound(f"GET {base}/v1/*", f"{base}/v2")
    server.answers.append(answer(b"read"))
    code = ASK % server.port + (
        "print(ask('/v1/a'), ask('/v1/a', method='POST')[0], ask('/v2')[0], ask('/pay', method='POST')[0])\n"
        "print([name for name in os.environ if 'SECRET' in name])\n"
    )
    action = run(committed_cast, {"code": code})
    assert action.result["stdout"] == "(200, 'read') 403 403 403\n[]\n", action.result
    assert len(server.got) == 1 and answers.answer(action)["verdict"]["egress"] == [
        f"GET {base}/v1/*", f"{base}/v2",
    ]  # fmt: skip


def test_a_rule_that_leaves_nothing_leaves_no_network(committed_cast: Cast) -> None:
    declare(committed_cast, runs="shell", egress=["api.x.example"], argv=["/usr/bin/env"])
    bound()
    action = run(committed_cast, {})
    assert action.state == "succeeded" and "PROXY" not in action.result["stdout"].upper()
    assert "network" not in action.result


def test_a_request_beyond_the_rule_is_blocked_when_it_is_judged(cast: Cast) -> None:
    declare(cast, runs="http", egress=["https://*.x.example/*"])
    bound("GET https://api.x.example/v1/*")
    action = cast.propose("it", {"url": "https://www.x.example/"})
    assert action.state == "blocked" and "www.x.example is not listed" in action.verdict["reasons"]
    assert cast.propose("it", {"url": "https://api.x.example/v1/a", "method": "POST"}).state == "blocked"
    assert cast.propose("it", {"url": "https://api.x.example/v1/a"}).state == "ready"


def test_the_card_says_what_is_left_of_it(cast: Cast, client: Client) -> None:
    declare(cast, runs="python", egress=["api.x.example", "www.x.example"])
    bound("api.x.example", effect="ask")
    action = cast.propose("it", {"code": "1"})
    client.force_login(cast.approver, backend=LOGIN)
    shown = client.get(f"/actions/{action.pk}/card").content.decode()
    assert "Network: api.x.example <" in shown and "www.x.example" not in shown
    bound(effect="ask")
    shown = client.get(f"/actions/{cast.propose('it', {'code': '1'}).pk}/card").content.decode()
    assert "Network: none" in shown


def test_a_verdict_that_was_widened_in_the_database_never_starts(cast: Cast) -> None:
    declare(cast, runs="python", egress=["*.x.example"])
    bound("api.x.example")
    for egress in (None, ["*.x.example"], ["no line"], []):
        action = cast.propose("it", {"code": "1"})
        altered = {**action.verdict, "egress": egress}
        Action.objects.filter(pk=action.pk).update(verdict_json=json.dumps(altered))
        said = starting.start(action_id=action.pk, worker="w")
        assert isinstance(said, starting.Dropped) and "altered outside agentsec" in said.why, egress


def test_what_a_later_release_narrows_does_not_start(cast: Cast) -> None:
    """What would run is what was shown: less of it is asked for anew, and more of it is not given."""
    declare(cast, runs="python", egress=["*.x.example"])
    bound("api.x.example", "www.x.example")
    narrowed, widened = (cast.propose("it", {"code": str(number)}) for number in (1, 2))
    bound("*.x.example")
    began = starting.start(action_id=widened.pk, worker="w")
    assert isinstance(began, starting.Started)
    assert began.tool.config["egress"] == ["api.x.example", "www.x.example"]
    bound("api.x.example")
    said = starting.start(action_id=narrowed.pk, worker="w")
    assert isinstance(said, starting.Dropped) and "reach less than was shown" in said.why


def test_a_tool_that_lists_nothing_is_given_nothing(committed_cast: Cast) -> None:
    declare(committed_cast, runs="python")
    bound("api.x.example")
    assert run(committed_cast, {"code": "import os; print('HTTP_PROXY' in os.environ)"}).result["stdout"] == (
        "False\n"
    )


# Written, dumped, refused, warned about


def test_a_world_file_holds_it_and_gives_it_back(cast: Cast) -> None:
    declare(cast, runs="python", egress=["*.x.example"])
    assert bound("api.x.example").warnings == []
    assert bound("api.x.example", "api.y.example").warnings == [
        "rule bound: nothing goes to api.y.example, which none of its tools lists in egress"
    ]
    dumped = world.dump()
    assert "egress: [api.x.example, api.y.example]" in dumped and not world.apply(dumped, by="tests").changes
    bound()
    assert Rule.objects.get(name="bound").egress == [] and "egress: []" in world.dump()
    world.apply("rules: [{name: bound, effect: allow, tools: [it]}]", by="tests")
    assert Rule.objects.get(name="bound").egress is None


@pytest.mark.parametrize(
    ("egress", "effect", "why"),
    [(["*"], "allow", r"rules\[0\].egress\[0\]: '\*' names no host"),
     (["a.example"], "block", "names no egress"),
     (["https://a.example/* with key"], "ask", "carries a secret")],
)  # fmt: skip
def test_a_wrong_line_is_refused_with_its_place(cast: Cast, egress: list[str], effect: str, why: str) -> None:
    with pytest.raises(WorldRefused, match=why):
        bound(*egress, effect=effect)


def test_the_form_writes_and_shows_it(cast: Cast, client: Client) -> None:
    declare(cast, runs="python", egress=["*.x.example"])
    editor = people.create_user(name="edda", roles=["editor"], by="tests").user
    client.force_login(editor, backend=LOGIN)
    rule = Rule.objects.get(name="reads")
    where = f"/admin/policies/rule/{rule.pk}/change/"
    fields = {
        "name": "reads", "effect": "allow", "agents": "", "tools": "it", "when": "", "approvers": "",
        "quorum": 1, "expires_after": "15m", "mode": "live", "enabled": "on", "until_0": "", "until_1": "",
        "escalate": "",
    }  # fmt: skip
    for typed, kept in (("api.x.example\r\n www.x.example", ["api.x.example", "www.x.example"]),
                        ("(nothing)", []), ("", None)):  # fmt: skip
        assert client.post(where, fields | {"egress": typed}).status_code == 302
        rule.refresh_from_db()
        assert rule.egress == kept
    Rule.objects.filter(pk=rule.pk).update(egress=[])
    assert "(nothing)</textarea>" in client.get(where).content.decode()
    assert "names no host" in client.post(where, fields | {"egress": "*"}).content.decode()


def test_a_suggested_rule_reaches_no_more_than_was_asked_about() -> None:
    asking = [
        RuleSpec(id=name, name=name, effect="ask", approvers="comms", egress=lines)
        for name, lines in (("a", ("*.x.example",)), ("b", None), ("c", ("api.x.example", "y.example")))
    ]
    calls = weighing.Calls("scout", "it", "args.n == 1")
    [*_, made] = weighing.edits_of(asking, calls, timezone.now() + timedelta(days=1), name="new")
    assert made.after.egress == ("api.x.example",)
