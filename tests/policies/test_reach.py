"""What rules leave of a tool's way out: no more than any of the lists holds, and no less than all do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import fetch, reach
from policies.destinations import Destinations, parse
from policies.engine import Verdict, compile_release, decide
from policies.facts import AgentFacts, Facts, SessionFacts, build
from policies.rules import RuleSpec, problems_of, sentence
from policies.tooling import ToolDef
from tests.policies.test_engine import NOW

HOSTS = ["a.x.example", "*.x.example", "*.a.x.example", "b.a.x.example", "10.0.0.1", "[::1]"]
LINES = st.builds(
    lambda methods, scheme, host, port, path: f"{methods}{scheme}{host}{port}{path}",
    st.sampled_from(["", "", "GET ", "GET,POST ", "POST,PUT "]),
    st.sampled_from(["", "https://", "http://"]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", "", ":80", ":8443"]),
    st.sampled_from(["", "/*", "/v1*", "/v1/*", "/v1/a", "/v1/a*"]),
)
LISTS = st.lists(st.lists(LINES, max_size=4).map(tuple), min_size=1, max_size=3)
REQUESTS = [
    (method, fetch.place(f"{scheme}://{host}{port}{path}"))
    for method in ("GET", "POST", "PUT") for scheme in ("http", "https")
    for host in ("a.x.example", "b.a.x.example", "b.x.example", "10.0.0.1", "[::1]")
    for port in ("", ":80", ":8443")
    for path in ("/", "/v1", "/v1/a", "/v1/a/b", "/v10", "/v1/../x")
]  # fmt: skip


@given(LISTS)
def test_what_is_left_holds_exactly_what_every_list_holds(lists: list[tuple[str, ...]]) -> None:
    left, each = Destinations.of(reach.joined(lists)), [Destinations.of(lines) for lines in lists]
    for method, where in REQUESTS:
        wanted = all(one.of_request(method, where).allowed for one in each)
        assert left.of_request(method, where).allowed == wanted, (method, where)
        assert left.of_host(where).allowed <= all(one.of_host(where).allowed for one in each)


@given(LISTS)
def test_lines_that_meet_are_written_as_lines(lists: list[tuple[str, ...]]) -> None:
    left = reach.joined(lists)
    assert set(left) <= set(reach.joined([left, left]))
    assert all(parse(line).text == line for line in left)


@pytest.mark.parametrize(
    ("own", "to", "left"),
    [(["api.x.example"], ["api.x.example"], ["api.x.example"]),
     (["api.x.example"], ["GET https://api.x.example/v1/*"], ["GET https://api.x.example/v1/*"]),
     (["GET,POST https://api.x.example/*"], ["POST,PUT https://*.x.example/v1/*"], ["POST https://api.x.example/v1/*"]),
     (["*.x.example:8443"], ["https://api.x.example:8443"], ["https://api.x.example:8443"]),
     (["*.x.example"], ["*.files.x.example", "www.x.example"], ["*.files.x.example", "www.x.example"]),
     (["api.x.example"], ["b.x.example"], []), (["api.x.example"], [], []), ([], ["api.x.example"], []),
     (["http://api.x.example/a"], ["api.x.example"], []),
     (["GET api.x.example/"], ["POST api.x.example/"], [])],
)  # fmt: skip
def test_a_rule_takes_away_and_never_gives(own: list[str], to: list[str], left: list[str]) -> None:
    tool = reach.confined(ToolDef("it", runs="python", config={"egress": own}), to)
    assert list(tool.config["egress"]) == left


def test_the_tools_secrets_go_along_where_its_lines_are_left() -> None:
    own = ["POST https://api.x.example/pay with key", "https://api.x.example/v1/*", "www.x.example"]
    tool = ToolDef("it", runs="python", config={"egress": own, "secrets": ["key"], "code": "1"})
    kept = reach.confined(tool, ["api.x.example"]).config
    assert kept == {"egress": own[:2], "secrets": ["key"], "code": "1"}
    assert reach.confined(tool, ["www.x.example"]).config["secrets"] == []
    assert reach.confined(tool, None) is tool


def test_lines_beyond_counting_leave_nothing_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "MOST_LEFT", 3)
    own = [f"https://*.x.example/v{at}*" for at in range(5)]
    tool = ToolDef("it", runs="http", config={"egress": own})
    assert reach.confined(tool, ["*.x.example"]).config["egress"] == []
    assert "cannot be worked out" in reach.hindrance(tool, ["*.x.example"])


# A rule, and what a verdict says


def rule(effect: str, *egress: str, name: str = "r", **more: Any) -> RuleSpec:
    approvers = "ops" if effect == "ask" else ""
    return RuleSpec(id=name, name=name, effect=effect, approvers=approvers, egress=egress, **more)


def call(**args: Any) -> Facts:
    tool = ToolDef("web.get", runs="http").facts()
    agent = AgentFacts("scout", mode="standard")
    return build(args=args, tool=tool, agent=agent, session=SessionFacts(), origin={}, now=NOW)


def judged(*rules: RuleSpec, **args: Any) -> Verdict:
    return decide(call(**args), compile_release(rules))


def test_every_rule_that_applied_bounds_it() -> None:
    wide, narrow = rule("allow", "*.x.example", name="a"), rule("ask", "api.x.example", "b.other", name="b")
    free = RuleSpec(id="c", name="c", effect="allow")
    assert judged(wide, narrow, free).egress == ("api.x.example",)
    assert judged(free).egress is None
    assert judged(free, rule("ask")).egress == ()


def test_a_rule_that_does_not_apply_bounds_nothing() -> None:
    free = RuleSpec(id="c", name="c", effect="allow")
    assert judged(free, rule("allow", when="args.n == 1"), n=2).egress is None
    assert judged(free, rule("allow", mode="shadow")).egress is None


def test_a_rule_whose_condition_fails_bounds_all_the_same() -> None:
    """It might have applied: an allow that errs lets nothing pass, and what it takes away is not given."""
    free = RuleSpec(id="c", name="c", effect="allow")
    found = judged(free, rule("allow", "api.x.example", when="args.gone == 1"))
    assert (found.effect, found.egress) == ("allow", ("api.x.example",))


def test_what_cannot_be_worked_out_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "MOST_LEFT", 0)
    found = judged(rule("allow", "*.x.example", name="a"), rule("allow", "*.b.x.example", name="b"))
    assert found.effect == "block" and "cannot be worked out" in found.reasons[0] and found.egress == ()


def test_a_verdict_and_a_rule_are_read_back_as_they_were() -> None:
    for one in (rule("allow"), rule("ask", "api.x.example"), RuleSpec(id="c", name="c", effect="allow")):
        said = judged(one)
        assert RuleSpec.from_json(one.to_json()) == one and Verdict.from_json(said.to_json()) == said
    assert "egress" not in RuleSpec(id="c", name="c", effect="allow").to_json()
    assert rule("allow").to_json()["egress"] == []


def test_a_rule_is_read_aloud_with_what_it_leaves() -> None:
    assert sentence(rule("allow", "a.x.example", "b.x.example")).endswith(
        "reach only a.x.example or b.x.example"
    )
    assert sentence(rule("allow")).endswith("and let it reach nothing")


@pytest.mark.parametrize(
    ("one", "why"),
    [(rule("block", "a.x.example"), "a rule that blocks names no egress"),
     (rule("allow", "ftp://a.x.example"), "is neither http:// nor https://"),
     (rule("allow", "https://a.x.example/* with key"), "carries a secret"),
     (rule("allow", *[f"a{n}.x.example" for n in range(101)]), "egress has 101 lines")],
)  # fmt: skip
def test_lines_that_no_rule_holds(one: RuleSpec, why: str) -> None:
    assert any(why in problem for problem in problems_of(one))


def test_a_line_that_meets_none_of_the_tools_is_named() -> None:
    tools = [ToolDef("it", runs="python", config={"egress": ["*.x.example"]}), ToolDef("mail", runs="agent")]
    assert reach.strays(["api.x.example", "api.x.example:8443", "GET https://b.x.example/*"], tools) == [
        "api.x.example:8443"
    ]
    assert parse("api.x.example:8443").port == 8443


def test_a_release_that_narrows_is_told_from_one_that_does_not() -> None:
    tool = ToolDef(
        "it",
        runs="python",
        config={"egress": ["*.x.example", "GET,POST *.x.example/", "POST,PUT *.x.example/"]},
    )
    assert reach.holds_all(tool, narrower=None, wider=None)
    assert reach.holds_all(tool, narrower=None, wider=("*.x.example",))
    assert reach.holds_all(tool, narrower=("api.x.example",), wider=("*.x.example",))
    assert not reach.holds_all(tool, narrower=None, wider=("api.x.example",))
    assert not reach.holds_all(tool, narrower=("*.x.example",), wider=())
