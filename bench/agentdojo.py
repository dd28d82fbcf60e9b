"""How many of AgentDojo's attacks policy stops, and how often it asks people about honest work.

    python manage.py bench agentdojo [--suite NAME] [--world FILE] [--pure]

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
    options = parser.parse_args(list(words))
    recorded = recording(options.world)
    with tempfile.TemporaryDirectory(prefix="agentsec-bench-") as folder:
        # The services' account must be able to walk in; the keys inside stay closed.
        Path(folder).chmod(0o711)
        on_fresh_instance(Path(folder), recorded, options)


def on_fresh_instance(home: Path, recorded: dict[str, Any], options: argparse.Namespace) -> None:
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
        replay.report(recorded, options.world.read_text("utf-8"), suite=options.suite)


def recording(world: Path) -> dict[str, Any]:
    """What happens in AgentDojo under these tool definitions; kept, since it is always the same."""
    untrusted = sorted(untrusted_tools(world))
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


def untrusted_tools(world: Path) -> set[str]:
    """The tools whose output outsiders can write, in whole or in part."""
    tools = yaml.safe_load(world.read_text("utf-8"))["tools"]
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
