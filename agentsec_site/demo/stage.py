"""What a scene is played on: keys, addresses, and patience with people."""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from agentsec_site.demo.client import Client, Problem

OPEN = ("pending", "ready", "running")


@dataclass
class Stage:
    """`keys` are agents' keys by name, with `NAME+host` for the host application's; times in seconds."""

    base: str
    keys: Mapping[str, str]
    smtp: tuple[str, int]
    patience: float = 3600.0
    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = print

    def agent(self, name: str) -> Client:
        return Client(self.base, self.keys[name])

    def host(self, name: str) -> Client:
        """The host application of an agent: it may say what the user said."""
        return Client(self.base, self.keys[f"{name}+host"])

    def settle(self, client: Client, action: dict[str, Any]) -> dict[str, Any]:
        """Wait until people have decided and the sandbox is done, or the grant is in hand."""
        until = time.monotonic() + self.patience
        while action["state"] in OPEN and "grant" not in action:
            if self.stop.is_set() or time.monotonic() > until:
                break
            action = client.wait(action["id"], seconds=10)
            self._reply(client, action)
        return action

    def _reply(self, client: Client, action: dict[str, Any]) -> None:
        """Answer what reviewers ask; a scene knows no more than what it was told to do."""
        for question in action.get("questions", []):
            if "answer" in question or action["state"] != "pending":
                continue
            said = {"question": question["id"], "text": f"I am a script. I was told to: {action['summary']}"}
            with contextlib.suppress(Problem):  # decided meanwhile
                client.call("POST", f"/actions/{action['id']}/answers", said)

    def send_mail(self, args: Mapping[str, Any]) -> str:
        """Really send a mail by SMTP; the server's answer."""
        message = EmailMessage()
        message["From"] = "agents@acme.example"
        message["To"] = ", ".join(args["to"])
        message["Subject"] = args["subject"]
        message.set_content(args["body"])
        for attachment in args.get("attachments", []):
            message.add_attachment(attachment["text"], filename=attachment["name"])
        with smtplib.SMTP(*self.smtp, timeout=20) as server:
            refused = server.send_message(message, to_addrs=list(args["to"]))
        return f"accepted for {len(args['to']) - len(refused)} of {len(args['to'])} recipients"
