"""A line of egress: what it takes, what it leaves out, and what is no line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import fetch
from policies.destinations import Carried, Destinations, parse
from traces.problems import Refused

EVERY = ["GET", "POST", "DELETE"]


def takes(line: str, method: str, url: str) -> bool:
    return parse(line).takes(method, fetch.place(url))


@pytest.mark.parametrize(
    ("line", "method", "url"),
    [("a.example", "GET", "https://a.example/x"), ("a.example:443", "POST", "https://a.example/"),
     ("A.Example", "GET", "https://a.example/"), ("*.a.example", "GET", "https://b.c.a.example/"),
     ("http://a.example/x", "GET", "http://a.example/x?y=1"), ("[::1]:8080", "GET", "https://[::1]:8080/"),
     ("GET https://a.example/v1/*", "GET", "https://a.example/v1/x/y"), ("a.example:80", "GET", "http://a.example/"),
     ("https://a.example/*", "PUT", "https://a.example/../x"), ("GET,POST a.example/x", "POST", "https://a.example/x")],
)  # fmt: skip
def test_a_line_takes_what_it_says(line: str, method: str, url: str) -> None:
    assert takes(line, method, url)


@pytest.mark.parametrize(
    ("line", "method", "url"),
    [("a.example", "GET", "https://b.example/"), ("a.example", "GET", "https://a.example:444/"),
     ("a.example", "GET", "https://b.a.example/"), ("*.a.example", "GET", "https://a.example/"),
     ("*.a.example", "GET", "https://evila.example/"), ("a.example", "GET", "https://a.example.evil/"),
     ("https://a.example/*", "GET", "http://a.example:443/"), ("http://a.example:443/x", "GET", "https://a.example/x"),
     ("GET a.example/v1/*", "POST", "https://a.example/v1/x"), ("GET a.example/v1/*", "GET", "https://a.example/v1"),
     ("GET a.example/v1/*", "GET", "https://a.example/v10/x"), ("a.example/x", "GET", "https://a.example/x/"),
     ("a.example/v1/*", "GET", "https://a.example/v1/%2E%2E/y"), ("a.example/v1/*", "GET", "https://a.example/v1/..;x/y"),
     ("a.example/v1/*", "GET", "https://a.example/v1/%c0%ae%c0%ae/admin"), ("a.example/v1/*", "GET", "https://a.example/v1/..%c0%afadmin"),
     ("a.example/v1/*", "GET", "https://a.example/v1/a;b/c"), ("a.example/v1/*", "GET", "https://a.example/v1/a%3Bb"),
     ("a.example/v1/*", "GET", "https://a.example/v1/%ff"), ("a.example/v1/*", "GET", "https://a.example/v1/..%09/y"),
     ("a.example/v1/*", "GET", "https://a.example/v1/%u002e%u002e/y"), ("a.example/v1/*", "GET", "https://a.example/v1/%/y"),
     ("a.example/v1/*", "GET", "https://a.example/v1/%ef%bc%8e%ef%bc%8e/y"), ("a.example/v1/*", "GET", "https://a.example/v1/%e2%80%a5/y"),
     ("a.example/v1/*", "GET", "https://a.example/v1/..%ef%bc%8fy"), ("a.example/v1/*", "GET", "https://a.example/v1/.%e2%80%8b./y"),
     ("a.example/v1/*", "GET", "https://a.example/v1/a%00"), ("1.2.3.4:80", "GET", "http://1.2.3.5/")],
)  # fmt: skip
def test_and_nothing_beside_it(line: str, method: str, url: str) -> None:
    assert not takes(line, method, url)


@pytest.mark.parametrize(
    "line",
    ["", "*", "*.com", "*.*.a.example", "a*.example", "ftp://a.example", "a.example:0", "a.example:99999",
     "a example", "get a.example", "CONNECT a.example", "a.example/a*b", "a.example/../x",
     "a.example/%2e%2e/x", "a.example?x", "a.example#x", "u:p@a.example",
     "127.1", "a.example with", "a.example with k in cookie",
     "ä.example", "a.example\nb.example", "https://", "a.example with k,", "//a.example", "x" * 600],
)  # fmt: skip
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(line)


def test_a_secret_says_where_it_goes() -> None:
    line = parse("POST https://a.example/pay with key, other in query , third in body")
    assert line.secrets == (Carried("key", "header"), Carried("other", "query"), Carried("third", "body"))
    reach = Destinations((line,)).of_request("POST", fetch.place("https://a.example/pay"))
    assert Carried("key", "header") in reach.carried
    assert not Destinations((line,)).of_request("GET", fetch.place("https://a.example/pay")).carried


def test_tls_is_read_only_where_a_line_needs_it() -> None:
    lines = Destinations.of(
        ["a.example", "b.example", "GET b.example/x", "c.example/* with key", "c.example:8443"]
    )
    read = {
        host: lines.reads(fetch.place(f"https://{host}/"))
        for host in ("a.example", "b.example", "c.example:8443")
    }
    assert read == {"a.example": False, "b.example": True, "c.example:8443": True}


@given(st.text(max_size=60))
def test_any_text_is_a_line_or_is_refused(text: str) -> None:
    try:
        line = parse(text)
    except ValueError:
        return
    assert line.text == text and line.host and 0 < line.port < 65536


@given(st.from_regex(r"/[a-z.%2eEfF/;\\]{0,30}", fullmatch=True))
def test_no_path_climbs_out_of_its_prefix(path: str) -> None:
    """However it is written: what is taken, a server that resolves dots still finds below the prefix."""
    try:
        where = fetch.place("https://a.example/v1" + path)
    except Refused:
        return
    if parse("a.example/v1/*").takes("GET", where):
        assert where.path.startswith("/v1/") and ".." not in where.path.replace("...", "").lower().replace(
            "%2e", "."
        ).split("/")
