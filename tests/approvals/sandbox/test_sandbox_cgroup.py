"""Where a cgroup may be made, read from what the kernel tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from approvals.sandbox import SandboxUnavailable, cgroup


def mount_v1(top: Path) -> str:
    return "".join(
        f"3{n} 30 0:3{n} / {top}/{name} rw,relatime - cgroup cgroup rw,{name}\n"
        for n, name in enumerate(("memory", "pids", "cpuacct"))
    )


def mount_v2(top: Path, root: str = "/") -> str:
    return f"30 25 0:27 {root} {top} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"


def make_v2(folder: Path, *, control: str) -> None:
    folder.mkdir(parents=True)
    (folder / "cgroup.subtree_control").write_text(control)


def test_v1_folders_are_our_own(tmp_path: Path) -> None:
    for name in ("memory/a/b", "pids", "cpuacct"):
        (tmp_path / name).mkdir(parents=True)
    place = cgroup.find(
        mountinfo=mount_v1(tmp_path), membership="4:memory:/a/b\n8:pids:/\n2:cpuacct:/\n0::/\n"
    )
    assert place == cgroup.Place(
        1,
        (("memory", tmp_path / "memory/a/b"), ("pids", tmp_path / "pids"), ("cpuacct", tmp_path / "cpuacct")),
    )


def test_v2_takes_our_own_group_where_it_hands_out_controllers(tmp_path: Path) -> None:
    make_v2(tmp_path / "top" / "service", control="cpu memory pids\n")
    place = cgroup.find(mountinfo=mount_v2(tmp_path / "top"), membership="0::/service\n")
    assert (place.version, place.distinct()) == (2, [tmp_path / "top" / "service"])


def test_v2_takes_the_parent_of_a_group_that_only_holds_processes(tmp_path: Path) -> None:
    make_v2(tmp_path / "top" / "service", control="memory pids\n")
    (tmp_path / "top" / "service" / "main").mkdir()
    place = cgroup.find(mountinfo=mount_v2(tmp_path / "top"), membership="0::/service/main\n")
    assert place.distinct() == [tmp_path / "top" / "service"]


def test_v2_follows_the_mounts_root(tmp_path: Path) -> None:
    make_v2(tmp_path / "top" / "inner", control="memory pids\n")
    place = cgroup.find(
        mountinfo=mount_v2(tmp_path / "top", "/machine/x"), membership="0::/machine/x/inner\n"
    )
    assert place.distinct() == [tmp_path / "top" / "inner"]


def test_a_group_without_controllers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    with pytest.raises(SandboxUnavailable, match="not delegated"):
        cgroup.find(mountinfo=mount_v2(tmp_path), membership="0::/service\n")


def test_no_cgroup_at_all_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="no cgroup"):
        cgroup.find(mountinfo="22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", membership="")
