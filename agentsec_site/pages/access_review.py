"""The access review: the list, its signing, and the evidence of those that were signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST, require_safe

from agentsec_site.pages.guard import page, person
from approvals import access_review, holdings
from approvals.access_review import Decided
from approvals.growth_models import AccessReview
from approvals.holdings import Holding
from policies import foureyes
from policies.access import Verb, may
from traces.problems import HTTP_STATUS, Refused

SHOWN = 20


@dataclass(frozen=True)
class Line:
    """One holding as the form shows it, with what was chosen so far."""

    item: Holding
    choice: str
    reason: str

    @property
    def field(self) -> str:
        return f"{self.item.kind}:{self.item.key}"


@dataclass(frozen=True)
class Section:
    """One kind: what is to be looked at, and what is in use."""

    title: str
    removal: str
    open: tuple[Line, ...]
    rest: tuple[Line, ...]


@require_safe
@page(Verb.ACCOUNTS_READ)
def review(request: HttpRequest) -> HttpResponse:
    """The list as it is now, and the reviews that were signed."""
    return _page(request, {})


@require_POST
@page(Verb.ACCESS_SIGN)
def sign(request: HttpRequest) -> HttpResponse:
    """Sign it off; what was filled in stays on the page where that is refused."""
    given = {name: str(value).replace("\0", "") for name, value in request.POST.items()}
    try:
        signed = access_review.sign(
            user=person(request), decisions=_decisions(given), seen=given.get("seen", ""),
            note=given.get("note", "").strip(),
        )  # fmt: skip
    except Refused as refused:
        return _page(request, given, error=refused.detail, status=HTTP_STATUS[refused.code])
    messages.success(request, f"Signed: {signed.kept} kept, {signed.removed} removed.")
    if signed.removed and foureyes.required():
        messages.info(request, "What somebody else has to confirm is removed once they have, on /changes.")
    return redirect("access-review")


@require_POST
@page(Verb.ACCOUNTS_READ)
def evidence(request: HttpRequest, review_id: int) -> HttpResponse:
    """The bundle of one signed review. The export is itself an entry."""
    row = AccessReview.objects.filter(pk=review_id).first()
    if row is None:
        raise Refused("not_found", "There is no such review.")
    content = access_review.export(review=row, user=person(request))
    name = content_disposition_header(True, f"access-review-{row.signed_at:%Y-%m-%d}.zip") or ""
    return HttpResponse(content, content_type="application/zip", headers={"Content-Disposition": name})


def _page(
    request: HttpRequest, given: Mapping[str, str], *, error: str = "", status: int = 200
) -> HttpResponse:
    items = access_review.listed()
    shown = {
        "sections": _sections(items, given), "seen": access_review.fingerprint(items),
        "due": access_review.due(), "days": settings.AGENTSEC_REVIEW_DAYS, "note": given.get("note", ""),
        "signed": AccessReview.objects.all()[:SHOWN], "may_sign": may(request.user, Verb.ACCESS_SIGN).allowed,
        "may_edit": may(request.user, Verb.POLICY_EDIT).allowed, "error": error,
        "reads_log": may(request.user, Verb.TRACE_READ).allowed,
        "proposed": sum(item.proposed for item in items),
    }  # fmt: skip
    return render(request, "growth/access_review.html", shown, status=status)


def _sections(items: list[Holding], given: Mapping[str, str]) -> list[Section]:
    found = []
    for kind, group in groupby(items, key=lambda item: item.kind):
        lines = [_line(item, given) for item in group]
        title, removal = holdings.KINDS[kind]
        # What was decided against the proposal is shown again where the page comes back.
        apart = [line.item.unused or bool(line.reason) or line.choice == "remove" for line in lines]
        open_ = tuple(line for line, shown in zip(lines, apart, strict=True) if shown)
        rest = tuple(line for line, shown in zip(lines, apart, strict=True) if not shown)
        found.append(Section(title, removal, open_, rest))
    return found


def _line(item: Holding, given: Mapping[str, str]) -> Line:
    field = f"{item.kind}:{item.key}"
    # What is proposed for removal has no answer yet: somebody has to give one.
    choice = given.get(f"choice:{field}", "" if item.proposed else access_review.KEEP)
    return Line(item, choice, given.get(f"reason:{field}", ""))


def _decisions(given: Mapping[str, str]) -> dict[tuple[str, str], Decided]:
    found = {}
    for name, choice in given.items():
        mark, _, field = name.partition(":")
        kind, _, key = field.partition(":")
        if mark == "choice":
            found[kind, key] = Decided(choice, given.get(f"reason:{field}", ""))
    return found
