"""Who may do what to which table: the grants of the three database roles.

The owner cannot log in, the app only appends, the sequencer alone writes the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

APPEND_ONLY = ("traces_entry", "traces_outbox")
READ_ONLY = ("traces_leaf", "traces_tile", "traces_checkpoint")


def grant_statements(roles: Mapping[str, str]) -> list[str]:
    """SQL to run, in order and in one transaction, after every migrate; running it again changes nothing.

    In: the names of the roles `owner`, `app` and `sequencer`, which exist. The statements need the rights
    of the owner. The app gets SELECT, INSERT, UPDATE and DELETE on every table of the schema but the log's.
    """
    names = {key: sql.Identifier(roles[key]).as_string(None) for key in ("owner", "app", "sequencer")}
    return [statement.format(**names) for statement in (*_common(), *_app(), *_sequencer())]


def _common() -> Sequence[str]:
    return (
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO {app}, {sequencer}",
    )


def _app() -> Sequence[str]:
    append_only, read_only = ", ".join(APPEND_ONLY), ", ".join(READ_ONLY)
    default = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT "
    return (
        "REVOKE CREATE ON SCHEMA public FROM {app}, {sequencer}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {app}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {app}",
        f"REVOKE ALL ON {append_only}, {read_only} FROM {{app}}",
        f"GRANT SELECT, INSERT ON {append_only} TO {{app}}",
        f"GRANT SELECT ON {read_only} TO {{app}}",
        default + "SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
        default + "USAGE, SELECT ON SEQUENCES TO {app}",
    )


def _sequencer() -> Sequence[str]:
    return (
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {sequencer}",
        "GRANT SELECT (id, leaf_hash) ON traces_entry TO {sequencer}",
        "GRANT SELECT ON traces_outbox, traces_leaf, traces_tile, traces_checkpoint TO {sequencer}",
        "GRANT DELETE ON traces_outbox TO {sequencer}",
        "GRANT INSERT ON traces_leaf, traces_tile, traces_checkpoint TO {sequencer}",
        "GRANT UPDATE (width, data) ON traces_tile TO {sequencer}",
        "GRANT USAGE, SELECT ON SEQUENCE traces_tile_id_seq TO {sequencer}",
    )
