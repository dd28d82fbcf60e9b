"""A planted secret turns up nowhere: no table, entry, file, answer, nor the environment of a process."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import chain
from urllib.parse import quote

import httpx
import pytest

from agentsec_site import embedded
from agentsec_site.demo.company import SECRET
from agentsec_site.embedded import REPOSITORY
from agentsec_site.home import secret
from tests import planted
from tests.e2e.company import Company
from tests.live import clean_environment, manage
from tests.receiver import Receiver

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


def answers(
    company: Company,
    actions: list[str],
    session: str,
    *,
    bot: str = "data-bot",
    artifacts: tuple[str, ...] = (),
) -> Iterator[planted.Place]:
    """What the site answers to a person and to the agent."""
    agent = company.stage.agent(bot)
    for action in actions:
        yield "answer to the agent", agent.download(f"/actions/{action}")
        yield "answer to a reviewer", company.people["demo"].download(f"/actions/{action}")
        yield "evidence", company.people["demo"].download(f"/actions/{action}/evidence")
    for name in artifacts:
        yield f"artifact {name}", agent.download(f"/actions/{actions[0]}/artifacts/{name}")
    with httpx.Client(base_url=company.live.url, follow_redirects=True) as browser:
        browser.get(company.live.link)
        more = [f"/actions/{action}{part}" for action in actions for part in ("", "/why")]
        for path in (*PAGES, *more, f"/traces/sessions/{session}"):
            yield f"page {path}", browser.get(path).content


def brought_in(company: Company) -> tuple[str, list[str]]:
    """A session into which a user, a tool and a job bring the value."""
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
    return session, [printed["id"], leaked["id"]]


SENT = 'Zq8/egress+Value&"9-048172635'
# It sends the secret where its line lets it and where not, and says all that comes back.
ASKS = f"""
import os, sys, urllib.request, urllib.error
held = os.environ["AGENTSEC_SECRET_CARRIED"]
print("held", held)
def ask(path, headers={{}}, data=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(BASE + path, data, headers), timeout=5) as got:
            print(got.status, dict(got.headers), got.read())
    except Exception as error:
        print(repr(error), getattr(error, "headers", ""), getattr(error, "read", bytes)())
ask("/echo", {{"Authorization": "Bearer " + held}})
ask("/echo?key=" + held, {{"Content-Type": "application/json"}}, ('{{"key": "' + held + '"}}').encode())
ask("/echo", {{"X-Key": held}})
ask("/elsewhere", {{"Authorization": "Bearer " + held}})
ask("/echo", {{"Authorization": "Bearer " + held}})
print({SENT[:9]!r} + {SENT[9:]!r})
"""


def carrying(company: Company, echo: Receiver) -> None:
    """Tools that carry the secret to the server, one as a script and one as a request."""
    line = f"http://{echo.entry}/echo with carried in header, carried in query, carried in body"
    about = {"effect": "read", "sends": "internal", "output": "trusted", "secrets": ["carried"]}
    about |= {"egress": [line], "parameters": {"type": "object", "additionalProperties": True}}
    headers = {"Authorization": "Bearer {secret:carried}"}
    tools = [
        {"name": "carry.job", "runs": "python", "code": f"BASE = 'http://{echo.entry}'\n{ASKS}", **about},
        {"name": "carry.http", "runs": "http", "headers": headers, **about},
    ]
    rules = [{"name": "carry", "effect": "allow", "tools": ["carry.job", "carry.http"]}]
    path = company.live.home / "carry.json"
    path.write_text(json.dumps({"tools": tools, "rules": rules}))
    company.live.manage("apply", str(path))


def replies() -> list[bytes | Callable[[socket.socket], None]]:
    """Everything that a careless server gives back, in each of its ways to give it."""
    plain = SENT.encode()
    told = b" ".join(
        [
            plain,
            base64.b64encode(plain),
            quote(SENT).encode(),
            json.dumps(SENT).encode(),
            plain.hex().encode(),
        ]
    )
    packed = gzip.compress(told)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(told[at : at + 5]), told[at : at + 5]) for at in range(0, len(told), 5)
    )
    return [
        b"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n" % (plain, len(told)) + told,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        b"HTTP/1.1 302 %s\r\nLocation: http://127.0.0.1/?key=%s\r\nContent-Length: 0\r\n\r\n"
        % (plain, quote(SENT, safe="").encode()),
        # Of the request by `runs: http`: an error page that ends too early.
        b"HTTP/1.1 500 %s\r\nX-Echo: %s\r\nContent-Length: 9999\r\n\r\n" % (plain, plain) + told,
        b"HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n" % (plain, len(told)) + told,
    ]  # fmt: skip


def carried(company: Company, echo: Receiver) -> tuple[str, list[str]]:
    """A session in which both tools ran; the server got the value itself."""
    agent, host = company.stage.agent("data-bot"), company.stage.host("data-bot")
    session = host.open_session(purpose="Calls what gives everything back")
    echo.got.clear()
    echo.answers[:] = replies()
    url = f"http://{echo.entry}/echo"
    done = [company.stage.settle(agent, agent.propose(session, "carry.job", {}))]
    done += [
        company.stage.settle(agent, agent.propose(session, "carry.http", {"url": url})) for _ in range(2)
    ]
    assert [one["state"] for one in done] == ["succeeded", "failed", "succeeded"], done
    printed = done[0]["result"]["stdout"]
    assert printed.count("*" * 8) >= 10 and "<HTTPError 403" in printed, printed
    assert echo.got[0].headers["authorization"] == f"Bearer {SENT}" == echo.got[-1].headers["authorization"]
    return session, [one["id"] for one in done]


def asked_of_the_database(company: Company) -> tuple[str, list[str]]:
    """A session in which statements ran and failed on the billing database."""
    agent = company.stage.agent("billing-bot")
    session = company.stage.host("billing-bot").open_session(purpose="Reads and stumbles")
    done = [company.stage.settle(agent, agent.propose(session, "billing.open", {"customer": "Acme"}))]
    for text in ("SELECT 1/0 FROM invoices", "SELECT current_setting('password') FROM invoices"):
        asked = agent.propose(session, "billing.query", {"sql": text})
        if asked["state"] == "pending":
            company.decide(
                company.waiting("billing.query", ready=lambda item, one=asked: item["id"] == one["id"])
            )  # type: ignore[misc]
        done.append(company.stage.settle(agent, asked))
    assert done[0]["state"] == "succeeded" and "failed" in [one["state"] for one in done], done
    return session, [one["id"] for one in done]


def password_of_the_issuer(company: Company) -> str:
    code = (
        "from urllib.parse import urlsplit; from policies import secrets; "
        f"print(urlsplit(secrets.read({SECRET!r})).password)"
    )
    return str(company.live.manage("shell", "--no-imports", "-c", code).stdout.split()[-1])


def test_no_secret_of_any_scene_is_kept_anywhere(company: Company, echo: Receiver) -> None:
    """One that users, tools and jobs bring in, one that goes out with requests, one that opens a database."""
    plant(company, "planted", VALUE)
    plant(company, "carried", SENT)
    carrying(company, echo)
    played = company.play("billing")
    session, actions = brought_in(company)
    said = [answers(company, actions, session, artifacts=("plain.txt", "wide.bin"))]
    session, actions = carried(company, echo)
    said.append(answers(company, actions, session))
    played.result(60)
    session, actions = asked_of_the_database(company)
    said.append(answers(company, actions, session, bot="billing-bot"))
    services, password = embedded.plan(company.live.home), password_of_the_issuer(company)
    superuser = secret(services.home, "postgres.password")
    found = planted.search(
        VALUE, SENT, password,
        dsn=services.postgres_url(user="postgres", password=superuser, database="agentsec"),
        home=company.live.home, redis_url=services.redis_url, payloads=planted.payloads_of(company.live),
        answers=chain(*said),
    )  # fmt: skip
    assert len(password) > 12 and found == []
