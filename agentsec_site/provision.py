"""Bring a PostgreSQL to what agentsec needs: three roles, one database, the schema, the rights.

    agentsec_owner      NOLOGIN; owns the tables, so that nobody who can sign in can alter the log
    agentsec_app        web, workers, clock
    agentsec_sequencer  the log's leader alone

All of it is idempotent, and quick when nothing is to do: what was last applied is remembered as a
fingerprint in the database itself. The site's processes never see the address with the right to do this.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import Connection, sql

from agentsec_site.embedded import REPOSITORY, Services, say
from agentsec_site.home import Home, SetupError, secret, write_once

ROLES: Mapping[str, str] = {
    "owner": "agentsec_owner",
    "app": "agentsec_app",
    "sequencer": "agentsec_sequencer",
}
LOGIN_ROLES = ("app", "sequencer")
DATABASE = "agentsec"
ADMIN_VARIABLES = ("DATABASE_URL", "REDIS_URL", "AGENTSEC_BEGAN")
LOG_KEYS = ("kek.key", "log.key", "log.pub")
# Any constant does: it only has to be the same for everybody who provisions.
PROVISION_LOCK = 0x61676E74
Say = Callable[[str], None]


@dataclass(frozen=True)
class Urls:
    """The addresses that processes get: `app` for all but the sequencer; `owner` for migrations alone."""

    app: str
    sequencer: str
    owner: str


def provision(services: Services, *, say: Say = say) -> Urls:
    """Make roles, database and schema where they are missing; return the addresses of the roles.

    Holds an advisory lock meanwhile, so that many hosts may start at once. Raises SetupError with one
    clear line when the operator's role may not do what is needed.
    """
    urls = addresses(services)
    try:
        with _connect(services.admin_url) as admin:
            admin.execute("SELECT pg_advisory_lock(%s)", [PROVISION_LOCK])
            _roles(admin, services)
            _database(admin, services, _name(urls.app))
            _check_login(urls, services)
            _schema(services, urls, say)
    except psycopg.OperationalError as error:
        raise SetupError(f"the database does not answer: {_first_line(error)}") from None
    return urls


def _connect(admin_url: str) -> Connection:
    """To the database that the URL names, or beside it where that one is still to be made."""
    try:
        return psycopg.connect(admin_url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        if not _first_line(error).endswith("does not exist"):
            raise
        return psycopg.connect(_with(admin_url, database="postgres"), autocommit=True, connect_timeout=10)


def addresses(services: Services) -> Urls:
    """Where the roles will find the database; makes their passwords, connects to nothing."""
    name = _name(services.admin_url)
    owner = _with(services.admin_url, database=name, options=f"-c role={ROLES['owner']}")
    app, sequencer = (
        _with(services.admin_url, database=name, user=ROLES[role], password=_password(services.home, role))
        for role in LOGIN_ROLES
    )
    return Urls(app=app, sequencer=sequencer, owner=owner)


def _name(url: str) -> str:
    """The database that the URL names; `agentsec` where it names none or PostgreSQL's own one."""
    name = unquote(urlsplit(url).path.lstrip("/"))
    return DATABASE if name in ("", "postgres", "template1") else name


def _with(url: str, *, database: str, user: str = "", password: str = "", options: str = "") -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if options:
        query["options"] = options
    location = parts.netloc
    if user:
        location = f"{quote(user)}:{quote(password, safe='')}@{location.rpartition('@')[2]}"
    return urlunsplit(("postgres", location, f"/{quote(database)}", urlencode(query, quote_via=quote), ""))


def _password(home: Home, role: str) -> str:
    return secret(home, f"{role}.password")


def _roles(admin: Connection, services: Services) -> None:
    known = {
        row[0]
        for row in admin.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(ROLES.values())]
        )
    }
    missing = [role for role in ROLES if ROLES[role] not in known]
    try:
        for role in missing:
            admin.execute(_create_role(role, services.home))
        if not _may_act_as_owner(admin):
            # PostgreSQL 16 gives a creator only the right to grant the role on, not to act as it.
            admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(ROLES["owner"])))
    except psycopg.errors.InsufficientPrivilege:
        raise _ask_operator(services.home, _name(services.admin_url)) from None
    if services.own_postgres and not missing:
        _repair_passwords(admin, services)


def _create_role(role: str, home: Home) -> sql.Composed:
    name = sql.Identifier(ROLES[role])
    if role not in LOGIN_ROLES:
        return sql.SQL("CREATE ROLE {} NOLOGIN").format(name)
    return sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(_password(home, role)))


def _may_act_as_owner(admin: Connection) -> bool:
    privilege = "SET" if admin.info.server_version >= 160000 else "MEMBER"
    row = admin.execute("SELECT pg_has_role(current_user, %s, %s)", [ROLES["owner"], privilege]).fetchone()
    return bool(row and row[0])


def _repair_passwords(admin: Connection, services: Services) -> None:
    """In our own cluster the key files are the truth; in the operator's, other hosts may have set them."""
    for role in LOGIN_ROLES:
        url = _with(
            services.admin_url, database="postgres", user=ROLES[role], password=_password(services.home, role)
        )
        if _login_error(url):
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            admin.execute(
                statement.format(sql.Identifier(ROLES[role]), sql.Literal(_password(services.home, role)))
            )


def _ask_operator(home: Home, database: str) -> SetupError:
    script = home.keys / "provision.sql"
    script.unlink(missing_ok=True)
    lines = [f"{_create_role(role, home).as_string()};" for role in ROLES]
    lines += [
        f'CREATE DATABASE "{database}" OWNER {ROLES["owner"]};',
        f"GRANT {ROLES['owner']} TO <user of DATABASE_URL>;",
    ]
    write_once(script, "\n".join(lines) + "\n")
    return SetupError(
        "the role in DATABASE_URL may not create roles: give it CREATEROLE and CREATEDB, "
        f"or let an administrator run {script}"
    )


def _database(admin: Connection, services: Services, name: str) -> None:
    identifier, owner = sql.Identifier(name), sql.Identifier(ROLES["owner"])
    found = admin.execute(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    try:
        if found is None:
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(identifier, owner))
        elif found[0] != ROLES["owner"]:
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(identifier, owner))
        if services.own_postgres:
            # Minted roles reach what they were granted and nothing through PUBLIC.
            admin.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")
    except psycopg.errors.InsufficientPrivilege as error:
        raise SetupError(
            f"the role in DATABASE_URL may not create the database or own it ({_first_line(error)}): "
            f'run CREATE DATABASE "{name}" OWNER {ROLES["owner"]} as an administrator'
        ) from None


def _check_login(urls: Urls, services: Services) -> None:
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute(_close_database(_name(urls.app)))
    for role, url in (("app", urls.app), ("sequencer", urls.sequencer)):
        if error := _login_error(url):
            raise SetupError(
                f"{ROLES[role]} cannot sign in with {services.home.keys}/{role}.password ({error}): "
                "copy the keys folder of the first host, or set the role's password to that file's"
            )


def _close_database(name: str) -> sql.Composed:
    logins = sql.SQL(", ").join(sql.Identifier(ROLES[role]) for role in LOGIN_ROLES)
    return sql.SQL(
        "REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {logins}; "
        "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {logins}"
    ).format(name=sql.Identifier(name), logins=logins)


def _login_error(url: str) -> str:
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    # libpq puts hints on further lines, and psycopg lists one attempt a line where a name has many addresses.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _schema(services: Services, urls: Urls, say: Say) -> None:
    """Migrate, grant and make the log's keys, unless the database's fingerprint says that this was done."""
    wanted = fingerprint()
    secret(services.home, "django.key")
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        if _applied(owner) == wanted and all((services.home.keys / name).exists() for name in LOG_KEYS):
            return
        say("Preparing the database schema …")
        migrate(urls.owner, services)
        owner.execute(sql.SQL("COMMENT ON SCHEMA public IS {}").format(sql.Literal(wanted)))


def _applied(owner: Connection) -> str:
    row = owner.execute("SELECT obj_description('public'::regnamespace, 'pg_namespace')").fetchone()
    return str(row[0]) if row and row[0] else ""


def fingerprint() -> str:
    """Names every migration of ours by content, and the pinned packages, whose migrations are theirs."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(REPOSITORY)}\0".encode() + path.read_bytes() + b"\0")
    return f"agentsec schema {digest.hexdigest()}"


def _sources() -> Iterable[Path]:
    migrations = sorted(REPOSITORY.glob("*/migrations/*.py"))
    return [*migrations, REPOSITORY / "traces" / "roles.py", REPOSITORY / "requirements.txt"]


def migrate(owner_url: str, services: Services) -> None:
    """Run Django's migrations and the grants as the owner role, in a process that nothing else shares."""
    environment = child_environment(services, owner_url)
    command = [sys.executable, str(REPOSITORY / "manage.py"), "schema"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        log = services.home.logs / "schema.log"
        log.write_text(done.stdout + done.stderr)
        reason = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
        raise SetupError(f"preparing the database schema failed: {reason} (all of it: {log})")


def child_environment(services: Services, database_url: str) -> dict[str, str]:
    """The environment of a process of the site: it learns one role's address and not the administrator's."""
    environment = {name: value for name, value in os.environ.items() if name not in ADMIN_VARIABLES}
    environment["AGENTSEC_HOME"] = str(services.home.root)
    environment["AGENTSEC_DATABASE_URL"] = database_url
    environment["AGENTSEC_REDIS_URL"] = services.redis_url
    return environment
