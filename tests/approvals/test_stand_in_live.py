"""Whoever begins to stand in is told at once: their page is read again, and shows more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from websockets.exceptions import ConnectionClosed

from approvals import clock, live
from policies import absences
from policies.absence_models import Absence
from tests.approvals.test_consumers import SOON, Site, hear, listening, signed_in
from tests.cast import Cast, committed_cast, person

__all__ = ["committed_cast"]


@pytest.fixture
def site(committed_cast: Cast) -> Iterator[Site]:
    with Site() as running:
        yield running


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("groups", ["of others", "of theirs"])
def test_the_stand_ins_page_is_read_again(
    site: Site, committed_cast: Cast, planned: bool, groups: str
) -> None:
    ada, now = committed_cast.approver, timezone.now()
    zoe = person("zoe", *(["archive"] if groups == "of others" else ada.group_names))
    with listening(site, signed_in(zoe)) as wire, listening(site, signed_in(ada)) as other:
        assert hear(wire, "resync") and hear(other, "resync")
        since = now + timedelta(hours=1) if planned else None
        absences.go_away(user=ada, since=since, until=now + timedelta(days=1), stand_in=zoe, by="user:1")
        if planned:
            Absence.objects.update(since=timezone.now())
            clock.stand_in(timezone.now())
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                wire.recv(timeout=SOON)
        assert closed.value.rcvd and closed.value.rcvd.code == live.CHANGED
        assert hear(other, "row", 0.2) is None
