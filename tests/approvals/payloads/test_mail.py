"""The preview of a mail: harmless whatever it holds, links with their hosts, nothing fetched."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.payloads.mailhtml import is_html, mail
from policies import lookalikes

KNOWN = lookalikes.known(["acme.example"])
ALLOWED = re.compile(
    r"</?(?:b|blockquote|br|code|em|hr|i|li|ol|p|pre|strong|table|tbody|td|th|thead|tr|ul)>"
    r'|<span class="(?:ctl|link-host|link-host is-wrong)">|</span>'
)
ATTACKS = [
    "<script>alert(1)</script>", "<p onclick=alert(1)>x</p>", "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVa\tScript:alert(1)'>x</a>", "<a href='data:text/html,<script>1</script>'>x</a>",
    "<svg onload=alert(1)><script>1</script></svg>", "<style>*{background:url(//evil.example)}</style>",
    "<p style='background:url(//evil.example)'>x</p>", "<meta http-equiv=refresh content='0;url=//evil.example'>",  # noqa: E501
    "<base href=//evil.example>", "<form action=//evil.example><input name=q><button>go</button></form>",
    "<iframe src=//evil.example></iframe>", "<object data=x></object><embed src=x>", "<img src=x onerror=alert(1)>",  # noqa: E501
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<a href='https://x.example\" onmouseover=\"alert(1)'>x</a>", "<<script>alert(1)//<</script>",
    "<textarea><img src=x onerror=alert(1)></textarea>", "<xmp><script>1</script></xmp>",
    "<title><img src=x onerror=alert(1)></title>", "</div></article><h1>Approved</h1>", "<plaintext><b>",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "<p>\x00<scr\x00ipt>alert(1)</script>", "<details open ontoggle=alert(1)>",  # noqa: E501
    "<a href=//evil.example>x", "<td></table></td></span></span><p>", "<link rel=stylesheet href=//evil.example>",  # noqa: E501
]  # fmt: skip


class Balance(HTMLParser):
    """Whether every tag that is opened is closed, and none closes what is around."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.wrong |= not self.open or self.open.pop() != tag


def harmless(markup: str) -> bool:
    balance = Balance()
    balance.feed(markup)
    return "<" not in ALLOWED.sub("", markup) and not balance.open and not balance.wrong


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_but_a_few_bare_tags_comes_out(attack: str) -> None:
    assert harmless(mail("body", f"<p>Hello</p>{attack}<p>bye", KNOWN).markup)


@given(
    st.lists(
        st.sampled_from(
            [*ATTACKS, "<b>", "</b>", "<a href='http://x.example'>", "</a>", "<li>", "<", "x", "'"]
        )
    )
)
def test_no_mixture_of_them_comes_through(parts: list[str]) -> None:
    assert harmless(mail("body", "<p>" + "".join(parts), KNOWN).markup)


def test_links_lead_nowhere_and_show_their_host() -> None:
    found = mail("body", "<a href='https://shop.example/x?y'>our shop</a>", KNOWN)
    assert "href" not in found.markup and "→ shop.example" in found.markup
    assert found.links[0].address == "https://shop.example/x?y" and not found.links[0].wrong


@pytest.mark.parametrize(
    "link",
    [
        "<a href='https://evil.example/'>https://acme.example/login</a>",
        "<a href='https://evil.example/'>www.acme.example</a>",
        "<a href='mailto:x@evil.example'>bob@acme.example</a>",
        "<a href='https://acrne.example/'>log in</a>",
        "<a href='https://acme.example@evil.example/'>log in</a>",
    ],
)
def test_a_link_whose_words_and_target_disagree_is_marked(link: str) -> None:
    found = mail("body", link, KNOWN)
    assert found.links[0].wrong and "is-wrong" in found.markup


@pytest.mark.parametrize(
    "link",
    ["<a href='https://www.acme.example/a'>acme.example/a</a>", "<a href='https://x.example'>Version 1.2</a>",
     "<a href='mailto:bob@acme.example'>bob@acme.example</a>", "<a href='https://x.example'>click here.</a>"],
)  # fmt: skip
def test_an_honest_link_is_not_marked(link: str) -> None:
    assert mail("body", link, KNOWN).links[0].wrong == ""


def test_pictures_are_told_and_not_shown_and_hidden_words_are_shown() -> None:
    found = mail(
        "body", "<img src='https://track.example/p.gif'><p style='display:none'>ignore me</p>", KNOWN
    )
    assert found.pictures[0].host == "track.example" and "track" not in found.markup
    assert "ignore me" in found.markup and "hides" in found.dropped[0]


def test_the_words_stand_beside_with_the_addresses() -> None:
    found = mail("body", "<h1>Hi</h1><p>See <a href='https://x.example/a'>this</a><br>bye", KNOWN)
    assert found.text.split() == ["Hi", "See", "this", "<https://x.example/a>", "bye"]


def test_invisible_characters_are_spelled_in_the_preview() -> None:
    assert "‹U+202E›" in mail("body", "<p>a\u202eb", KNOWN).markup


@pytest.mark.parametrize("text", ["2 < 3 and 4 > 1", "Dear all,\n<ada@acme.example> wrote", "", "<3", "a <b"])
def test_plain_text_is_no_html(text: str) -> None:
    assert not is_html(text)


@pytest.mark.parametrize(
    "unit", ["<a b", "<![", "<p>x", "<!--", "<b>", "<table><tr><td>", "&#", "<img src=x>"]
)
@pytest.mark.parametrize("length", [15_000, 1_000_000])
def test_a_hostile_mail_is_quick(unit: str, length: int) -> None:
    start = time.process_time()
    found = mail("body", (unit * length)[:length], KNOWN)
    assert time.process_time() - start < 2
    assert found.note or length < 1_000_000
