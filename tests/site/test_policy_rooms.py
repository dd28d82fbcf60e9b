"""The rooms of policies: one overview, one row of links on all their pages, and the way to each of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from policies import releases
from policies.models import Rule, User
from tests.cast import Cast, person

pytestmark = pytest.mark.django_db
HERE = re.compile(r'<a href="([^"]+)" aria-current="page">')


def read(user: User, path: str) -> str:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    answer: Any = client.get(path)
    assert answer.status_code == 200, answer.content[-500:]
    return str(answer.content.decode())


def links(page: str) -> set[str]:
    return set(re.findall(r'<a[^>]* href="([^"]+)"', page))


@pytest.fixture
def ada(cast: Cast) -> User:
    return person("ada2", roles=("administrator", "editor", "auditor"))


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/policies/rule/",
        "/admin/policies/rule/publish/",
        "/policies/releases",
        "/policies/shadow",
        "/policies/backtest",
        "/policies/simulate",
        "/policies/suggestions",
        "/policies/trust",
        "/policies/limits",
        "/policies/access-review",
        "/changes",
    ],
)
def test_each_room_is_one_click_from_the_others_and_says_where_one_is(ada: User, path: str) -> None:
    page = read(ada, path)
    assert HERE.findall(page) == ["/admin/", path]
    assert {"/policies/releases", "/policies/limits", "/changes"} <= links(page)


def test_below_a_room_its_link_stays_marked(ada: User) -> None:
    assert HERE.findall(read(ada, "/admin/policies/rule/add/")) == ["/admin/", "/admin/policies/rule/"]


def test_other_pages_have_no_second_row(ada: User) -> None:
    assert 'class="rooms"' not in read(ada, "/") + read(ada, "/traces")


def test_every_page_of_the_admin_stands_on_the_overview_once(ada: User) -> None:
    page = read(ada, "/admin/").split('id="growth"')[1]
    listed = [link for link in re.findall(r'href="(/admin/[a-z/]+)"', page) if "/add/" not in link]
    models = ["agent", "agentkey", "allowance", "case", "grant", "limit", "personaltoken", "rule", "secret"]
    wanted = [f"/admin/policies/{model}/" for model in (*models, "switch", "tool", "user")]
    assert sorted(listed) == sorted([*wanted, "/admin/auth/group/", "/admin/policies/rule/publish/"])


def test_an_editor_finds_no_people_and_an_auditor_adds_nothing(ada: User, cast: Cast) -> None:
    editor = read(person("edi", roles=("editor",)), "/admin/")
    assert "/admin/policies/user/" not in editor and "/policies/access-review" not in editor
    auditor = read(cast.auditor, "/admin/")
    assert "/add/" not in auditor and "publish" not in "".join(links(auditor))


def test_the_overview_counts_what_nobody_published(ada: User) -> None:
    assert "to publish" not in read(ada, "/admin/")
    releases.edit(row=Rule.objects.all()[0], values={"description": "Anew"}, by="operator")
    assert "1 change to publish" in read(ada, "/admin/")


def test_a_list_is_headed_by_what_it_lists(cast: Cast) -> None:
    assert "<h1>Rules</h1>" in read(cast.auditor, "/admin/policies/rule/")


def test_rules_are_filtered_by_who_is_asked_and_no_link_is_empty(cast: Cast) -> None:
    page = read(cast.auditor, "/admin/policies/rule/?approvers=finance")
    assert ">orders<" in page and ">deploys<" not in page and '"?approvers="' not in page


def test_the_admin_writes_moments_as_the_other_pages_do(cast: Cast) -> None:
    page = read(cast.auditor, "/admin/policies/release/")
    assert re.search(r"\d{1,2} \w{3} \d{4} \d{2}:\d{2} UTC", page) and "p.m." not in page
