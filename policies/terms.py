"""A word that a condition may use: what a fact and a function say of themselves, and every function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from policies.functions import domain, host, in_cidr, recipients


@dataclass(frozen=True)
class Fact:
    """One name a condition may use. `type` is a CEL type as CEL writes it."""

    name: str
    type: str
    doc: str
    example: str
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Function:
    """One function a condition may call. It may raise ValueError: then the condition is an error."""

    name: str
    parameters: tuple[str, ...]
    returns: str
    doc: str
    example: str
    run: Callable[..., Any]


FUNCTIONS: tuple[Function, ...] = (
    Function(
        "domain",
        ("string",),
        "string",
        "The domain of one mail address, lower-case. Several addresses in one text are an error.",
        "domain(args.to) == 'example.com'",
        domain,
    ),
    Function(
        "host",
        ("string",),
        "string",
        "The host of an absolute URL, lower-case.",
        "host(args.url).endsWith('.example.com')",
        host,
    ),
    Function(
        "in_cidr",
        ("string", "string"),
        "bool",
        "Whether an IP address lies in a network.",
        "in_cidr(args.address, '10.0.0.0/8')",
        in_cidr,
    ),
    Function(
        "recipients",
        ("map(string, dyn)",),
        "int",
        "How many addresses stand in to, cc and bcc together, each a text or a list.",
        "recipients(args) > 100",
        recipients,
    ),
)
