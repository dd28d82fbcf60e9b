"""Mail, by the site's SMTP server: text, and the same as HTML without anything that loads."""

from __future__ import annotations

import smtplib
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from approvals.notify import words
from approvals.notify.channel import Channel, Destination, Undelivered
from approvals.notify.letters import Item, Letter

SMTP = "django.core.mail.backends.smtp.EmailBackend"
LONGEST_SUBJECT = 120


def available() -> bool:
    """Whether this site sends mail."""
    return bool(settings.EMAIL_HOST) or settings.EMAIL_BACKEND != SMTP


def subject(letter: Letter) -> str:
    """One line without an address in it, whatever the agent wrote.

    Nor an encoded word (RFC 2047), which mail programs would decode into what no check here has seen.
    """
    safe = words.defang(letter.title).replace("=?", "= ?").replace("?=", "? =")
    return words.line(f"[agentsec] {safe}", most=LONGEST_SUBJECT)


def fields(item: Item) -> list[tuple[str, str]]:
    """What is said of an action below its sentence, label by label, addresses broken up."""
    said = [
        ("Target", item.target),
        ("Agent", item.agent),
        ("Tool", item.tool),
        ("Asked by rule", item.rules),
    ]
    if item.kind != "decided":
        said.append(("Time left", f"{item.left}, until {item.clock}"))
    return [(label, words.defang(value)) for label, value in said if value]


def message(letter: Letter, to: Destination) -> EmailMultiAlternatives:
    """The mail, ready to be sent."""
    told = {
        "letter": letter,
        "items": [_told(item) for item in letter.items],
        "tools": _tools(letter),
        "notes": [words.defang(note) for note in letter.notes if note],
    }
    mail = EmailMultiAlternatives(
        subject=subject(letter),
        body=render_to_string("notify/mail.txt", told),
        to=[to.email],
        headers={
            "Message-ID": f"<{letter.id}@agentsec>",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
        },
    )
    mail.attach_alternative(render_to_string("notify/mail.html", told), "text/html")
    return mail


def _told(item: Item) -> dict[str, Any]:
    head = words.defang(f"{item.said[0].upper()}{item.said[1:]}: {item.summary}")
    return {"head": head, "fields": fields(item), "link": item.link}


def _tools(letter: Letter) -> str:
    return (
        ", ".join(f"{number:,} {words.defang(tool)}" for tool, number in letter.tools) if letter.more else ""
    )


def deliver(letter: Letter, to: Destination) -> None:
    """Hand it to the SMTP server. Raises Undelivered."""
    if not available():
        raise Undelivered("this site sends no mail: EMAIL_HOST is not set")
    if not to.email:
        raise Undelivered("this person has no address for mail")
    try:
        message(letter, to).send()
    except smtplib.SMTPRecipientsRefused:
        raise Undelivered("the mail server does not take mail for this address") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Undelivered(f"the mail server did not take it ({type(error).__name__})") from None
    except ValueError:
        raise Undelivered("the address for mail cannot be used") from None


CHANNEL = Channel(
    name="email", label="Mail", about="To a person's own address.", available=available, deliver=deliver
)
