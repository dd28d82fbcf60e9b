"""What a statement may call: nothing with an effect of its own, and nothing that tells of the server.

PostgreSQL says of each function whether it changes something (VOLATILE), reads something (STABLE) or only
computes (IMMUTABLE). Of the server's own functions those that read are mostly windows on its catalogues, its
settings and its sessions; so of them only the listed ones are called, and one that a later release adds is
refused until it is listed. Types whose values are written as names of the catalogue (`regclass` and its
kind, `aclitem`) turn a number into such a name, so neither they nor what returns them is used; nor is the
row type of a table, which tells its columns.

Source: PostgreSQL manual, "Function Volatility Categories", "Object Identifier Types", "Composite Types"
(a function of a row may be called as `row.function`); the catalogue pg_proc of PostgreSQL 13 to 18.
"""

from __future__ import annotations

from typing import Any

import psycopg

from approvals.sql.plain import NAMING, NotPlain, Plain

Connection = psycopg.Connection[Any]
# Volatile by declaration, and without an effect beyond what the role's privileges allow.
HARMLESS = (
    "array_sample", "array_shuffle", "clock_timestamp", "currval", "gen_random_uuid", "lastval", "nextval",
    "random", "random_normal", "timeofday", "uuidv4", "uuidv7",
)  # fmt: skip
# Stable by declaration, and reading no more than their arguments, the time zone, the clock and formats.
READING = (
    "age", "array_to_json", "array_to_string", "concat", "concat_ws", "convert", "convert_from", "convert_to",
    "current_user", "date", "date_add", "date_part", "date_subtract", "date_trunc", "extract", "format",
    "generate_series", "in_range", "json_agg", "json_agg_strict", "json_build_array", "json_build_object",
    "json_object_agg", "json_object_agg_strict", "json_object_agg_unique", "json_object_agg_unique_strict",
    "json_populate_record", "json_populate_recordset", "json_to_record", "json_to_recordset",
    "json_to_tsvector", "jsonb_agg", "jsonb_agg_strict", "jsonb_build_array", "jsonb_build_object",
    "jsonb_object_agg", "jsonb_object_agg_strict", "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict", "jsonb_path_exists_tz", "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_record_valid",
    "jsonb_populate_recordset", "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "length",
    "make_timestamptz", "money", "now", "numeric", "overlaps", "pg_column_size",
    "phraseto_tsquery", "plainto_tsquery", "quote_literal", "quote_nullable", "row_to_json", "session_user",
    "statement_timestamp", "time", "timestamp", "timestamptz", "timetz", "timezone", "to_char", "to_date",
    "to_json", "to_jsonb", "to_number", "to_timestamp", "to_tsquery", "to_tsvector", "transaction_timestamp",
    "ts_headline", "websearch_to_tsquery", "xml", "xml_is_well_formed",
)  # fmt: skip
_CALLED = """
SELECT p.proname, p.provolatile = 'v' AND NOT (system.own AND p.proname = ANY (%(harmless)s))
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_type gives ON gives.oid = p.prorettype
LEFT JOIN pg_catalog.pg_type takes ON takes.oid = p.proargtypes[0]
CROSS JOIN LATERAL (SELECT n.nspname IN ('pg_catalog', 'information_schema') AS own) system
WHERE has_schema_privilege(n.oid, 'USAGE')
  AND (p.proname = ANY (%(called)s) OR (p.proname = ANY (%(fields)s) AND takes.typtype IN ('c', 'd', 'p')))
  AND (p.provolatile = 'v' AND NOT (system.own AND p.proname = ANY (%(harmless)s))
    OR p.provolatile = 's' AND system.own AND p.proname <> ALL (%(reading)s)
    OR ltrim(gives.typname, '_') = ANY (%(naming)s))
ORDER BY 2 DESC, 1 LIMIT 1"""
_ROW_TYPES = """
SELECT t.typname FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type each ON each.oid = t.typelem
JOIN pg_catalog.pg_class c ON c.oid IN (t.typrelid, each.typrelid)
WHERE t.typname = ANY (%s) AND c.relkind <> 'c' ORDER BY 1 LIMIT 1"""


def check(connection: Connection, plain: Plain) -> None:
    """Look at what the statement calls, as the server knows it. Raises NotPlain, psycopg.Error."""
    found = connection.execute(_CALLED, {
        "called": list(plain.functions), "fields": list(plain.fields), "harmless": list(HARMLESS),
        "reading": list(READING), "naming": sorted(NAMING),
    }).fetchone()  # fmt: skip
    if found:
        why = (
            "may have an effect of its own (it is VOLATILE)" if found[1]
            else "tells of the server or of its catalogues"
        )  # fmt: skip
        raise NotPlain(f"{str(found[0])[:100]}() {why}: it is not called here")
    rows = connection.execute(_ROW_TYPES, [list(plain.types)]).fetchone()
    if rows:
        raise NotPlain(
            f"{str(rows[0])[:100]} is a table's row type, which tells its columns: it is not used here"
        )
