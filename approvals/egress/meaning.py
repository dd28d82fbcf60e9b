"""Headers that make a server answer for another request than the one that was judged. Pure.

A line of egress holds a method and a path. Frameworks and gateways read another method, another path or
another host out of headers of their own; where a line restricts one, a request with such a header is refused.
A name that gateways spell differently (`Content_Length` reaches CGI and WSGI as `Content-Length`) is refused
wherever requests are read.

Sources: RFC 9110 section 5.1 (names), RFC 3875 section 4.1.18 (names as CGI sees them), RFC 7239 (Forwarded);
the manuals of Rails, Symfony, Express, Spring, IIS, Traefik, Envoy, Next.js and object stores for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from policies.destinations import Destinations
from policies.fetch import Place

_NAME = re.compile(r"[A-Za-z0-9-]+")
LONGEST_NAME = 256
_OTHER_MEANING = re.compile(
    r"(?:.*-)?override(?:-.*)?|x-(?:http-)?method(?:-.*)?"
    r"|x-(?:forwarded|original|originating|rewrite|rewritten|replaced|envoy|middleware|ms-original)(?:-.*)?"
    r"|forwarded|(?:x-)?(?:base|proxy|request|full|raw)-?(?:ur[il]|path)|(?:x-)?script-name"
    r"|x-[a-z]+-copy-source(?:-.*)?"
    r"|x-(?:host|scheme|url-scheme|server-name|path|path-info|prefix|uri|url|waws-unencoded-url)"
    r"|x-(?:http-)?destination-?url|x-(?:sendfile-type|accel-mapping|accel-redirect)"
    r"|(?:x-|true-)?(?:real|client|cluster-client|remote)-(?:ip|addr|user)|front-end-https|proxy"
)


def unfit(headers: Iterable[tuple[str, str]], allowed: Destinations, where: Place) -> str:
    """Why a request with these headers may not go there, in words for the job; "" where it may."""
    restricted = any(line.covers(where) and (line.methods or line.path) for line in allowed.lines)
    for name, _ in headers:
        if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
            return "the name of one of its headers is read differently by servers: letters, digits and - are"
        if restricted and _OTHER_MEANING.fullmatch(name.lower()):
            return f"its header {name.lower()[:50]} could change what it asks for, and a line restricts that"
    return ""
