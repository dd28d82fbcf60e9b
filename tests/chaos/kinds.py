"""The kinds of calls that are proposed: a tool, arguments, what the agent does with a grant, what counts.

A new kind is one more entry of `kinds`.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg

from tests.chaos.opens import Opens
from tests.chaos.service import KEY, Service

Answer = Mapping[str, Any]
SECRET, DATABASE = "chaos-key", "chaos-database"
CUSTOMERS = [["Acme"], ["Globex"]]


@dataclass
class World:
    """What calls have an effect on, outside of agentsec. `grants` are those that an agent acted under, `rows`
    how often each mark was written into the company's database, once `read_rows` has counted them.
    """

    opens: Opens
    service: Service
    connect: Callable[[Answer], str]
    grants: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, action: str, grant: str) -> None:
        with self.lock:
            self.grants[action].add(grant)

    def read_rows(self, database: psycopg.Connection[Any]) -> None:
        counted = database.execute("SELECT mark, count(*) FROM marks GROUP BY mark").fetchall()
        self.rows = Counter(dict(counted))


@dataclass(frozen=True)
class Kind:
    """`args` makes the arguments that leave `mark` behind, one of `marks`, and say whether people are asked.
    `act` is what the agent does once it holds a grant, and gives what it reports. `seen` counts the starts of
    an action, by its id and mark; None where nobody outside sees them, and only the log counts. `holds` is
    what must be true of the result of one that succeeded. `ahead`: it is put off by so many seconds.
    """

    tool: Mapping[str, Any]
    args: Callable[[str, bool], dict[str, Any]]
    marks: Callable[[World], str]
    seen: Callable[[World, str, str], int] | None
    act: Callable[[World, Answer], Any] | None = None
    holds: Callable[[Answer], bool] | None = None
    ahead: float = 0.0

    @property
    def name(self) -> str:
        return str(self.tool["name"])

    @property
    def idempotent(self) -> bool:
        return bool(self.tool.get("idempotent", False))

    @property
    def runs(self) -> str:
        return str(self.tool["runs"])


def _tool(name: str, runs: str, **more: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in more.pop("parameters").items()}
    if runs != "http":
        properties["ask"] = {"type": "boolean"}
    return {
        "name": f"chaos.{name}", "runs": runs, "effect": "write", "output": "trusted", "sends": "none",
        "authority": [], "summary": f"Chaos: {name}",
        "parameters": {"type": "object", "properties": properties}, **more,
    }  # fmt: skip


def asking(kind: Kind) -> str:
    """The condition under which its calls are asked."""
    return "args.url.endsWith('/ask')" if kind.runs == "http" else "args.ask"


def _file(world: World) -> str:
    return world.opens.give()


def _word(world: World) -> str:
    return uuid4().hex


def _opened(world: World, action: str, mark: str) -> int:
    return world.opens.count(mark)


def _acted(world: World, action: str, mark: str) -> int:
    return len(world.grants[action])


def _written(world: World, action: str, mark: str) -> int:
    return world.rows[mark]


def _requested(world: World, action: str, mark: str) -> int:
    return world.service.count(mark)


def _marked(mark: str, asked: bool) -> dict[str, Any]:
    return {"mark": mark, "ask": asked}


def _script(mark: str, asked: bool) -> dict[str, Any]:
    return {
        "ask": asked,
        "code": f"import time\nopen({mark!r}).close()\nprint('began', flush=True)\ntime.sleep(0.3)\n",
    }


def _request(service: Service, door: str, mark: str, asked: bool) -> dict[str, Any]:
    """A request has no arguments but its own, so its address says whether people are asked."""
    return {"method": "POST", "url": service.url(f"{door}/{mark}/{'ask' if asked else 'go'}")}


def _note(world: World, answer: Answer) -> Any:
    world.act(str(answer["id"]), str(answer["grant"]["id"]))
    return "noted"


def _role(world: World, answer: Answer) -> Any:
    """Read through the role; without its password, whose answer was lost, it can only report."""
    told = answer["grant"].get("credentials")
    if told is None:
        return "the credentials came in an answer that was lost"
    with psycopg.connect(world.connect(told)) as connection:
        row = connection.execute("SELECT session_user, count(*) FROM invoices").fetchone()
    world.act(str(answer["id"]), str(row[0]) if row else "")
    return "read"


def _token(world: World, answer: Answer) -> Any:
    """Note which token it is; as with a role, it comes in one answer."""
    told = answer["grant"].get("credentials")
    if told is None:
        return "the token came in an answer that was lost"
    claims = told["access_token"].split(".")[1]
    world.act(str(answer["id"]), str(json.loads(base64.urlsafe_b64decode(claims + "=="))["jti"]))
    return "noted"


def _looked(result: Answer) -> bool:
    return bool(result.get("rows") == CUSTOMERS)


def _kept_secret(result: Answer) -> bool:
    """The service says back what it was told; nobody else may learn it."""
    return KEY not in json.dumps(result) and "you said" in str(result.get("body"))


def _sandboxed() -> tuple[Kind, ...]:
    code = {"parameters": {"code": "string"}}
    head = ["/usr/bin/head", "-c", "20", "{path}"]
    return (
        Kind(_tool("python", "python", **code), _script, _file, _opened),
        Kind(_tool("again", "python", **code, idempotent=True), _script, _file, _opened),
        Kind(
            _tool("shell", "shell", parameters={"path": "string"}, argv=head),
            lambda mark, asked: {"path": mark, "ask": asked}, _file, _opened,
        ),
        Kind(_tool("later", "python", **code), _script, _file, _opened, ahead=3.0),
    )  # fmt: skip


def _brokered() -> tuple[Kind, ...]:
    issued = {"issuer": "postgres", "source": DATABASE}
    write = {"statement": "INSERT INTO marks (mark) VALUES ({mark})", "limits": {"changed_rows": 1}}
    read = {"statement": "SELECT customer FROM invoices ORDER BY id", "effect": "read"}
    return (
        Kind(
            _tool(
                "sql", "sql", parameters={"mark": "string"}, tables=["marks"], operations=["insert"],
                **issued, **write,
            ),
            _marked, _word, _written,
        ),
        Kind(
            _tool("look", "sql", parameters={"mark": "string"}, tables=["invoices"], **issued, **read),
            _marked, _word, None, holds=_looked,
        ),
    )  # fmt: skip


def _requests(service: Service) -> tuple[Kind, ...]:
    url = {"method": "string", "url": "string"}
    ask = {
        "sends": "internal", "parameters": url, "egress": [f"POST {service.url('open/*')}"],
        "target": "url", "authority": ["url"],
    }  # fmt: skip
    pay = ask | {
        "egress": [f"POST {service.url('paid/*')} with {SECRET}"], "secrets": [SECRET],
        "headers": {"Authorization": f"Bearer {{secret:{SECRET}}}"},
    }  # fmt: skip
    job = {"sends": "internal", "parameters": {"code": "string"}, "egress": ask["egress"]}
    script = "import urllib.request\nprint(urllib.request.urlopen({!r}, b'x', 20).status)\n"
    return (
        Kind(
            _tool("http", "http", **ask),
            lambda mark, asked: _request(service, "open", mark, asked), _word, _requested,
        ),
        Kind(
            _tool("pay", "http", **pay),
            lambda mark, asked: _request(service, "paid", mark, asked), _word, _requested,
            holds=_kept_secret,
        ),
        Kind(
            _tool("fetch", "python", **job),
            lambda mark, asked: {"code": script.format(service.url(f"open/{mark}")), "ask": asked},
            _word, _requested,
        ),
    )  # fmt: skip


def _handed_out() -> tuple[Kind, ...]:
    role = {"issuer": "postgres", "source": DATABASE, "tables": ["invoices"]}
    token = {"issuer": "token", "token": {"audience": "https://chaos.example"}}
    mark = {"parameters": {"mark": "string"}, "minutes": 1}
    return (
        Kind(_tool("note", "agent", **mark), _marked, _word, _acted, _note),
        Kind(_tool("role", "credential", **mark, **role), _marked, _word, _acted, _role),
        Kind(_tool("token", "credential", **mark, **token), _marked, _word, _acted, _token),
    )


def kinds(service: Service) -> tuple[Kind, ...]:
    """Every kind; requests go to this service."""
    groups = (_sandboxed(), _brokered(), _requests(service), _handed_out())
    # One of each group in turn, so that a short run has some of each.
    longest = max(map(len, groups))
    return tuple(group[turn] for turn in range(longest) for group in groups if turn < len(group))
