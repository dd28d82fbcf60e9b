"""What a row of a condition may say of its subject: each operator, its words, and the CEL it stands for.

`shape` is CEL with `«E»` for the subject and `«V»` for the value or the list of values. A negative operator
is the exact opposite of its positive one, where an argument is absent too: what is absent "is not".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ORIGINS = ("user", "named", "trusted", "reviewer", "agent", "untrusted")
SEVERITIES = ("low", "medium", "high")


@dataclass(frozen=True)
class Operator:
    """`values` is none, one or many; `opposite` names the positive operator that this one denies."""

    id: str
    words: str
    shape: str = ""
    values: str = "one"
    opposite: str = ""


_TABLE = (
    Operator("is", "is", "«E» == «V»"),
    Operator("is_not", "is not", opposite="is"),
    Operator("one_of", "is one of", "«E» in «V»", values="many"),
    Operator("not_one_of", "is none of", values="many", opposite="one_of"),
    Operator("contains", "contains the text", "«E».contains(«V»)"),
    Operator("not_contains", "does not contain the text", opposite="contains"),
    Operator("starts", "starts with", "«E».startsWith(«V»)"),
    Operator("not_starts", "does not start with", opposite="starts"),
    Operator("ends", "ends with", "«E».endsWith(«V»)"),
    Operator("not_ends", "does not end with", opposite="ends"),
    Operator("domain", "is a mail address at", "domain(«E») in «V»", values="many"),
    Operator("not_domain", "is no mail address at", values="many", opposite="domain"),
    Operator("host", "is a web address at", "host(«E») in «V»", values="many"),
    Operator("not_host", "is no web address at", values="many", opposite="host"),
    Operator("gt", "is greater than", "«E» > «V»"),
    Operator("ge", "is at least", "«E» >= «V»"),
    Operator("lt", "is less than", "«E» < «V»"),
    Operator("le", "is at most", "«E» <= «V»"),
    Operator("size_gt", "has a length over", "size(«E») > «V»"),
    Operator("size_le", "has a length up to", "size(«E») <= «V»"),
    Operator("has", "contains", "«V» in «E»"),
    Operator("has_not", "does not contain", opposite="has"),
    Operator("has_any", "contains one of", "«E».exists(item, item in «V»)", values="many"),
    Operator("has_none", "contains none of", values="many", opposite="has_any"),
    Operator("only", "contains only", "«E».all(item, item in «V»)", values="many"),
    Operator("not_only", "contains anything but", values="many", opposite="only"),
    Operator("only_at", "has only mail addresses at", "«E».all(item, domain(item) in «V»)", values="many"),
    Operator("not_only_at", "has a mail address outside of", values="many", opposite="only_at"),
    Operator("yes", "is true", "«E»", values="none"),
    Operator("no", "is not true", values="none", opposite="yes"),
    Operator("present", "is given", values="none"),
    Operator("absent", "is not given", values="none", opposite="present"),
    Operator("came", "came from", values="many"),
    Operator("not_came", "did not come from", values="many", opposite="came"),
    Operator("before", "is before", "«E» < timestamp(«V»)"),
    Operator("after", "is from", "«E» >= timestamp(«V»)"),
    Operator("any_found", "found something", "size(«E») > 0", values="none"),
    Operator("none_found", "found nothing", values="none", opposite="any_found"),
    Operator("severity", "found something of severity", values="many"),
    Operator("no_severity", "found nothing of severity", values="many", opposite="severity"),
    Operator("detector", "found something with", values="many"),
    Operator("no_detector", "found nothing with", values="many", opposite="detector"),
    Operator("any_from", "in part came from", values="many"),
    Operator("none_from", "did not come from", values="many", opposite="any_from"),
    Operator("all_from", "all came from", values="many"),
)
OPERATORS: Mapping[str, Operator] = {operator.id: operator for operator in _TABLE}

# One value is written as ==, several as `in`: that is how a person writes them.
COLLECTED: Mapping[str, str] = {
    "severity": "findings.exists(found, found.severity {})",
    "detector": "findings.exists(found, found.detector {})",
    "any_from": "authority.exists(name, authority[name] {})",
    "all_from": "authority.all(name, authority[name] {})",
}

_GIVEN = ("present", "absent", "came", "not_came")
_SAME = ("is", "is_not", "one_of", "not_one_of")
_TEXT = (
    *_SAME, "contains", "not_contains", "starts", "not_starts", "ends", "not_ends", "domain", "not_domain",
    "host", "not_host", "size_gt", "size_le",
)  # fmt: skip
_NUMBER = ("gt", "ge", "lt", "le", *_SAME)
_MANY = ("has", "has_not", "has_any", "has_none", "only", "not_only")
_SIZE = ("size_gt", "size_le")

# What fits a subject of each kind, in the order in which it is offered.
BY_KIND: Mapping[str, tuple[str, ...]] = {
    "text": _TEXT,
    "number": _NUMBER,
    "whole": _NUMBER,  # CEL compares an int with nothing else
    "flag": ("yes", "no"),
    "texts": (*_MANY, "only_at", "not_only_at", *_SIZE),
    "numbers": (*_MANY, *_SIZE),
    "list": _SIZE,
    "object": (),
    "any": _SAME,
    "moment": ("before", "after"),
    "day": ("one_of", "not_one_of"),
    "findings": ("severity", "no_severity", "detector", "no_detector", "any_found", "none_found"),
    "authority": ("any_from", "none_from", "all_from"),
}


def fitting(kind: str, *, argument: bool, top: bool = True) -> tuple[str, ...]:
    """The operators for a subject. Origins are known for whole arguments (`top`), not for their parts."""
    return BY_KIND[kind] + ((_GIVEN if top else _GIVEN[:2]) if argument else ())
