"""How many of AgentDojo's attacks policy stops, and how often it asks people about honest work.

    python manage.py bench agentdojo [--suite NAME] [--world FILE] [--only declared|proposed]

Twice: with the tools as a person declared them, and as `propose-tools` guesses them from their schemas alone.
The rules are the starter set's both times.

Installs the public package `agentdojo` into an environment of its own (kept under ~/.cache/agentsec),
plays its tasks there (`agentdojo_record.py`) and judges every call on a fresh instance with a real database
(`agentdojo_replay.py`). No language model takes part: the agent does whatever it reads.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import django
import yaml

from agentsec_site import startup

HERE = Path(__file__).resolve().parent
RECORDER = HERE / "agentdojo_record.py"
WORLD = HERE / "agentdojo_world.yaml"
PACKAGE = "agentdojo"
VERSION = "v1.2.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentsec"


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="manage.py bench agentdojo", description=__doc__)
    parser.add_argument("--suite", default="", help="one suite alone")
    parser.add_argument("--world", type=Path, default=WORLD, help="tool definitions and rules to judge by")
    parser.add_argument("--only", choices=("declared", "proposed"), help="one of the two tables alone")
    options = parser.parse_args(list(words))
    declared = options.world.read_text("utf-8")
    recorded = recording(untrusted_tools(declared))
    with tempfile.TemporaryDirectory(prefix="agentsec-bench-") as folder:
        # The services' account must be able to walk in; the keys inside stay closed.
        Path(folder).chmod(0o711)
        on_fresh_instance(Path(folder), recorded, declared, options)


def on_fresh_instance(
    home: Path, recorded: dict[str, Any], declared: str, options: argparse.Namespace
) -> None:
    """Judge the recording on an instance that nobody else uses and that goes away again."""
    for name in ("DATABASE_URL", "REDIS_URL", "AGENTSEC_DATABASE_URL"):
        os.environ.pop(name, None)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentsec_site.settings")
    os.environ |= {"AGENTSEC_HOME": str(home), "AGENTSEC_EMBEDDED_FSYNC": "off"}
    with startup.ready(home) as instance:
        os.environ |= instance.environment()
        django.setup()
        # Loaded by name: its models need the settings, which need the instance.
        replay = importlib.import_module("bench.agentdojo_replay")
        if options.only != "proposed":
            replay.report(recorded, replay.with_schemas(declared, recorded), "declared", suite=options.suite)
        if options.only != "declared":
            proposed = replay.proposed(declared, recorded)
            again = recording(untrusted_tools(proposed))
            replay.report(again, proposed, "proposed", suite=options.suite)


def recording(tools: set[str]) -> dict[str, Any]:
    """What happens in AgentDojo where these tools are untrusted; kept, since it is always the same."""
    untrusted = sorted(tools)
    key = hashlib.sha256("\n".join([RECORDER.read_text("utf-8"), VERSION, *untrusted]).encode()).hexdigest()
    kept = CACHE / f"agentdojo-{key[:16]}.json"
    if not kept.exists():
        print("Playing AgentDojo's tasks …", file=sys.stderr)
        played = subprocess.run(
            [environment(), "-I", RECORDER, VERSION, *untrusted], check=True, stdout=subprocess.PIPE
        )
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(played.stdout)
        partial.replace(kept)
    return dict(json.loads(kept.read_text("utf-8")))


def untrusted_tools(world: str) -> set[str]:
    """The tools of a world file whose output outsiders can write, in whole or in part."""
    tools = yaml.safe_load(world)["tools"]
    return {tool["name"] for tool in tools if tool.get("output") != "trusted" or tool.get("untrusted_fields")}


def environment() -> Path:
    """The Python of an environment that holds AgentDojo, made on first use."""
    folder = CACHE / "agentdojo-venv"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"Installing {PACKAGE} into {folder} …", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return python
