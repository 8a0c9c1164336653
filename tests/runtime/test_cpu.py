"""Threads: affinity, control groups of both versions and CPU count; features by their names."""

import os
from pathlib import Path

import pytest

from ssd_resnet34.runtime import cpu


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "5:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/\n"}


@pytest.mark.parametrize(
    ("contents", "quota"),
    [
        ({}, None),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "max 100000\n"}, None),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "250000 100000\n"}, 2.5),
        (V2 | {"sys/fs/cgroup/user/cpu.max": "100000 100000\n"}, 1.0),
        (
            V2
            | {
                "sys/fs/cgroup/user/job/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/user/cpu.max": "300000 100000\n",
            },
            3.0,
        ),
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),  # a container's view
        ({"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        (V2 | {"sys/fs/cgroup/user/job/cpu.max": "rubbish"}, None),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            1.5,
        ),
        (
            V1
            | {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_the_tightest_control_group_counts(
    tmp_path: Path, contents: dict[str, str], quota: float | None
) -> None:
    assert cpu.cgroup_quota(files(tmp_path, contents)) == quota


@pytest.mark.parametrize(
    ("count", "affinity", "quota", "threads"),
    [
        (8, 8, "max", 8),
        (8, 3, "max", 3),
        (8, 8, "250000", 2),
        (2, 2, "800000", 2),
        (4, 4, "50000", 1),
    ],
)
def test_threads_are_the_least_of_the_three(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    affinity: int,
    quota: str,
    threads: int,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    root = files(tmp_path, V2 | {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    assert cpu.available_threads(root) == threads


def test_threads_work_where_there_is_no_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu.available_threads(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.available_threads(tmp_path) == 1


def test_features_are_read_from_x86_and_arm_listings(tmp_path: Path) -> None:
    x86 = tmp_path / "x86"
    x86.write_text("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16\n")
    arm = tmp_path / "arm"
    arm.write_text("processor : 0\nFeatures : fp asimd asimddp i8mm bf16\n")
    assert cpu._cpuinfo_flags(x86) == {"avx2", "avx512f", "avx512_vnni", "amx_bf16"}
    assert cpu._cpuinfo_flags(arm) == {"asimd", "asimddp", "i8mm", "bf16"}
    assert cpu._cpuinfo_flags(tmp_path / "missing") == frozenset()


def test_the_systems_features_agree_with_numpys() -> None:
    assert cpu.features() <= frozenset(cpu.FEATURES)
    assert cpu._numpy_flags() <= cpu.features()


@pytest.mark.parametrize(
    ("found", "vendor", "fast"),
    [
        ({"avx512_bf16"}, "AuthenticAMD", True),
        ({"avx512_bf16"}, "GenuineIntel", False),
        ({"avx512_bf16", "amx_bf16"}, "GenuineIntel", True),
        ({"bf16", "asimd"}, "", True),
        ({"avx2"}, "AuthenticAMD", False),
    ],
)
def test_bf16_is_fast_where_it_was_measured_to_be(found: set[str], vendor: str, fast: bool) -> None:
    assert cpu.has_fast_bf16(frozenset(found), vendor) is fast


def test_the_cpu_has_one_name() -> None:
    assert cpu.identity() == cpu.identity()
    assert len(cpu.identity()) == 16
    assert cpu.model_name()
