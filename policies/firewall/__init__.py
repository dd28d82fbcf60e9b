"""The AI firewall: what goes in to an agent and what comes out is inspected before anybody acts on it."""

from __future__ import annotations

from policies.firewall.findings import Finding, Inspection
from policies.firewall.screen import DETECTORS, inspect

__all__ = ["DETECTORS", "Finding", "Inspection", "inspect"]
