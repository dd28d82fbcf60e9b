"""The refusals a verb may raise, each with a code that every door turns into its own answer.

A refusal is a sentence for the caller, not a failure of the program: doors render `code`, `detail` and
`extra` (RFC 9457 "problem details" over HTTP), and nothing else of the exception is shown.
"""

from __future__ import annotations

from typing import Any, ClassVar


class Refused(Exception):
    """The caller's wish is refused.

    `code` is one of the names below (stable, machine-readable), `detail` one sentence for a person,
    `extra` further JSON values that the caller may act on (for example who decided first).
    """

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.extra = extra


class _Named(Refused):
    code_name: ClassVar[str]

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(self.code_name, detail, **extra)


class Invalid(_Named):
    """The input is not what the verb takes."""

    code_name = "invalid"


class NotFound(_Named):
    """It does not exist, or the caller may not know that it does."""

    code_name = "not_found"


class Conflict(_Named):
    """Someone else was first, or the state no longer allows it."""

    code_name = "conflict"


class Blocked(_Named):
    """Policy blocks it."""

    code_name = "blocked"


class LimitReached(_Named):
    """A budget or rate limit is used up."""

    code_name = "limit"


class Forbidden(_Named):
    """The caller is known and lacks the right."""

    code_name = "forbidden"


class Unauthorized(_Named):
    """The caller is not known."""

    code_name = "unauthorized"


class Gone(_Named):
    """It was here and is no more (erased, expired, used up)."""

    code_name = "gone"


class Unavailable(_Named):
    """A part that is needed is missing or broken; waiting may help."""

    code_name = "unavailable"


class TooLarge(_Named):
    """The input exceeds a size limit."""

    code_name = "too_large"


HTTP_STATUS: dict[str, int] = {
    "invalid": 422,
    "not_found": 404,
    "conflict": 409,
    "blocked": 403,
    "limit": 429,
    "forbidden": 403,
    "unauthorized": 401,
    "gone": 410,
    "unavailable": 503,
    "too_large": 413,
}
