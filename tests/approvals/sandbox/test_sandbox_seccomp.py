"""The filter decides as intended on both machines, whichever one the tests run on."""

from __future__ import annotations

import struct

import pytest

from approvals.sandbox import seccomp
from approvals.sandbox.job import SandboxUnavailable
from approvals.sandbox.syscalls import numbers

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = pytest.mark.parametrize("machine", sorted(ARCH))


def decide(machine: str, number: int, *arguments: int, arch: int | None = None, counted: bool = True) -> int:
    """Run the filter as the kernel would: classic BPF over struct seccomp_data."""
    code = list(struct.iter_unpack("=HBBI", seccomp.build(machine=machine, counted=counted)))
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *padded)
    at = accumulator = 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif op == 0x54:
            accumulator &= k
        elif op == 0x05:
            at += k
        elif op in (0x15, 0x35):
            hit = accumulator == k if op == 0x15 else accumulator >= k
            at += jump_true if hit else jump_false
        else:
            assert op == 0x06
            return k


@MACHINES
def test_only_listed_calls_are_allowed(machine: str) -> None:
    listed = set(numbers(machine=machine).values())
    for number in range(451):
        if number not in listed:
            assert decide(machine, number) == EPERM


@MACHINES
def test_every_listed_call_but_a_few_is_allowed_somehow(machine: str) -> None:
    arguments = {"clone": (17,), "socket": (1, 1), "prctl": (15,)}
    for name, number in numbers(machine=machine).items():
        wanted = ENOSYS if name == "clone3" or name.startswith("inotify_") else ALLOW
        assert decide(machine, number, *arguments.get(name, ())) == wanted, name


@MACHINES
def test_calls_of_the_future_do_not_exist(machine: str) -> None:
    assert decide(machine, 451) == decide(machine, 999) == ENOSYS


@MACHINES
def test_another_machines_calls_kill(machine: str) -> None:
    assert decide(machine, 20, arch=0x40000003) == KILL
    assert decide(machine, 0x40000000 + 39) == KILL


@MACHINES
@pytest.mark.parametrize(
    ("name", "arguments", "verdict"),
    [
        ("read", (), ALLOW),
        ("clone", (0x01200011,), ALLOW),
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (0x10000011,), EPERM),
        ("clone", (0x00020000,), EPERM),
        ("clone", (0x40000000 | 17,), EPERM),
        ("clone3", (), ENOSYS),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),
        ("ioctl", (0, 0x541C), EPERM),
        ("ioctl", (0, 0xFFFFFFFF00005412), EPERM),
        ("socket", (1, 1), ALLOW),
        ("socket", (2, 0x80801), ALLOW),
        ("socket", (10, 2, 17), ALLOW),
        ("socket", (2, 3, 1), EPERM),
        ("socket", (2, 1, 132), EPERM),
        ("socket", (16, 3, 0), ALLOW),
        ("socket", (16, 3, 4), EPERM),
        ("socket", (40, 1), EPERM),
        ("socket", (17, 3, 768), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (22, 2), EPERM),
        ("prctl", (4, 1), ALLOW),
        ("prctl", (4, 0), EPERM),
        ("prctl", (4, 2), EPERM),
        ("clone", (0x400 | 17,), EPERM),
        ("clone", (0x4100 | 17,), ALLOW),
        ("clone", (0x10000000 | 0x3D0F00,), EPERM),
        ("clone", (0x3D0F00 & ~0x400,), EPERM),
        ("close_range", (3, 9, 0), ALLOW),
        ("close_range", (3, 9, 2), EPERM),
        ("close_range", (3, 9, 6), EPERM),
        ("setsockopt", (3, 6, 14), EPERM),
        ("prctl", (0x53564D41,), EPERM),
        ("fcntl", (3, 37), EPERM),
        ("fcntl", (3, 38), EPERM),
        ("fcntl", (3, 1024), EPERM),
        ("fcntl", (3, 1026), EPERM),
        ("fcntl", (3, 6), ALLOW),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 3, 0x21), ALLOW),
        ("mmap", (0, 4096, 3, 0x40022), EPERM),
        ("memfd_create", (0, 5), EPERM),
        ("memfd_create", (0, 3), ALLOW),
        ("setsockopt", (3, 1, 26), EPERM),
        ("setsockopt", (3, 1, 50), EPERM),
        ("setsockopt", (3, 1, 51), EPERM),
        ("setsockopt", (3, 1, 52), EPERM),
        ("setsockopt", (3, 1, 2), ALLOW),
        ("setsockopt", (3, 0, 35), EPERM),
        ("setsockopt", (3, 0, 26), ALLOW),
        ("setsockopt", (3, 41, 20), EPERM),
        ("setsockopt", (3, 41, 42), EPERM),
        ("setsockopt", (3, 41, 26), ALLOW),
        ("setsockopt", (3, 6, 1), ALLOW),
        ("prlimit64", (0,), ALLOW),
        ("prlimit64", (1,), EPERM),
        ("setpriority", (0, 0), ALLOW),
        ("setpriority", (0, 1), EPERM),
        ("setpriority", (2, 0), EPERM),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], verdict: int) -> None:
    assert decide(machine, numbers(machine=machine)[name], *arguments) == verdict


@MACHINES
def test_unmapped_memory_is_for_tiers_that_count_it(machine: str) -> None:
    number = numbers(machine=machine)["memfd_create"]
    assert decide(machine, number) == ALLOW
    assert decide(machine, number, counted=False) == EPERM


@MACHINES
def test_socket_buffers_stay_small_where_they_are_not_counted(machine: str) -> None:
    number = numbers(machine=machine)["setsockopt"]
    assert decide(machine, number, 3, 1, 7) == ALLOW
    assert decide(machine, number, 3, 1, 7, counted=False) == EPERM
    assert decide(machine, number, 3, 1, 2, counted=False) == ALLOW
    assert decide(machine, number, 3, 6, 8, counted=False) == ALLOW


@MACHINES
def test_pipes_stay_small_where_they_are_not_counted(machine: str) -> None:
    number = numbers(machine=machine)["fcntl"]
    assert decide(machine, number, 3, 1031, 1 << 20) == ALLOW
    assert decide(machine, number, 3, 1031, 1 << 20, counted=False) == EPERM
    assert decide(machine, number, 3, 1, counted=False) == ALLOW


@MACHINES
@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (0x21, EPERM),
        (0x23, EPERM),
        (0x22, ALLOW),
        (0x01, ALLOW),
        (0x02, ALLOW),
        (0x4022, ALLOW),
        (0x40022, EPERM),
    ],
)
def test_nameless_shared_memory_is_for_tiers_that_count_it(machine: str, flags: int, verdict: int) -> None:
    assert decide(machine, numbers(machine=machine)["mmap"], 0, 4096, 3, flags, counted=False) == verdict


@MACHINES
def test_filters_on_sockets_are_refused_where_memory_is_not_counted(machine: str) -> None:
    number = numbers(machine=machine)["setsockopt"]
    assert decide(machine, number, 3, 1, 26, counted=False) == EPERM
    assert decide(machine, number, 3, 41, 20, counted=False) == EPERM


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.build(machine="riscv64", counted=True)
