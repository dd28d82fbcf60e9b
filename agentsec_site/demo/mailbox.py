"""A mail server on loopback that delivers into a folder: what the agents send is really sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """Writes each mail into the folder, one file a mail, in the order of arrival."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count(1)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        head = "".join(f"X-Envelope-To: {recipient}\r\n" for recipient in envelope.rcpt_tos).encode()
        content: Any = envelope.original_content or b""
        (self.folder / f"{next(self.numbers):04}.eml").write_bytes(head + content)
        return "250 delivered"


class _OnAnyPort(Controller):
    """The controller tries its server out at the port it was given, which 0 is not."""

    def _trigger_server(self) -> None:
        listening: Any = self.server
        self.port = listening.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, int]]:
    """A server for as long as the block lasts; its address and port."""
    controller = _OnAnyPort(Mailbox(folder), hostname="127.0.0.1", port=0)
    controller.start()
    try:
        yield "127.0.0.1", controller.port
    finally:
        controller.stop()
