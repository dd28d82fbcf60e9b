"""Where do planted values turn up? Looked for in everything that an instance keeps, says or runs with.

    found = planted.search(VALUE, OTHER, dsn=…, home=…, redis_url=…, payloads=…, answers=…)
    assert found == []

To look in a further place, yield `(where, bytes)` from a function of your own and give it as `also`. The ways
of writing a value are spelled out here anew, so that a mistake in the product's own list is found.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import psycopg
import re2
import redis
from psycopg import sql

from agentsec_site.embedded import REPOSITORY
from tests.live import Live
from traces import record
from traces.models import Entry

Place = tuple[str, bytes]
MARK = "payload "
TABLES = """
SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""


def needles(value: str) -> dict[str, bytes]:
    """The value as programs write it, by the name of the way."""
    raw = value.encode()
    found = {
        "plain": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
        "json": json.dumps(value)[1:-1].encode(), "html": html.escape(value).encode(),
        "url": quote(value).encode(), "url, strict": quote(value, safe="").encode(),
        "form": quote_plus(value).encode(), "utf-16": value.encode("utf-16-le"),
        "lower": value.lower().encode(), "reversed": raw[::-1],
    }  # fmt: skip
    for shift in range(3):
        # Four signs for three bytes; what lies at the edges depends on the neighbours.
        signs = base64.b64encode(b"~" * shift + raw + b"~~")
        inside = signs[4 * (shift > 0) : (shift + len(raw)) // 3 * 4]
        found[f"base64 {shift}"], found[f"base64url {shift}"] = (
            inside,
            inside.translate(bytes.maketrans(b"+/", b"-_")),
        )
    return found


def search(
    *values: str, dsn: str = "", home: Path | None = None, redis_url: str = "",
    payloads: Iterable[Place] = (), answers: Iterable[Place] = (), also: Iterable[Place] = (),
) -> list[str]:  # fmt: skip
    """Each place where one of the values stands, as "place: way"; empty where they stand nowhere."""
    wanted = [(way, needle) for value in values for way, needle in needles(value).items()]
    places: list[Iterable[Place]] = [payloads, answers, also]
    places += [tables(dsn)] if dsn else []
    places += [files(home), processes(home)] if home else []
    places += [cached(redis_url)] if redis_url else []
    suspect = any_of([needle for _, needle in wanted])
    return [
        f"{where}: {way}"
        for group in places
        for where, content in group
        if suspect(content)
        for way, needle in wanted
        if needle in content
    ]


def any_of(needles: Sequence[bytes]) -> Callable[[bytes], bool]:
    """Whether one of them stands in the bytes: in one look, since an instance keeps a hundred megabytes."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    pattern = re2.compile(b"|".join(map(re2.escape, needles)), options)
    assert all(pattern.search(b"\0\xff" + needle + b"\n") for needle in needles)
    return lambda content: pattern.search(content) is not None


def tables(dsn: str) -> Iterator[Place]:
    """Every row of every table as the database sends it: texts as UTF-8, bytes as they are."""
    with psycopg.connect(dsn) as connection:
        for schema, table in connection.execute(TABLES).fetchall():
            query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT binary)").format(
                sql.Identifier(schema, table)
            )
            with connection.cursor().copy(query) as stream:
                yield f"table {schema}.{table}", b"".join(bytes(part) for part in stream)


def opened() -> Iterator[Place]:
    """What the log's entries hold, unsealed; in the process that has the keys."""
    for entry in Entry.objects.select_related("subject_key").order_by("id").iterator():
        whole = record.open_whole(entry)
        if isinstance(whole, dict):
            yield f"entry {entry.kind} {entry.uuid}", json.dumps(whole, ensure_ascii=False).encode()


def payloads_of(live: Live) -> Iterator[Place]:
    """The same of a whole instance, by a process of its own."""
    code = "from tests import planted\nplanted.say()"
    told = live.manage("shell", "--no-imports", "-c", code).stdout.splitlines()
    found = [json.loads(line.removeprefix(MARK)) for line in told if line.startswith(MARK)]
    assert found, "the log was not read"
    for where, content in found:
        yield where, content.encode()


def say() -> None:
    for where, content in opened():
        print(MARK + json.dumps([where, content.decode()]))


def files(home: Path) -> Iterator[Place]:
    """Every file below the home: logs, static files, the database's own files and its journal."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"file {path.relative_to(home)}", path.read_bytes()


def processes(home: Path) -> Iterator[Place]:
    """Environment and command line of each process of the instance, below whatever account it runs."""
    for process in psutil.process_iter():
        root = Path("/proc") / str(process.pid)
        try:
            environment, words = (root / "environ").read_bytes(), (root / "cmdline").read_bytes()
        except OSError:
            continue
        told = (str(home).encode(), str(REPOSITORY).encode())
        if any(each in environment + words for each in told) and process.pid != psutil.Process().pid:
            yield f"environment of {process.pid}", environment
            yield f"command line of {process.pid}", words


def cached(url: str) -> Iterator[Place]:
    """Every value that Redis holds, of whatever type."""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            yield "a key of Redis", key
            for part in _parts(client, key):
                yield f"Redis {key!r}", bytes(part or b"")


def _parts(client: redis.Redis, key: bytes) -> Iterable[bytes]:
    kind = client.type(key)
    if kind == b"hash":
        return [part for pair in client.hgetall(key).items() for part in pair]
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind in (b"set", b"zset"):
        return client.smembers(key) if kind == b"set" else client.zrange(key, 0, -1)
    return [client.get(key)] if kind == b"string" else [client.dump(key)]
