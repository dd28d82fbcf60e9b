"""What no page may hold: the content policy would refuse it, and a page that needs it would be broken."""

from __future__ import annotations

import re

# A script of type application/json is data, which no browser runs.
INLINE = re.compile(
    r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)(?![^>]*type=\"application/json)", re.I
)
