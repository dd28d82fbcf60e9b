"""The inbox's list: however many wait, a page asks the database the same few times, the most urgent first."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals import clock, feed, listing, queries
from approvals.live_models import Change
from approvals.models import Action
from bench import pending
from tests.cast import Cast


@pytest.fixture
def ada(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.approver, backend="django.contrib.auth.backends.ModelBackend")
    return client


def asked(client: Client) -> int:
    with CaptureQueriesContext(connection) as caught:
        assert b'class="row"' in client.get("/").content
        return len(caught)


def test_three_hundred_rows_cost_as_many_queries_as_ten(cast: Cast, ada: Client) -> None:
    action = cast.mass_mail()
    pending.write(9, like=action, groups=["comms"])
    asked(ada)
    ten = asked(ada)
    pending.write(290, like=action, groups=["comms"])
    assert asked(ada) == ten
    assert queries.inbox(cast.approver).count() == 300


def test_the_pages_hold_every_row_once_and_the_most_urgent_first(cast: Cast) -> None:
    pending.write(70, like=cast.mass_mail(), groups=["comms", "elsewhere"])
    seen, wish = [], listing.Wish()
    while True:
        shown = listing.page(cast.approver, wish)
        seen += [row.action.pk for row in shown.rows]
        assert len(shown.rows) <= listing.PAGE
        if not shown.more:
            break
        last = shown.rows[-1].action
        wish = listing.Wish(after=f"{last.deadline.isoformat()}~{last.pk}")
    mine = Action.objects.pending().filter(groups__contains=["comms"]).order_by("deadline", "id")
    assert seen == list(mine.values_list("pk", flat=True))


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2030-01-01", "x"])
def test_a_made_up_place_is_the_plain_inbox_or_its_end(cast: Cast, ada: Client, at: str) -> None:
    action = cast.mass_mail()
    assert ada.get("/", {"after": f"{at}~{action.pk}"}).status_code == 200


def test_the_counts_of_all_audiences_are_the_counts_of_each(cast: Cast) -> None:
    pending.write(30, like=cast.mass_mail(), groups=["comms", "finance", "elsewhere"])
    counted = queries.pending_by_groups()
    for user in (cast.approver, cast.second, cast.auditor, cast.stranger, cast.administrator):
        assert queries.waiting(user, counted) == queries.inbox(user).count()


def test_the_feed_forgets_what_nobody_can_ask_for(cast: Cast) -> None:
    cast.mass_mail()
    now = timezone.now()
    assert clock.forget_changes(now) == 0
    assert clock.forget_changes(now + feed.KEPT * 1.1) == 1
    assert not Change.objects.exists()
