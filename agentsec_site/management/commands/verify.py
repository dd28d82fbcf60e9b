"""`manage.py verify`: the log in the database, or an evidence bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandParser

from agentsec_site.management.base import AgentsecCommand
from approvals import stepup
from traces import audit, keys, tool, verify
from traces.problems import Invalid


class Command(AgentsecCommand):
    help = "Verify the log in the database, or the evidence bundle FILE; exit status 1 if anything is wrong."

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", metavar="FILE", help="an exported evidence bundle")
        parser.add_argument(
            "--key", default="", help="the log's public key, or a file with it (default: ours)"
        )
        parser.add_argument(
            "--passkeys", type=Path, help="a file with the passkeys that people really have (bundles)"
        )
        parser.add_argument(
            "--tool",
            type=Path,
            metavar="PYZ",
            help="write the verifier as one file that runs anywhere, and end",
        )
        parser.add_argument(
            "--state", type=Path, help="where to remember the checkpoints seen (database: HOME/log.seen)"
        )

    def run(self, **options: Any) -> None:
        if options["tool"]:
            options["tool"].write_bytes(tool.packed())
            self.stdout.write(
                f"{options['tool']}: run it with `python3 {options['tool']} BUNDLE --key PUBKEY`"
            )
            return
        if options["file"]:
            wish = [options["file"], "--key", options["key"] or keys.verifier_key()]
            given = [name for name in ("state", "passkeys") if options[name]]
            sys.exit(
                verify.main(wish + [part for name in given for part in (f"--{name}", str(options[name]))])
            )
        key = _key(options["key"] or keys.verifier_key())
        state = Path(options["state"] or settings.HOME / "log.seen")
        remembered = _recall(state)
        seen = {int(size): bytes.fromhex(root) for size, root in remembered.get(key.name, {}).items()}
        with psycopg.connect(settings.AGENTSEC_DATABASE_URL, autocommit=True) as connection:
            found = audit.verify_database(connection, key=key, seen=seen)
        for forged in stepup.forgeries():
            found.add("forged", forged.entry, forged.why)
        self._tell(found)
        if found.findings:
            sys.exit(1)
        if found.size:
            remembered[key.name] = {str(found.size): found.root.hex()}
            verify.remember(state, remembered)

    def _tell(self, found: audit.Audit) -> None:
        for finding in found.findings:
            self.stdout.write(str(finding))
        waiting = f", {found.waiting} more on their way into it" if found.waiting else ""
        if found.findings:
            self.stdout.write(
                f"NOT VERIFIED: {len(found.findings)} finding(s) in a log of {found.size} entries"
            )
        else:
            self.stdout.write(f"VERIFIED: {found.size} entries{waiting}, root {found.root.hex()}")


def _key(text: str) -> verify.VerifierKey:
    try:
        return verify.VerifierKey.parse(text if "+" in text else Path(text).read_text())
    except (OSError, ValueError) as error:
        raise Invalid(f"--key: {error}") from None


def _recall(state: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads(state.read_text())) if state.exists() else {}
    except (OSError, ValueError) as error:
        raise Invalid(f"{state} cannot be read: {error}") from None
