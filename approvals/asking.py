"""What an action asks, group by group, once an edit has asked anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies import escalating


def both(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every group asked before or now, each as strictly as either did: an edit never needs fewer people."""
    merged = {item["group"]: dict(item) for item in before}
    for item in after:
        known = merged.get(item["group"])
        merged[item["group"]] = _stricter(known, item) if known else dict(item)
    return [merged[group] for group in sorted(merged)]


def _stricter(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    waited = min(one["expires_after"], other["expires_after"])
    wishes = [escalating.steps(item.get("escalate", ())) for item in (one, other)]
    told = {
        **one, "quorum": max(one["quorum"], other["quorum"]), "expires_after": waited,
        "step_up": one["step_up"] or other["step_up"],
        "separate_duties": bool(one.get("separate_duties") or other.get("separate_duties")),
        "escalate": escalating.plain(escalating.joined(wishes, expires_after=waited)),
    }  # fmt: skip
    return {
        name: value for name, value in told.items() if value or name not in ("separate_duties", "escalate")
    }
