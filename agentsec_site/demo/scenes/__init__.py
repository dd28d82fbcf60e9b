"""The scenes, in the order in which the demonstration plays them. One file each, one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentsec_site.demo.scenes import billing, csv, deploy, flood, injection, laundering, mail, order, trip
from agentsec_site.demo.stage import Stage

Scene = Callable[[Stage], dict[str, Any]]

SCENES: dict[str, Scene] = {
    "billing": billing.play,
    "mail": mail.play,
    "order": order.play,
    "trip": trip.play,
    "csv": csv.play,
    "deploy": deploy.play,
    "injection": injection.play,
    "laundering": laundering.play,
    "flood": flood.play,
}
