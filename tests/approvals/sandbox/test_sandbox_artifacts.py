"""What a job leaves in /out, and what of it is taken."""

from __future__ import annotations

import pytest

from approvals import sandbox
from approvals.sandbox import Job, Limits
from approvals.sandbox.artifacts import refusal


def leave(source: str, **limits: int) -> tuple[dict[str, bytes], dict[str, str]]:
    outcome = sandbox.run(Job(source="import os, socket\n" + source, limits=Limits(**limits)))
    assert outcome.status == 0, outcome.stderr
    return {item.name: item.content for item in outcome.artifacts}, dict(outcome.refused_artifacts)


def test_only_regular_files_with_one_name_are_taken() -> None:
    taken, refused = leave("""
open('good', 'w').write('x'); open('two', 'w'); os.link('two', 'names'); os.symlink('/etc/passwd', 'link')
os.mkfifo('pipe'); socket.socket(socket.AF_UNIX).bind('socket'); os.symlink('.', 'folder')
open('locked', 'w'); os.chmod('locked', 0); os.mkdir('shut'); os.chmod('shut', 0)
""")
    assert taken == {"good": b"x"}
    assert refused == {
        "two": "the file has several names",
        "names": "the file has several names",
        "link": "a link",
        "folder": "a link",
        "pipe": "not a regular file",
        "socket": "not a regular file",
        "locked": "Permission denied",
        "shut": "Permission denied",
    }


def test_files_in_folders_keep_their_path() -> None:
    taken, _ = leave("os.makedirs('a/b'); open('a/b/c.txt', 'w').write('1'); open('a/é.txt', 'w')")
    assert taken == {"a/b/c.txt": b"1", "a/é.txt": b""}


@pytest.mark.parametrize("mode", [0o400, 0o200, 0o100, 0o300, 0o600])
def test_a_folder_that_is_half_shut_costs_no_other_file(mode: int) -> None:
    taken, refused = leave(f"""
os.mkdir('a'); open('a/x', 'w').write('x'); os.mkdir('a/in')
open('good', 'w').write('1'); os.chmod('a', {mode})
""")
    assert taken == {"good": b"1"}
    assert set(refused.values()) == {"Permission denied"}
    assert {name.split("/")[0] for name in refused} == {"a"}


def test_where_the_folder_itself_is_shut_the_run_goes_on() -> None:
    for mode in (0, 0o400, 0o100):
        taken, refused = leave(f"open('x', 'w').write('x'); os.chmod('.', {mode})")
        assert (taken, set(refused.values())) == ({}, {"Permission denied"})


def test_a_deep_tree_is_refused_and_done_with() -> None:
    taken, refused = leave("for n in range(3000): os.mkdir('d'); os.chdir('d')\nopen('end', 'w')")
    assert taken == {}
    assert list(refused.values()) == ["folders are nested too deep"]


def test_the_sum_of_bytes_is_bounded() -> None:
    taken, refused = leave("for n in 'abc': open(n, 'w').write('x' * 40)", artifact_bytes=100)
    assert sorted(taken) == ["a", "b"]
    assert refused == {"c": "more than 100 bytes of artifacts"}


def test_what_fits_exactly_is_taken() -> None:
    taken, refused = leave("for n in 'ab': open(n, 'w').write('x' * 50)", artifact_bytes=100, artifacts=2)
    assert (sorted(taken), refused) == (["a", "b"], {})


def test_an_empty_file_counts_as_one_and_takes_no_room() -> None:
    taken, refused = leave(
        "open('a', 'w').write('x'); open('b', 'w'); open('c', 'w')", artifact_bytes=1, artifacts=2
    )
    assert (taken, refused) == ({"a": b"x", "b": b""}, {"c": "more than 2 artifacts"})


def test_the_list_of_refusals_is_bounded() -> None:
    taken, refused = leave("for n in range(500): open(f'{n:04}', 'w')", artifacts=3)
    assert sorted(taken) == ["0000", "0001", "0002"]
    assert refused.pop("…") == "433 more refused"
    assert len(refused) == 64


def test_a_sparse_file_is_measured_by_what_it_claims() -> None:
    taken, refused = leave("open('holes', 'w').truncate(60 << 20)")
    assert (taken, list(refused)) == ({}, ["holes"])


def test_a_swap_while_files_are_taken_cannot_win() -> None:
    source = """
open('swap', 'w').write('mine'); os.symlink('/etc/passwd', '/tmp/link')
for _ in range(4):
    if not os.fork():
        os.setsid()
        while True:
            try:
                os.symlink('/etc/passwd', 'next'); os.rename('next', 'swap')
                open('next', 'w').write('mine'); os.rename('next', 'swap')
            except OSError: pass
"""
    for _ in range(10):
        taken, _refused = leave(source)
        assert set(taken.values()) <= {b"mine", b""}


def test_what_was_written_before_the_end_by_a_limit_is_kept() -> None:
    source = "open('part', 'w').write('so far')\nwhile True: pass"
    outcome = sandbox.run(Job(source=source, limits=Limits(wall_seconds=0.4)))
    assert (outcome.ended, [item.content for item in outcome.artifacts]) == ("wall", [b"so far"])


@pytest.mark.parametrize("name", ["a", "report 2.csv", "a/b/c", "Größe (1).txt", "हिन्दी.txt", "_x", "1"])
def test_plain_names_are_taken(name: str) -> None:
    assert refusal(name.encode()) is None


@pytest.mark.parametrize(
    "name",
    [
        *(
            b"",
            b"-rf",
            b".hidden",
            b"..",
            b"a/../b",
            b"/a",
            b"a//b",
            b" ",
            b"a ",
            b"a.",
            b"a\\b",
            b"a\nb",
            b"a\x1bb",
        ),
        *(b"a\xff", b"CON", b"nul.txt", b"com1", b"a:b", b"a*", b"<b>", b"x" * 129, b"a/" + b"\xff"),
        b"/".join([b"x" * 100] * 3),
        *(text.encode() for text in ("a\u202eb", "e\u0301a\u200b", "cafe\u0301", "a\u2028b", "\ufeffa")),
    ],
)
def test_names_that_could_harm_elsewhere_are_refused(name: bytes) -> None:
    assert refusal(name)
