"""Addresses of what grows out of decisions: suggested rules, agents' trust, access reviews."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import access_review, suggestions, trust

urlpatterns = [
    path("policies/suggestions", suggestions.every, name="suggestions"),
    path("policies/suggestions/look", suggestions.look, name="suggestions-look"),
    path("policies/suggestions/<int:suggestion_id>", suggestions.one, name="suggestion"),
    path("policies/suggestions/<int:suggestion_id>/draft", suggestions.draft, name="suggestion-draft"),
    path("policies/suggestions/<int:suggestion_id>/dismiss", suggestions.dismiss, name="suggestion-dismiss"),
    path("policies/suggestions/<int:suggestion_id>/again", suggestions.again, name="suggestion-again"),
    path("policies/trust", trust.every, name="promotions"),
    path("policies/trust/look", trust.look, name="promotions-look"),
    path("policies/trust/agents/<int:agent_id>", trust.one, name="agent-trust"),
    path("policies/trust/<int:promotion_id>/decide", trust.decide, name="promotion-decide"),
    path("policies/access-review", access_review.review, name="access-review"),
    path("policies/access-review/sign", access_review.sign, name="access-review-sign"),
    path(
        "policies/access-review/<int:review_id>/evidence",
        access_review.evidence,
        name="access-review-evidence",
    ),
]
