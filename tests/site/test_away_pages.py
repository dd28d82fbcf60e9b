"""Being away, as people meet it: the page, the banner, and what the card says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from approvals import clock
from approvals.models import Action
from policies import absences, world
from policies.models import Rule, User
from tests.approvals.test_escalation import RULES
from tests.cast import Cast, cast, person

__all__ = ["cast"]


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(response: Any) -> str:
    return response.content.decode()


def say(who: User, **form: str) -> Any:
    until = (timezone.now() + timedelta(days=2)).isoformat()
    return browser(who).post("/away/set", {"until": until, **form}, follow=True)


def test_somebody_goes_and_comes_back(cast: Cast) -> None:
    person("zoe", "archive")
    assert "ada is away until" in text(say(cast.approver, stand_in="zoe"))
    assert "zoe</b> stands in" in text(browser(cast.approver).get("/"))
    browser(cast.approver).post(f"/away/{cast.approver.pk}/end")
    assert absences.of(cast.approver) is None


def test_the_stand_in_is_told_and_sees_for_whom(cast: Cast) -> None:
    zoe, action = person("zoe", "archive"), cast.mass_mail()
    say(cast.approver, stand_in="zoe")
    page = text(browser(zoe).get(f"/?open={action.pk}"))
    assert "You stand in for <b>ada</b>" in page
    assert "You may decide for <b>ada</b> of comms, away until" in page


def test_nobody_sends_another_away(cast: Cast) -> None:
    assert say(cast.approver, user="ben").status_code == 403
    assert browser(cast.second).post(f"/away/{cast.approver.pk}/end").status_code in (302, 403)
    assert absences.of(cast.second) is None


def test_an_administrator_does(cast: Cast) -> None:
    say(cast.administrator, user="ben", stand_in="ada")
    standing = absences.of(cast.second)
    assert standing is not None and standing.stand_in == cast.approver


def test_garbage_is_refused_in_words(cast: Cast) -> None:
    for until in ("", "soon", "9999-99-99T99:99", "0001-01-01T00:00+14:00", "2020-01-01T00:00"):
        answer = say(cast.approver, until=until)
        assert answer.status_code == 422 or answer.status_code == 400


def test_with_four_eyes_a_stand_in_waits_for_somebody_else(cast: Cast, settings: Any) -> None:
    settings.AGENTSEC_FOUR_EYES = True
    assert "Somebody else has to confirm" in text(say(cast.approver, stand_in="ben"))
    assert absences.of(cast.approver) is None
    assert "is away until" in text(say(cast.approver))


def test_the_card_says_when_it_goes_to_whom(cast: Cast) -> None:
    world.apply(RULES, by="tests")
    action = cast.mass_mail()
    assert "Goes to <b>leads</b> too" in text(browser(cast.approver).get(f"/?open={action.pk}"))
    past = timezone.now() - timedelta(minutes=11)
    Action.objects.update(changed_at=past, escalates_at=past)
    clock.escalate(timezone.now())
    page = text(browser(cast.approver).get(f"/?open={action.pk}"))
    assert "Escalated to <b>leads</b>" in page and "nobody of comms decided in 10 min" in page


def test_the_card_says_that_too_few_are_there(cast: Cast) -> None:
    action = cast.order()
    cast.second.groups.clear()
    page = text(browser(cast.approver).get(f"/?open={action.pk}"))
    assert "2 of finance are needed, and 1 person is in it." in page


def test_the_rules_say_whom_nobody_can_answer_for(cast: Cast) -> None:
    editor = person("edith", roles=("editor",))
    Rule.objects.filter(name="orders").update(quorum=5)
    for address in ("/admin/policies/rule/", "/admin/policies/rule/publish/"):
        assert "5 of finance are needed" in text(browser(editor).get(address))
    assert "orders: 5 of finance are needed" in text(browser(editor).get("/health"))


def test_the_rule_form_takes_steps_and_reads_them_aloud(cast: Cast) -> None:
    editor = browser(person("edith", roles=("editor",)))
    person("lea", "leads")
    address = f"/admin/policies/rule/{Rule.objects.get(name='mass-mail').pk}/change/"
    form = editor.get(address).context["adminform"].form
    fields = {name: form[name].value() or "" for name in form.fields}
    fields |= {"until_0": "", "until_1": "", "escalate": "10m leads", "separate_duties": "on", "agents": ""}
    fields |= {"tools": "email.send", "enabled": "on"}
    fields = {name: value for name, value in fields.items() if value != ""}
    assert editor.post(address, fields).status_code == 302
    page = text(editor.get(address))
    assert "after 10 min also leads" in page and "10m leads" in page
    late = editor.post(address, fields | {"escalate": "20m leads"})
    assert "escalates before it expires" in text(late)
