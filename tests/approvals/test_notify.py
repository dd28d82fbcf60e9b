"""What people are told outside of the pages: who, when, how often; over real SMTP and real HTTP."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from pytest_django import Settings

from agentsec_site.demo import mailbox
from approvals import decisions, notify
from approvals.models import Action, Vote
from approvals.notice_models import Notice, NoticeKind, Occasion, Outlet
from approvals.notify import outlets, routing, sending
from approvals.notify.outlets import Wish
from policies.models import User
from tests import receiver
from tests.cast import Cast, person
from tests.receiver import Receiver
from traces import record
from traces.models import Entry
from traces.problems import Refused

ALL = tuple(NoticeKind.values)
pytestmark = pytest.mark.django_db


@pytest.fixture
def post(settings: Settings, tmp_path: Path) -> Iterator[Post]:
    """A real SMTP server; each mail as its reader gets it."""
    with mailbox.running(tmp_path) as (host, port):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = host, port
        yield Post(tmp_path)


class Post:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def mails(self) -> list[EmailMessage]:
        files = sorted(self.folder.glob("*.eml"))
        return [message_from_string(file.read_text(), policy=policy.default) for file in files]  # type: ignore[misc]

    @property
    def texts(self) -> list[str]:
        return [mail.get_body(("plain",)).get_content() for mail in self.mails]  # type: ignore[union-attr]


@pytest.fixture
def hook(settings: Settings) -> Iterator[Receiver]:
    with receiver.running() as running:
        settings.AGENTSEC_FETCH_ALLOW = [running.entry]
        yield running


def address(user: User, email: str = "ada@corp.example") -> User:
    User.objects.filter(pk=user.pk).update(email=email)
    user.email = email
    return user


def after(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def let_pass(seconds: float = 16) -> int:
    """What the sender does when so much time has passed; how many messages it worked on."""
    now = after(seconds)
    while routing.route(now=now) == routing.BATCH:
        pass
    return sum(1 for _ in iter(lambda: sending.step(now=now), False))


def channel(cast: Cast, hook: Receiver, name: str = "slack", **more: Any) -> Outlet:
    group = Group.objects.get(name="comms")
    wish = Wish(kinds=ALL, url=hook.url, **more)
    return outlets.add(channel=name, owner=group, wish=wish, by="tests").outlet


def test_a_reviewer_gets_a_mail_about_what_waits(cast: Cast, post: Post) -> None:
    address(cast.approver)
    action = cast.deploy("production")
    let_pass()
    (mail,) = post.mails
    assert (mail["To"], mail["Subject"]) == (
        "ada@corp.example",
        "[agentsec] Waits for a decision: Deploy to production",
    )
    assert f"http://localhost:8000/?open={action.pk}" in post.texts[0] and "deploys" in post.texts[0]


def test_whoever_is_not_asked_hears_nothing(cast: Cast, post: Post) -> None:
    for number, user in enumerate((cast.stranger, cast.second, cast.auditor, cast.administrator)):
        address(user, f"p{number}@corp.example")
    cast.deploy()
    assert (let_pass(), post.mails) == (0, [])


def test_before_fifteen_seconds_nobody_is_told(cast: Cast, post: Post) -> None:
    address(cast.approver)
    cast.deploy()
    assert let_pass(14) == 0


def test_what_is_decided_within_fifteen_seconds_is_never_told(cast: Cast, post: Post) -> None:
    address(cast.approver)
    action = cast.mass_mail()
    decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="no")
    let_pass()
    assert post.mails == [] and not Notice.objects.exists()


def test_what_is_decided_between_routing_and_sending_is_not_told(cast: Cast, post: Post) -> None:
    address(cast.approver)
    action = cast.mass_mail()
    routing.route(now=after(16))
    decisions.reject(action_id=action.pk, user=cast.approver, digest=action.digest, comment="no")
    sending.step(now=after(17))
    assert post.mails == [] and Notice.objects.get().why == "it was decided meanwhile"


def test_whoever_may_no_longer_see_it_is_not_told(cast: Cast, post: Post) -> None:
    address(cast.approver)
    cast.deploy()
    routing.route(now=after(16))
    cast.approver.groups.clear()
    sending.step(now=after(17))
    assert post.mails == [] and Notice.objects.get().why == "this may not be seen there any more"


def test_whoever_has_voted_already_is_not_told(cast: Cast, post: Post) -> None:
    address(cast.approver), address(cast.second, "ben@corp.example")
    action = cast.order()
    decisions.approve(action_id=action.pk, user=cast.approver, digest=action.digest)
    let_pass()
    assert [mail["To"] for mail in post.mails] == ["ben@corp.example"]


def test_a_hundred_asks_are_few_messages(cast: Cast, post: Post) -> None:
    address(cast.approver)
    copies(cast.deploy(), 99)
    for seconds in (16, 40, 75, 120, 400):
        let_pass(seconds)
    (text,) = post.texts
    assert "100 actions to look at: 100 deploy. The most urgent ones:" in text and "And 95 more" in text
    assert text.count("Waits for a decision") == 5


def copies(action: Action, number: int) -> None:
    """The same action waiting so many times more."""
    for _ in range(number):
        action.pk = uuid4()
        action.save(force_insert=True)
        notify.about(action, kind=NoticeKind.ASKED, groups=action.groups)


def test_asks_that_drip_in_are_a_message_a_minute_and_after_a_storm_one_in_five(
    cast: Cast, post: Post
) -> None:
    address(cast.approver)
    action, now = cast.deploy(), after(16)
    copies(action, 3)
    for second in (0, 20, 50, 60, 80, 110, 120, 160, 180, 300, 410, 420, 430):
        copies(action, {20: 1, 80: 8, 160: 1}.get(second, 0))
        moment = now + timedelta(seconds=second)
        Occasion.objects.filter(kind="asked").update(due_at=moment)
        routing.route(now=moment)
        sending.step(now=moment)
    sent = sorted(Notice.objects.filter(state="sent").values_list("ended_at", flat=True).distinct())
    gaps = [round((later - earlier).total_seconds()) for earlier, later in zip(sent, sent[1:], strict=False)]
    assert (len(post.mails), gaps) == (4, [60, 60, 300])


def test_two_senders_at_once_send_once(committed_cast: Cast, post: Post) -> None:
    address(committed_cast.approver)
    committed_cast.deploy()
    now = after(16)
    routing.route(now=now)
    first, second = sending.claim(now=now), sending.claim(now=now)
    assert first is not None and second is None


def test_a_sender_that_dies_after_claiming_loses_nothing(cast: Cast, post: Post) -> None:
    address(cast.approver)
    cast.deploy()
    now = after(16)
    routing.route(now=now)
    dead = sending.claim(now=now)
    assert dead is not None and sending.prepare(dead, now=now) is not None
    assert not sending.step(now=now + timedelta(seconds=60))
    assert sending.step(now=now + sending.LEASE) and len(post.mails) == 1


def test_a_sender_that_wakes_up_late_writes_nothing(cast: Cast, post: Post) -> None:
    address(cast.approver)
    cast.deploy()
    now = after(16)
    routing.route(now=now)
    late = sending.claim(now=now)
    assert late is not None
    sending.step(now=now + sending.LEASE)
    sending.failed(late, sending.Undelivered("too late"), now=now)
    assert Outlet.objects.get().attempts == 0 and Notice.objects.get().state == "sent"


def test_a_signed_webhook_is_signed_and_repeats_its_id(cast: Cast, hook: Receiver) -> None:
    group = Group.objects.get(name="comms")
    saved = outlets.add(channel="webhook", owner=group, wish=Wish(kinds=ALL, url=hook.url), by="tests")
    action = cast.deploy("production")
    hook.answers.append(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    let_pass(16), let_pass(20), let_pass(40)
    first, again = hook.got
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    for got in hook.got:
        signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
        key = base64.b64decode(saved.secret.removeprefix("whsec_"))
        digest = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        assert got.headers["webhook-signature"] == f"v1,{digest}"
    told = json.loads(again.body)
    assert (told["type"], told["data"]["actions"][0]["id"]) == ("action.asked", str(action.pk))


def test_410_ends_a_webhook(cast: Cast, hook: Receiver) -> None:
    outlet = channel(cast, hook, "webhook")
    hook.answers.append(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
    cast.deploy()
    let_pass()
    cast.deploy()
    let_pass(3600)
    outlet.refresh_from_db()
    assert (len(hook.got), outlet.enabled) == (1, False) and "410" in outlet.why_off


def test_after_six_attempts_it_is_given_up_and_said(cast: Cast, hook: Receiver) -> None:
    outlet = channel(cast, hook)
    hook.answers += [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"] * 20
    action = cast.deploy()
    Action.objects.filter(pk=action.pk).update(deadline=after(90_000))
    for seconds in (16, 32, 93, 334, 935, 2136, 9000):
        let_pass(seconds)
    outlet.refresh_from_db()
    assert (len(hook.got), outlet.last_error, outlet.failed_at is not None) == (6, "it answered 503", True)
    assert Entry.objects.filter(kind="notice.given_up").count() == 1
    hook.answers.clear()
    cast.deploy()
    Action.objects.update(deadline=after(90_000))
    let_pass(10_000)
    outlet.refresh_from_db()
    assert (outlet.last_error, outlet.failed_at) == ("", None)


def test_a_wish_to_wait_is_granted(cast: Cast, hook: Receiver) -> None:
    channel(cast, hook)
    hook.answers.append(b"HTTP/1.1 429 Slow\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n")
    cast.deploy()
    let_pass(16), let_pass(120), let_pass(320)
    assert len(hook.got) == 2


def test_a_channel_of_a_group_hears_what_the_group_is_asked(cast: Cast, hook: Receiver) -> None:
    channel(cast, hook)
    cast.deploy(), cast.order()
    let_pass()
    text = json.loads(hook.got[0].body)["text"]
    assert len(hook.got) == 1 and "Deploy to" in text and "Order" not in text


def test_the_log_says_who_was_told_and_not_what(cast: Cast, post: Post) -> None:
    address(cast.approver)
    action = cast.deploy("the-secret-project")
    let_pass()
    entry = Entry.objects.get(kind="notice.sent")
    body = record.open_payload(entry)
    assert body and (body["channel"], body["to"], body["actions"]) == (
        "email", f"user:{cast.approver.pk}", [str(action.pk)],
    )  # fmt: skip
    assert "secret-project" not in json.dumps(record.open_whole(entry))


def test_quiet_hours_hold_and_what_is_over_by_then_is_dropped(cast: Cast, post: Post) -> None:
    quiet_now(address(cast.approver), urgent=False)
    cast.mass_mail()
    let_pass(16), let_pass(600), let_pass(2 * 3600)
    assert post.mails == [] and Notice.objects.get().state == "dropped"


def test_in_quiet_hours_what_would_expire_is_told_to_whoever_wants_that(cast: Cast, post: Post) -> None:
    quiet_now(address(cast.approver), urgent=True)
    cast.mass_mail()
    let_pass()
    assert len(post.mails) == 1


def test_after_quiet_hours_what_still_waits_is_told_in_one_message(cast: Cast, post: Post) -> None:
    quiet_now(address(cast.approver), urgent=False)
    for _ in range(3):
        cast.deploy()
    Action.objects.update(deadline=after(8 * 3600))
    let_pass(16)
    assert post.mails == []
    let_pass(3700)
    assert "3 actions to look at" in post.texts[0] and len(post.mails) == 1


def quiet_now(user: User, *, urgent: bool) -> None:
    """Quiet hours from an hour ago until in an hour, by the clock of UTC."""
    now = timezone.now()
    begin, end = ((now + timedelta(hours=hours)).time().replace(microsecond=0) for hours in (-1, 1))
    wish = Wish(kinds=ALL, quiet_from=begin, quiet_to=end, urgent=urgent)
    outlets.change(outlet=outlets.mailbox(user), wish=wish, by="tests")


def test_expires_soon_is_told_to_whoever_wants_it_and_once(cast: Cast, post: Post) -> None:
    wish = Wish(kinds=("expiring",))
    outlets.change(outlet=outlets.mailbox(address(cast.approver)), wish=wish, by="tests")
    cast.mass_mail()
    let_pass(16), let_pass(700)
    assert post.mails == []
    let_pass(721), let_pass(800)
    assert ["Expires soon" in mail["Subject"] for mail in post.mails] == [True]


def test_a_deadline_that_moved_is_told_later(cast: Cast, post: Post) -> None:
    wish = Wish(kinds=("expiring",))
    outlets.change(outlet=outlets.mailbox(address(cast.approver)), wish=wish, by="tests")
    action = cast.mass_mail()
    Action.objects.filter(pk=action.pk).update(deadline=action.deadline + timedelta(minutes=10))
    let_pass(721)
    assert post.mails == []
    let_pass(1201)
    assert len(post.mails) == 1


def test_whoever_was_told_hears_that_it_was_decided_if_they_like(cast: Cast, post: Post) -> None:
    for user, name in ((cast.approver, "ada"), (cast.second, "ben")):
        outlets.change(
            outlet=outlets.mailbox(address(user, f"{name}@corp.example")), wish=Wish(kinds=ALL), by="t"
        )
    action = cast.order()
    let_pass(16)
    decisions.reject(action_id=action.pk, user=cast.second, digest=action.digest, comment="no")
    let_pass(120)
    assert [(mail["To"], "Was rejected by ben" in mail["Subject"]) for mail in post.mails[2:]] == [
        ("ada@corp.example", True)
    ]


def test_the_answer_to_a_question_reaches_whoever_asked(cast: Cast, post: Post) -> None:
    address(cast.approver)
    action = cast.mass_mail()
    Occasion.objects.all().delete()
    notify.about(action, kind=NoticeKind.ANSWERED, users=[cast.approver])
    let_pass()
    assert "Has an answer to your question" in post.mails[0]["Subject"]


def test_a_stranger_named_by_mistake_is_not_told(cast: Cast, post: Post) -> None:
    action = cast.mass_mail()
    notify.about(action, kind=NoticeKind.ANSWERED, users=[address(cast.stranger)])
    let_pass()
    assert post.mails == []


def test_the_person_whom_the_session_serves_is_asked_for_their_word(cast: Cast, post: Post) -> None:
    sam = address(person("samira", roles=()), "sam@corp.example")
    action = cast.mass_mail(cast.session(user=sam.username))
    notify.about(action, kind=NoticeKind.ASKED, groups=["@user"])
    let_pass()
    (mail,) = post.mails
    assert (mail["To"], "Needs your own word" in mail["Subject"]) == ("sam@corp.example", True)


def test_an_address_is_no_name_so_its_owner_is_not_asked_for_a_word_they_cannot_give(
    cast: Cast, post: Post
) -> None:
    address(cast.stranger, "sam@corp.example")
    action = cast.mass_mail(cast.session(user="sam@corp.example"))
    notify.about(action, kind=NoticeKind.ASKED, groups=["@user"])
    notify.about(action, kind=NoticeKind.USER_WORD, users=[cast.stranger])
    let_pass()
    assert post.mails == []


def test_a_namesake_of_a_hosts_user_is_told_nothing(cast: Cast, post: Post, settings: Settings) -> None:
    settings.AGENTSEC_WORD_BY_ACCOUNT = False
    address(cast.stranger, "namesake@corp.example")
    action = cast.mass_mail(cast.session(user=cast.stranger.username))
    notify.about(action, kind=NoticeKind.ASKED, groups=["@user"])
    let_pass()
    assert post.mails == []


def test_whom_the_agent_claims_to_serve_is_told_nothing(cast: Cast, post: Post) -> None:
    address(cast.stranger, "sam@corp.example")
    action = cast.mass_mail(cast.session(attested=False, user="sam@corp.example"))
    notify.about(action, kind=NoticeKind.ASKED, groups=["@user"])
    notify.about(action, kind=NoticeKind.USER_WORD, users=[cast.stranger])
    let_pass()
    assert post.mails == []


def test_without_content_it_says_how_many_wait(cast: Cast, post: Post, settings: Settings) -> None:
    settings.AGENTSEC_NOTIFY_BARE = True
    address(cast.approver)
    cast.deploy("hush"), cast.deploy("hush")
    let_pass()
    (mail,) = post.mails
    assert mail["Subject"] == "[agentsec] 2 actions wait for you" and "hush" not in mail.as_string()


def test_a_test_message_arrives_at_once_and_not_twice(cast: Cast, hook: Receiver) -> None:
    outlet = channel(cast, hook)
    outlets.try_out(outlet=outlet, by="tests")
    with pytest.raises(Refused) as refused:
        outlets.try_out(outlet=outlet, by="tests")
    assert (len(hook.got), refused.value.code) == (1, "limit")


def test_nothing_that_is_sent_decides_when_it_is_opened(cast: Cast, post: Post, client: Any) -> None:
    address(cast.approver)
    action = cast.deploy()
    let_pass()
    for link in [word for word in post.texts[0].split() if word.startswith("http")]:
        client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
        client.get(link.removeprefix("http://localhost:8000"))
    action.refresh_from_db()
    assert (action.state, Vote.objects.count()) == ("pending", 0)


def test_a_message_that_cannot_be_made_is_not_tried_for_ever(cast: Cast, hook: Receiver) -> None:
    outlet = channel(cast, hook)
    Outlet.objects.filter(pk=outlet.pk).update(sealed=b"garbage that opens under no key")
    cast.deploy()
    let_pass()
    outlet.refresh_from_db()
    assert (outlet.attempts, outlet.claim) == (1, None) and "could not be made" in outlet.last_error


def test_that_something_was_decided_wakes_nobody(cast: Cast, post: Post) -> None:
    user = address(cast.approver)
    outlets.change(outlet=outlets.mailbox(user), wish=Wish(kinds=ALL), by="t")
    action = cast.order()
    let_pass(16)
    quiet_now(user, urgent=True)
    decisions.reject(action_id=action.pk, user=cast.second, digest=action.digest, comment="no")
    let_pass(120)
    assert len(post.mails) == 1


def test_a_group_that_an_edit_asks_too_is_told(cast: Cast, hook: Receiver) -> None:
    channel(cast, hook)
    action = cast.order(500)
    args = {**action.args, "amount": 20_000}
    decisions.edit(action_id=action.pk, user=cast.second, digest=action.digest, args=args)
    let_pass()
    assert "Order paper for 20000" in json.loads(hook.got[0].body)["text"]
