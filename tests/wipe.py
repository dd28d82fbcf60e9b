"""Between tests that commit: put every table back to what the migrations left, as a superuser."""

from __future__ import annotations

import psycopg
from psycopg import sql


class Wiper:
    """Empties tables row by row under `session_replication_role = replica`, which no trigger refuses.

    Rows that the migrations put in are kept aside and put back.
    """

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute("SET session_replication_role = replica")
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS pristine")
        self.tables = self._tables()
        self.kept = self._filled()
        for table in self.kept:
            statement = sql.SQL("CREATE TABLE pristine.{0} AS TABLE public.{0}")
            self.connection.execute(statement.format(sql.Identifier(table)))

    def wipe(self) -> None:
        with self.connection.transaction():
            for table in self._filled():
                self.connection.execute(sql.SQL("DELETE FROM public.{}").format(sql.Identifier(table)))
            for table in self.kept:
                self._restore(table)

    def close(self) -> None:
        self.connection.close()

    def _restore(self, table: str) -> None:
        rows = self.connection.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
            [table],
        )
        columns = sql.SQL(", ").join(sql.Identifier(row[0]) for row in rows)
        statement = sql.SQL(
            "INSERT INTO public.{0} ({1}) OVERRIDING SYSTEM VALUE SELECT {1} FROM pristine.{0}"
        )
        self.connection.execute(statement.format(sql.Identifier(table), columns))

    def _tables(self) -> list[str]:
        rows = self.connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return [row[0] for row in rows if row[0] != "django_migrations"]

    def _filled(self) -> list[str]:
        probe = sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM public.{})")
        probes = [probe.format(sql.Literal(table), sql.Identifier(table)) for table in self.tables]
        return [row[0] for row in self.connection.execute(sql.SQL(" UNION ALL ").join(probes))]
