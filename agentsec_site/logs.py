"""Lines of the processes' own logs: without the values of stored secrets, tracebacks included."""

from __future__ import annotations

import logging

from policies.firewall import known


class MaskingFormatter(logging.Formatter):
    """Masks what this process knows of. A line is never lost: what cannot be looked through is named only."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        try:
            return known.latest().masked(line)
        except Exception as error:  # noqa: BLE001 - a log that fails would take its process with it
            return f"{record.levelname} {record.name}: a line was withheld ({type(error).__name__})"
