"""Credentials, recognised by the prefix their provider gives them. Each is masked where it stands.

Prefixes and lengths are those the providers document for secret scanning. A minimum length is required and a
maximum is not: providers lengthen their tokens, and half a mask is none.
"""

from __future__ import annotations

import re

from policies.firewall.findings import Finding, Hit, Pattern, Text
from policies.text import Folded

NAME = "secrets"

# After an escape (a line break in JSON, a sign in a URL) a secret begins as after a blank.
_BEFORE = r"(?:^|[^A-Za-z0-9_]|\\[nrt]|%[0-9A-Fa-f]{2})"

_PREFIXED: dict[str, str] = {
    "AWS access key": r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16,}",
    "GitHub token": r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})",
    "GitLab token": r"(?:glpat|gldt|glrt|glptt|glcbt|glsoat)-[A-Za-z0-9_\-.]{20,}",
    "Slack token": r"(?:xox[abceoprs]|xapp)-[A-Za-z0-9\-]{10,}",
    "Slack webhook": r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/+_\-]{20,}",
    "Stripe key": r"(?:(?:sk|rk)_(?:live|test)_|whsec_)[A-Za-z0-9]{16,}",
    "Anthropic key": r"sk-ant-[A-Za-z0-9_\-]{20,}",
    "OpenAI key": r"sk-(?:(?:proj|svcacct|admin|service)-[A-Za-z0-9_\-]{20,}|[A-Za-z0-9]{32,})",
    "OpenRouter key": r"sk-or-[A-Za-z0-9_\-]{20,}",
    "Google API key": r"AIza[A-Za-z0-9_\-]{35,}",
    "Google OAuth secret": r"(?:GOCSPX-[A-Za-z0-9_\-]{20,}|ya29\.[A-Za-z0-9_\-]{20,})",
    "npm token": r"npm_[A-Za-z0-9]{36,}",
    "PyPI token": r"pypi-[A-Za-z0-9_\-]{40,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "SendGrid key": r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{32,}",
    "DigitalOcean token": r"do[opr]_v1_[a-f0-9]{64,}",
    "Shopify token": r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32,}",
    "Databricks token": r"dapi[a-f0-9]{32,}",
    "Docker token": r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{20,}",
    "Telegram bot token": r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,}",
    "age secret key": r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "JSON web token": r"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{10,}",
    "agentsec key": r"(?:ask|ast|lnk)_[A-Za-z0-9_\-]{40,}",
}

_NAMED: dict[str, str] = {
    "AWS secret key": r"(?i:secret.?access.?key)[\"'\s:=>]{1,8}(?P<hit>[A-Za-z0-9/+]{40})",
    "password in a URL": r"[A-Za-z][A-Za-z0-9+.\-]{1,20}://[^\s/:@\"'<>]{0,100}:(?P<hit>[^\s/@\"'<>\[\]]{3,200})@",
}

_PATTERNS = tuple(
    (name, Pattern(f"{_BEFORE}(?P<hit>{source})", "high", f"a {name}", ignore_case=False))
    for name, source in _PREFIXED.items()
) + tuple((name, Pattern(source, "high", f"a {name}", ignore_case=False)) for name, source in _NAMED.items())

_KEY_BEGINS = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s:,\-.()]|\\[nrt])*")
_LONGEST_KEY = 20_000
_SHORTEST_BODY = 40


def detect(text: Text) -> list[Hit]:
    """Every secret in any reading of the text, each to be replaced by its kind in brackets."""
    spans: dict[tuple[int, int], str] = {}
    for reading in text.readings:
        for name, pattern in _PATTERNS:
            for span in pattern.spans(reading):
                spans.setdefault(span, name)
        for span in _private_keys(reading):
            spans.setdefault(span, "private key")
    return [_hit(start, end, name) for (start, end), name in sorted(spans.items())]


def _hit(start: int, end: int, name: str) -> Hit:
    article = "an" if name[0] in "AaO" and not name.startswith("age") else "a"
    return Hit(Finding(NAME, "high", start, end, f"{article} {name}"), f"[{name} removed]")


def _private_keys(reading: Folded) -> list[tuple[int, int]]:
    """Whole blocks; one that is cut off is masked as far as its body reaches. A mere mention is no key."""
    found, at = [], 0
    while begin := _KEY_BEGINS.search(reading.text, at):
        finish = _KEY_ENDS.search(reading.text, begin.end(), begin.end() + _LONGEST_KEY)
        body = _KEY_BODY.match(reading.text, begin.end())
        at = finish.end() if finish else max(begin.end(), body.end() if body else 0)
        inside = finish.start() if finish else at
        if inside - begin.end() >= _SHORTEST_BODY:
            found.append(reading.span(begin.start(), at))
        else:
            at = begin.end()
    return found
