"""Keys that sign tokens: one at a time, rotated without a gap, forgotten when nothing needs them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from policies import jose, signing_keys
from policies.models import Agent, Grant, IssuedToken, SigningKey, Tool
from traces import record
from traces.models import Entry
from traces.problems import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def grant(db: None) -> Grant:
    agent = Agent.objects.create(name="scout")
    return Grant.objects.create(
        action_id="00000000-0000-4000-8000-000000000001", agent=agent, tool="refund", digest="0" * 64,
        issuer="token", expires_at=later(minutes=60),
    )  # fmt: skip


def kinds() -> list[str]:
    return list(Entry.objects.filter(kind__startswith="signing_key.").values_list("kind", flat=True))


def later(**span: int) -> datetime:
    return timezone.now() + timedelta(**span)


def test_the_first_is_made_once_and_told(now: datetime) -> None:
    signing_keys.ensure(by="tests")
    signing_keys.ensure(by="tests")
    assert (SigningKey.objects.count(), kinds()) == (1, ["signing_key.made"])
    assert signing_keys.signer(timezone.now()).kid in signing_keys.published()


def test_saying_something_of_tokens_makes_no_key(now: datetime) -> None:
    with pytest.raises(Refused, match="no signing key yet"):
        signing_keys.signer(now)
    assert (signing_keys.published(), SigningKey.objects.count()) == ({}, 0)


def test_a_new_key_is_published_before_it_signs_and_the_old_one_after(now: datetime) -> None:
    signing_keys.ensure()
    old = SigningKey.objects.get()
    new = signing_keys.rotate(by="tests")
    assert signing_keys.signer(timezone.now()).kid == old.kid
    assert signing_keys.signer(later(minutes=11)).kid == new.kid
    assert set(signing_keys.published()) == {old.kid, new.kid}


def test_at_every_moment_of_a_rotation_one_key_signs() -> None:
    signing_keys.ensure()
    signing_keys.rotate(by="tests")
    start = SigningKey.objects.earliest("pk").signs_from
    for second in range(0, 1300, 50):
        assert SigningKey.objects.signing(start + timedelta(seconds=second)).count() == 1


def test_while_one_waits_no_other_is_made_but_at_once() -> None:
    signing_keys.ensure()
    waiting = signing_keys.rotate(by="tests")
    with pytest.raises(Refused, match="takes over at"):
        signing_keys.rotate(by="tests")
    new = signing_keys.rotate(by="tests", at_once=True)
    assert signing_keys.signer(timezone.now()).kid == new.kid
    assert signing_keys.signer(later(minutes=20)).kid == new.kid != waiting.kid


def test_an_old_key_stays_until_its_last_token_has_expired(grant: Grant) -> None:
    signing_keys.ensure()
    old = SigningKey.objects.get()
    IssuedToken.objects.create(grant=grant, kid=old.kid, expires_at=later(minutes=60))
    signing_keys.rotate(by="tests", at_once=True)
    signing_keys.tend(later(minutes=59))
    assert old.kid in signing_keys.published()
    signing_keys.tend(later(minutes=66))
    assert old.kid not in signing_keys.published()
    assert kinds()[-1] == "signing_key.removed"


def test_a_key_that_signs_is_never_forgotten() -> None:
    signing_keys.ensure()
    assert signing_keys.tend(later(days=80)) == 0
    assert len(signing_keys.published()) == 1


def test_an_old_one_is_rotated_by_itself(settings: Any) -> None:
    signing_keys.ensure()
    assert signing_keys.tend(later(days=settings.AGENTSEC_TOKEN_KEY_DAYS, minutes=1)) == 1
    assert signing_keys.tend(timezone.now()) == 0
    assert SigningKey.objects.count() == 2


def test_another_algorithm_comes_as_a_rotation(settings: Any) -> None:
    signing_keys.ensure()
    settings.AGENTSEC_TOKEN_ALG = "ES256"
    signing_keys.tend(timezone.now())
    assert signing_keys.signer(timezone.now()).alg == "EdDSA"
    assert signing_keys.signer(later(minutes=11)).alg == "ES256"


def test_time_makes_the_first_key_only_where_a_tool_needs_one() -> None:
    signing_keys.tend(timezone.now())
    assert SigningKey.objects.count() == 0
    Tool.objects.create(name="refund", config={"issuer": "token", "token": {"audience": "x"}})
    signing_keys.tend(timezone.now())
    assert SigningKey.objects.count() == 1


def test_one_in_wrong_hands_ends_and_another_signs_at_once() -> None:
    signing_keys.ensure()
    bad = SigningKey.objects.get().kid
    signing_keys.remove(kid=bad, by="tests")
    assert signing_keys.signer(timezone.now()).kid != bad
    assert (bad in signing_keys.published(), kinds()[1:]) == (
        False,
        ["signing_key.removed", "signing_key.made"],
    )
    with pytest.raises(Refused, match="no such"):
        signing_keys.remove(kid=bad, by="tests")


def test_a_key_that_somebody_wrote_into_the_database_is_not_published() -> None:
    signing_keys.ensure()
    mine = SigningKey.objects.get()
    own = jose.generate("EdDSA")
    row = {"kid": own.kid, "alg": "EdDSA", "signs_from": timezone.now() - timedelta(days=1)}
    SigningKey.objects.create(sealed=jose.dumped(own), **row)
    assert set(signing_keys.published()) == {mine.kid}
    SigningKey.objects.filter(kid=own.kid).update(sealed=bytes(mine.sealed))
    assert set(signing_keys.published()) == {mine.kid}


def test_the_private_half_stands_nowhere_in_the_clear() -> None:
    signing_keys.ensure()
    row = SigningKey.objects.get()
    raw = jose.dumped(signing_keys.opened(row))
    told = [record.open_payload(entry) for entry in Entry.objects.filter(kind="signing_key.made")]
    assert raw[-32:] not in bytes(row.sealed) and raw[-32:].hex() not in repr(told)
    assert "'d'" not in repr(told)


def test_without_the_key_encryption_key_nothing_signs_and_nothing_is_published(
    settings: Any, tmp_path: Path
) -> None:
    signing_keys.ensure()
    for path in (tmp_path / "lost.key", tmp_path):
        settings.AGENTSEC_KEK = path
        for act in (signing_keys.published, lambda: signing_keys.signer(timezone.now())):
            with pytest.raises(Refused, match="kept|cannot|missing"):
                act()
        with pytest.raises(Refused, match="tokens cannot be signed"):
            signing_keys.rotate(by="tests")


def test_of_a_key_that_does_not_open_the_way_out_is_told() -> None:
    signing_keys.ensure()
    row = SigningKey.objects.get()
    SigningKey.objects.update(sealed=bytes(row.sealed)[:-1] + b"x")
    with pytest.raises(Refused, match="signing-key remove"):
        signing_keys.signer(timezone.now())
    assert signing_keys.published() == {}
    signing_keys.remove(kid=row.kid, by="tests")
    assert len(signing_keys.published()) == 1


def test_the_list_tells_age_use_and_what_is_alive(grant: Grant) -> None:
    signing_keys.ensure()
    row, _ = signing_keys.take(timezone.now())
    IssuedToken.objects.create(grant=grant, kid=row.kid, expires_at=later(minutes=5))
    new = signing_keys.rotate(by="tests")
    first, second = signing_keys.listed(timezone.now())
    assert (first.kid, first.state, first.uses) == (new.kid, "announced", 0)
    assert (second.kid, second.state, second.uses, second.living_tokens) == (row.kid, "signing", 1, 1)
    assert second.last_used_at is not None and first.rotates_at is not None
    Grant.objects.update(state="revoked")
    assert signing_keys.listed(timezone.now())[1].living_tokens == 0


def test_the_commands_say_what_they_did() -> None:
    def manage(*words: str) -> str:
        out = io.StringIO()
        call_command("signing-key", *words, stdout=out)
        return out.getvalue()

    signing_keys.ensure()
    old = SigningKey.objects.get().kid
    assert "signs from" in manage("rotate", "--now")
    assert f"{old}  EdDSA  published" in manage("list")
    manage("remove", old)
    assert old not in manage("list")
    with pytest.raises(CommandError, match="no such signing key"):
        manage("remove", old)


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_at_once_make_one_key() -> None:
    barrier = Barrier(6)

    def act(number: int) -> str:
        barrier.wait()
        try:
            signing_keys.ensure() if number % 2 else signing_keys.tend(timezone.now())
            signing_keys.ensure()
            return signing_keys.signer(timezone.now()).kid
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(act, range(6)))) == 1
    assert SigningKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_rotations_at_once_make_one_new_key() -> None:
    signing_keys.ensure()
    barrier = Barrier(4)

    def act(number: int) -> str:
        barrier.wait()
        try:
            signing_keys.rotate(by="tests")
            return "done"
        except Refused as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(act, range(4))) == ["conflict"] * 3 + ["done"]
    assert SigningKey.objects.filter(signs_until=None).count() == 1
