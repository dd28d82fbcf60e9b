"""Calls that an agent makes itself and that the service takes only with a signed token: no mere advice."""

from __future__ import annotations

from approvals.models import Action
from policies import releases
from traces.problems import Refused


def audience(action: Action) -> str:
    """The service that verifies the token of such a call, "" where the tool names none or nobody can tell."""
    try:
        tool = releases.current().tool(action.tool)
    except Refused:
        return ""  # a release that cannot be read vouches for nothing, and old actions are read all the same
    if tool.config.get("issuer") != "token" or tool.manifest != action.manifest:
        return ""
    terms = tool.config.get("token")
    return str(terms.get("audience", "")) if isinstance(terms, dict) else ""
