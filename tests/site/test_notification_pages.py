"""Where people say how they are told: their own page, groups' page, and who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from approvals.notice_models import Outlet
from approvals.notify import outlets
from policies.models import User
from tests import receiver
from tests.cast import Cast, person
from tests.page import INLINE
from tests.receiver import Receiver
from traces import record
from traces.models import Entry

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
URL = "https://hooks.corp.example/T0/B0/very-secret-path"


@pytest.fixture
def hook(settings: Settings) -> Iterator[Receiver]:
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [running.entry]
        yield running


def as_(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def text(response: Any) -> str:
    return str(response.content.decode())


def make(client: Client, *, channel: str = "slack", url: str = URL, **more: str) -> Any:
    where = "/policies/notifications/add" if "group" in more else "/account/notifications/add"
    return client.post(where, {"channel": channel, "url": url, **more}, follow=True)


def test_a_person_says_what_they_are_told_and_when(cast: Cast) -> None:
    User.objects.filter(pk=cast.approver.pk).update(email="ada@corp.example")
    client = as_(cast.approver)
    page = text(client.get("/account"))
    assert "ada@corp.example" in page and not INLINE.search(page)
    outlet = Outlet.objects.get(user=cast.approver)
    wish = {"kinds": ["expiring"], "quiet_from": "22:00", "quiet_to": "07:00", "zone": "Europe/Brussels",
            "urgent": "on", "enabled": "on"}  # fmt: skip
    assert "Saved." in text(client.post(f"/notifications/{outlet.pk}/save", wish, follow=True))
    outlet.refresh_from_db()
    assert (outlet.kinds, str(outlet.quiet_from), outlet.zone, outlet.urgent) == (
        ["expiring"], "22:00:00", "Europe/Brussels", True,
    )  # fmt: skip
    page = text(client.get("/account"))
    assert 'value="22:00"' in page and 'value="Europe/Brussels"' in page


WRONG: tuple[dict[str, str], ...] = (
    {"zone": "Mars/Olympus"}, {"quiet_from": "22:00"}, {"quiet_from": "25:99", "quiet_to": "07:00"},
    {"kinds": "everything"}, {"zone": "../../etc/passwd"}, {"zone": "UTC\0"},
)  # fmt: skip


def test_what_cannot_be_meant_is_refused_and_nothing_changes(cast: Cast) -> None:
    outlet, client = outlets.mailbox(cast.approver), as_(cast.approver)
    for wrong in WRONG:
        post = {"kinds": "asked", "zone": "UTC", "enabled": "on", **wrong}
        page = text(client.post(f"/notifications/{outlet.pk}/save", post, follow=True))
        assert "Nothing was changed" in page, wrong
    outlet.refresh_from_db()
    assert (outlet.zone, outlet.quiet_from) == ("UTC", None)


def test_an_address_is_never_read_back(cast: Cast) -> None:
    client = as_(cast.administrator)
    page = text(make(client, group="comms"))
    assert "hooks.corp.example" in page and "very-secret-path" not in page and not INLINE.search(page)
    outlet = Outlet.objects.get()
    assert b"very-secret-path" not in bytes(outlet.sealed)
    told = [str(record.open_whole(entry)) for entry in Entry.objects.filter(kind__startswith="outlet.")]
    assert told and not any("very-secret-path" in each for each in told)


def test_the_signing_secret_is_shown_once(cast: Cast) -> None:
    client = as_(cast.administrator)
    page = text(make(client, channel="webhook", group="comms"))
    (secret,) = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", page))
    assert secret not in text(client.get("/policies/notifications"))
    assert outlets.destination(Outlet.objects.get()).secret == secret


def test_an_auditor_reads_and_changes_nothing(cast: Cast) -> None:
    make(as_(cast.administrator), group="comms")
    outlet, auditor = Outlet.objects.get(), as_(cast.auditor)
    page = text(auditor.get("/policies/notifications"))
    assert "hooks.corp.example" in page and "<form method" not in page.partition("<main")[2]
    assert auditor.post(f"/notifications/{outlet.pk}/remove").status_code == 404
    assert make(auditor, group="comms").status_code == 403


def test_an_approver_sets_up_no_channel_of_a_group(cast: Cast) -> None:
    client = as_(cast.approver)
    assert client.get("/policies/notifications").status_code == 403
    assert make(client, group="comms").status_code == 403 and not Outlet.objects.exists()


VERBS = ("save", "test", "secret", "confirm", "remove")


def test_what_is_anothers_does_not_exist_and_a_link_changes_nothing(cast: Cast) -> None:
    outlet = outlets.mailbox(cast.approver)
    for user, status in ((cast.stranger, 404), (cast.administrator, 404)):
        client = as_(user)
        assert {client.post(f"/notifications/{outlet.pk}/{verb}").status_code for verb in VERBS} == {status}
    client = as_(cast.approver)
    assert {client.get(f"/notifications/{outlet.pk}/{verb}").status_code for verb in VERBS} == {405}


INSIDE = (
    "http://hooks.corp.example/x", "https://127.0.0.1/x", "https://169.254.169.254/latest", "https://[::1]/x",
    "https://user:pw@hooks.corp.example/", "ftp://x.example/", "javascript:alert(1)",
    "https://hooks.corp.example:25/", "",
)  # fmt: skip


def test_an_address_inside_the_house_is_refused_when_it_is_entered(cast: Cast) -> None:
    client = as_(cast.approver)
    for url in INSIDE:
        assert "note is-danger" in text(make(client, url=url)), url
    assert not Outlet.objects.filter(channel="slack").exists()


def test_a_test_message_says_what_went_wrong(cast: Cast, hook: Receiver) -> None:
    client = as_(cast.approver)
    make(client, url=hook.url)
    outlet = Outlet.objects.get(channel="slack")
    hook.answers.append(b"HTTP/1.1 404 <b>no</b>\r\nContent-Length: 0\r\n\r\n")
    page = text(client.post(f"/notifications/{outlet.pk}/test", follow=True))
    assert "It did not arrive: it answered 404." in page and len(hook.got) == 1


def test_with_four_eyes_a_second_administrator_confirms_a_channel(cast: Cast, settings: Settings) -> None:
    other = person("second-admin", roles=("administrator",))
    settings.AGENTSEC_FOUR_EYES = True
    client = as_(cast.administrator)
    make(client, group="comms")
    outlet = Outlet.objects.get()
    assert not outlet.enabled
    post = {"kinds": "asked", "zone": "UTC", "enabled": "on"}
    client.post(f"/notifications/{outlet.pk}/save", post)
    client.post(f"/notifications/{outlet.pk}/confirm")
    outlet.refresh_from_db()
    assert not outlet.enabled
    as_(other).post(f"/notifications/{outlet.pk}/confirm")
    outlet.refresh_from_db()
    assert outlet.enabled and outlet.unconfirmed == ""


def test_the_health_page_says_what_could_not_be_told(cast: Cast) -> None:
    make(as_(cast.administrator), group="comms")
    Outlet.objects.update(failed_at="2099-01-01T00:00:00Z", last_error="it answered 500")
    assert "slack of comms: given up (it answered 500)" in text(as_(cast.stranger).get("/health"))
