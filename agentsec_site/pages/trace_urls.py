"""Addresses of the trace explorer and of the firewall page."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import allowances, evidence, firewall, traces

urlpatterns = [
    path("traces", traces.search, name="traces"),
    path("traces/tail", traces.tail, name="traces-tail"),
    path("traces/sessions", traces.sessions, name="trace-sessions"),
    path("traces/sessions/<uuid:session_id>", traces.session, name="trace-session"),
    path("traces/sessions/<uuid:session_id>/tail", traces.session_tail, name="trace-session-tail"),
    path("traces/sessions/<uuid:session_id>/verify", traces.verify_session, name="trace-session-verify"),
    path("traces/sessions/<uuid:session_id>/allowances", allowances.of_session, name="trace-allowances"),
    path("traces/sessions/<uuid:session_id>/labels", traces.clear_label, name="trace-session-labels"),
    path("traces/sessions/<uuid:session_id>/evidence", evidence.of_session, name="trace-session-evidence"),
    path("traces/actions/<uuid:action_id>", evidence.find_action, name="trace-action"),
    path("traces/actions/<uuid:action_id>/evidence", evidence.of_action, name="trace-action-evidence"),
    path("traces/entries/<uuid:entry_id>", traces.entry, name="trace-entry"),
    path("traces/entries/<uuid:entry_id>/verify", traces.verify_entry, name="trace-entry-verify"),
    path("firewall", firewall.try_text, name="firewall"),
]
