"""The processor under this process: instruction sets, and how many threads it may use."""

import hashlib
import math
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

FEATURES: Final = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
"""Features that decide a precision or a speed, by their Linux names (the last five: ARM)."""

_INT8: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})

# macOS names of the ARM features.
_DARWIN: Final = {
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
}

# numpy's own detection names groups after the processor that introduced them.
_NUMPY: Final = {
    "AVX2": "avx2",
    "AVX512F": "avx512f",
    "AVX512_ICL": "avx512_vnni",
    "AVX512_SPR": "avx512_fp16",
    "ASIMD": "asimd",
    "ASIMDDP": "asimddp",
}


@cache
def features() -> frozenset[str]:
    """Those of :data:`FEATURES` that this CPU has and the operating system lets us use."""
    if sys.platform.startswith("linux"):
        found = _cpuinfo_flags(Path("/proc/cpuinfo"))
        if found:
            return found
    if sys.platform == "darwin":
        found = _sysctl_flags()
        if found:
            return found
    return _numpy_flags()


def has_int8(found: frozenset[str]) -> bool:
    """Whether 8-bit dot products exist (VNNI, AMX, or ARM's dot product): int8 then is fastest."""
    return bool(_INT8 & found)


def has_fast_bf16(found: frozenset[str], vendor: str) -> bool:
    """Whether bfloat16 is faster than float32 on this CPU, not only possible.

    AMX and ARM's BF16 are. AVX-512 BF16 is on AMD (measured: half the time of float32) and is not
    on Intel (measured on Sapphire Rapids with AMX hidden: twice the time of float32).
    """
    if "amx_bf16" in found or "bf16" in found:
        return True
    return "avx512_bf16" in found and vendor != "GenuineIntel"


@cache
def vendor() -> str:
    """``AuthenticAMD``, ``GenuineIntel``, … or "" where the system does not say."""
    return _cpuinfo_field(Path("/proc/cpuinfo"), "vendor_id")


@cache
def model_name() -> str:
    """The processor's name as the system gives it."""
    named = _cpuinfo_field(Path("/proc/cpuinfo"), "model name")
    return named or platform.processor() or platform.machine() or "unknown processor"


@cache
def identity() -> str:
    """A short name for this kind of CPU: what was compiled on one may not run on another."""
    text = "\n".join((platform.machine(), model_name(), *sorted(features())))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def available_threads(root: Path = Path("/")) -> int:
    """Threads worth starting: the least of CPU affinity, cgroup quota and CPU count, at least 1.

    A quota of 1.5 CPUs counts as 1: a thread more than the quota is throttled in the middle of a
    layer and all others wait for it. ``root`` holds ``proc`` and ``sys``.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        limits.append(len(os.sched_getaffinity(0)))
    quota = cgroup_quota(root)
    if quota is not None:
        limits.append(math.floor(quota))
    return max(1, min(limits))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control groups above this process allow together, or None for no limit.

    Reads version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``), each group up to the root:
    the tightest counts. Inside a container the group's own path may not be visible; the mount's
    root then is the container's group.
    """
    quotas: list[float] = []
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, group = parts
        path = PurePosixPath(group.lstrip("/"))
        if ".." in path.parts:  # the group lies outside our namespace: only the root is ours
            path = PurePosixPath()
        groups = (path, *path.parents)
        if not controllers:
            quotas += [q for g in groups if (q := _quota_v2(mount / g)) is not None]
        elif "cpu" in controllers.split(","):
            for name in (controllers, "cpu", "cpu,cpuacct"):
                quotas += [q for g in groups if (q := _quota_v1(mount / name / g)) is not None]
    return min(quotas, default=None)


def _quota_v2(group: Path) -> float | None:
    words = _read(group / "cpu.max").split()  # "150000 100000" or "max 100000"
    return _ratio(*words) if len(words) == 2 else None


def _quota_v1(group: Path) -> float | None:
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    try:
        part, whole = int(quota), int(period)
    except ValueError:  # "max", or no such file
        return None
    return part / whole if part > 0 and whole > 0 else None  # version 1 says -1 for no limit


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # absent on this system, or not ours to read: no limit known
        return ""


def _cpuinfo_field(path: Path, field: str) -> str:
    for line in _read(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _cpuinfo_flags(path: Path) -> frozenset[str]:
    text = _cpuinfo_field(path, "flags") or _cpuinfo_field(path, "Features")  # x86, ARM
    return frozenset(FEATURES) & frozenset(text.split())


def _sysctl_flags() -> frozenset[str]:
    try:
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-i", *_DARWIN],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):  # numpy's table is asked instead
        return frozenset()
    pairs = (line.partition(":") for line in answer.splitlines())
    return frozenset(_DARWIN[name] for name, _, on in pairs if name in _DARWIN and "1" in on)


def _numpy_flags() -> frozenset[str]:
    # numpy shows this table in show_config() only as text; the name of its module is private.
    table: dict[str, bool] = getattr(np._core._multiarray_umath, "__cpu_features__", {})  # type: ignore[attr-defined]
    return frozenset(ours for theirs, ours in _NUMPY.items() if table.get(theirs))
