"""`auto` picks the fastest precision that artifact, engine and CPU have, and says why."""

import pytest

from ssd_resnet34.errors import UnsupportedPrecision, UsageError
from ssd_resnet34.runtime import cpu
from ssd_resnet34.runtime.precision import ArtifactPrecision, check_artifact, choose, preferred

ALL = {"fp32": "", "bf16": "", "fp16": "", "int8": ""}
NO_BF16 = ALL | {"bf16": "it has none"}


def on(monkeypatch: pytest.MonkeyPatch, *features: str, vendor: str = "AuthenticAMD") -> None:
    monkeypatch.setattr(cpu, "features", lambda: frozenset(features))
    monkeypatch.setattr(cpu, "vendor", lambda: vendor)


@pytest.mark.parametrize(
    ("features", "artifact", "table", "want", "reason"),
    [
        (("avx512_vnni",), "int8", ALL, "int8", "the artifact is int8"),
        (("avx2",), "int8", ALL, "int8", "no 8-bit dot products"),
        (("avx512_vnni", "avx512_bf16"), "fp32", ALL, "bf16", "bf16 is fast here"),
        (("avx2",), "fp32", ALL, "fp32", "bf16 is not faster"),
        (("avx512_bf16",), "fp32", NO_BF16, "fp32", "it has none"),
    ],
)
def test_auto_is_the_fastest_that_all_three_have(
    monkeypatch: pytest.MonkeyPatch,
    features: tuple[str, ...],
    artifact: ArtifactPrecision,
    table: dict[str, str],
    want: str,
    reason: str,
) -> None:
    on(monkeypatch, *features)
    choice = choose("auto", artifact, "an engine", table)
    assert choice.precision == want
    assert reason in choice.reason


def test_on_a_gpu_auto_is_bf16_whatever_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch)
    assert choose("auto", "fp32", "torch", ALL, "cuda").precision == "bf16"


def test_a_gpu_without_bf16_gets_fp16_and_a_cpu_never(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch)
    choice = choose("auto", "fp32", "torch", NO_BF16, "cuda:1")
    assert (choice.precision, choice.reason) == ("fp16", "the artifact is fp32; it has none")
    assert choose("auto", "fp32", "torch", NO_BF16, "cpu").precision == "fp32"
    neither = NO_BF16 | {"fp16": "none either"}
    assert choose("auto", "fp32", "torch", neither, "cuda").precision == "fp32"


@pytest.mark.parametrize(
    ("features", "want"),
    [
        (("avx512_vnni", "avx512_bf16"), "int8"),
        (("avx_vnni",), "int8"),
        (("asimddp",), "int8"),
        (("avx512_bf16",), "bf16"),
        (("avx2",), "fp32"),
    ],
)
def test_the_preferred_precision_follows_the_cpu(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...], want: str
) -> None:
    on(monkeypatch, *features)
    assert preferred().precision == want


def test_what_is_asked_for_is_given_or_refused_never_replaced() -> None:
    assert choose("bf16", "fp32", "an engine", ALL).precision == "bf16"
    with pytest.raises(UnsupportedPrecision, match="in bf16: it has none; it can run in fp32"):
        choose("bf16", "fp32", "an engine", NO_BF16)
    with pytest.raises(UnsupportedPrecision, match="does not know it"):
        choose("auto", "int8", "an engine", {"fp32": ""})


@pytest.mark.parametrize(
    ("precision", "artifact", "mend"),
    [
        ("fp32", "int8", "precision int8 or auto, or give the fp32 weights"),
        ("bf16", "int8", "precision int8 or auto, or give the fp32 weights"),
        ("fp16", "int8", "precision int8 or auto, or give the fp32 weights"),
        ("int8", "fp32", r"compile --calibrate"),
    ],
)
def test_a_precision_that_the_artifact_cannot_have_names_the_mend(
    precision: str, artifact: ArtifactPrecision, mend: str
) -> None:
    with pytest.raises(UnsupportedPrecision, match=mend):
        check_artifact(precision, artifact)


def test_an_unknown_precision_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'int4' is unknown; use auto, fp32, bf16, fp16, int8"):
        check_artifact("int4", "fp32")
