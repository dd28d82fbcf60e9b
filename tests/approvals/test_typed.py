"""Confirming what destroys: what is to be typed can be typed, in the browser and over REST alike."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals import typed as confirmation
from approvals.models import Action
from tests.approvals.test_views import browser, decide, text
from tests.cast import Cast, cast
from tests.gateway.caller import Caller
from tests.gateway.conftest import Door, door, quick_passwords
from traces.problems import Refused

__all__ = ["cast", "door", "quick_passwords"]


def destroys(target: str) -> Action:
    return Action(effect="destructive", target=target)


def takes(target: str, typed: str) -> str:
    """ "yes", or what the person is told."""
    try:
        confirmation.refuse(destroys(target), typed)
    except Refused as refused:
        return refused.detail
    return "yes"


@pytest.mark.parametrize(
    ("target", "typed"),
    [
        ("production", "production"),
        ("production", "  production \t"),
        ("production ", "production"),
        ("old reports", "old reports"),
        ("a  b", "a b"),  # a page shows one blank
        ("prod\u200buction", "prod<U+200B>uction"),
        ("prod\u200buction", "prod\u200buction"),  # as a script has it
        ("one\ntwo", "one<U+000A>two"),  # a field takes no line breaks
        ("a\u00a0b", "a<U+00A0>b"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u202egnp.exe", "<U+202E>gnp.exe"),
        ("пример", "пример"),
        ("x" * 500, f"{'x' * 30} ... {'x' * 30}"),
        ("x" * 500, "x" * 500),
    ],
)
def test_what_confirms(target: str, typed: str) -> None:
    assert takes(target, typed) == "yes"


@pytest.mark.parametrize(
    ("target", "typed", "told"),
    [
        ("production", "", "by typing “production”"),
        ("production", "prod", "by typing “production”"),
        ("production", "Production", "capital and small letters count"),
        ("prоduction", "production", "character 3 is CYRILLIC SMALL LETTER O, not LATIN SMALL LETTER O"),
        ("production", "prоduction", "character 3 is LATIN SMALL LETTER O, not CYRILLIC SMALL LETTER O"),
        ("prod\u200buction", "production", "prod<U+200B>uction"),
        ("production", "prod\u200buction", "by typing “production”"),
        ("x" * 500, "x" * 30, " ... "),
        ("ﬁle", "file", "ﬁle"),
        ("\u200b", "", "<U+200B>"),
        ("production", "\ud800", "by typing “production”"),
    ],
)
def test_what_does_not_confirm_and_what_is_said(target: str, typed: str, told: str) -> None:
    assert told in takes(target, typed)


@given(st.text(min_size=1).filter(str.strip))
def test_whatever_the_target_is_its_words_confirm_it_and_fit_into_a_field(target: str) -> None:
    words = confirmation.words(destroys(target))
    assert takes(target, words) == "yes"
    assert words and len(words) <= confirmation.LONGEST and not re.search(r"[\t\r\n]", words)


@given(st.text(), st.text(alphabet=" \t\r\n\u00a0"))
def test_blanks_confirm_nothing(target: str, typed: str) -> None:
    assert takes(target, typed) != "yes"


TRICKY = ["production", "prod\u200buction", "a  b\nc", "x" * 300, "ünïcode ™", "<b>&\"'"]


@pytest.mark.parametrize("target", TRICKY)
def test_what_the_card_says_to_type_approves_in_the_browser(cast: Cast, target: str) -> None:
    action = cast.deploy(target)
    card = text(browser(cast.approver).get(f"/actions/{action.pk}/card"))
    shown = html.unescape(re.search(r"confirm-name\">(.*?)</bdi>", card)[1])  # type: ignore[index]
    assert decide(cast.approver, action, "approve", confirm=shown).status_code == 200


@pytest.mark.parametrize("target", TRICKY)
def test_what_a_refusal_says_to_type_approves_over_rest(door: Door, target: str) -> None:
    action, caller = door.cast.deploy(target), door.approver
    vote = {"verdict": "approve", "digest": action.digest}
    status, told = caller.post(f"/actions/{action.pk}/decision", vote)
    assert status == 422
    assert caller.post(f"/actions/{action.pk}/decision", vote | {"confirm": told["confirm"]})[0] == 200


def test_an_empty_target_is_confirmed_by_the_name_of_the_tool(cast: Cast) -> None:
    action = cast.deploy("  ")
    assert decide(cast.approver, action, "approve", confirm="").status_code == 422
    assert decide(cast.approver, action, "approve", confirm="deploy").status_code == 200


def test_after_an_edit_the_new_target_is_what_confirms(cast: Cast) -> None:
    action = cast.deploy("production")
    sent = {"args_json": '{"target": "staging"}', "comment": "safer"}
    assert decide(cast.approver, action, "edit", confirm="production", **sent).status_code == 422
    assert decide(cast.approver, action, "edit", confirm="staging", **sent).status_code == 200


def test_nobody_confirms_by_a_key_of_an_agent(door: Door) -> None:
    action = door.cast.deploy("production")
    vote = {"verdict": "approve", "digest": action.digest, "confirm": "production"}
    caller: Caller = door.agent
    assert caller.post(f"/actions/{action.pk}/decision", vote)[0] == 403
