"""Published results beside a run: per unit, like with like, as a table and a picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssd_resnet34.mlperf import plot, unit
from ssd_resnet34.mlperf.job import Facts
from ssd_resnet34.mlperf.published import RESULTS, Kind, compare, place
from ssd_resnet34.mlperf.rounds import ROUNDS, Scenario


def facts(device: str = "cpu", threads: int = 4, streams: int = 1) -> Facts:
    return Facts(
        "mlcommons", "0" * 64, "openvino", "int8", device, threads, streams, 1, "", None, "a CPU"
    )


def test_throughput_is_compared_per_core_with_cpus_alone() -> None:
    rows = {row.result.system: row for row in compare("Offline", 4.28, "core", 4)}
    xeon = rows["2 Xeon 8380, OpenVINO"]
    assert xeon.each == pytest.approx(85.8 / 80)
    assert xeon.ratio == pytest.approx(1.07 / (85.8 / 80))
    assert rows["Furiosa Warboy"].ratio is None


def test_a_card_is_compared_per_accelerator() -> None:
    rows = {row.result.system: row for row in compare("Offline", 500, "accelerator", 1)}
    assert rows["8 NVIDIA A100-80G"].each == pytest.approx(7922.8 / 8)
    assert rows["8 NVIDIA A100-80G"].ratio == pytest.approx(500 / (7922.8 / 8))
    assert rows["2 Xeon 8380"].ratio is None


def test_latency_is_not_divided_and_less_is_faster() -> None:
    rows = compare("SingleStream", 205, "core", 8)
    (cpu,) = (row for row in rows if row.result.kind == "core")
    assert (cpu.value, cpu.each) == (102.5, 102.5)
    assert "(open)" in cpu.result.system  # no closed one of a CPU was published
    assert cpu.ratio == pytest.approx(0.5)  # half as fast
    latencies = [row.each for row in rows if row.result.kind == "accelerator"]
    assert latencies == sorted(latencies, reverse=True)  # the slowest first


@pytest.mark.parametrize(
    ("scenario", "value", "kind", "slower", "faster"),
    [
        ("Offline", 1.0, "core", "2 Xeon 8380", "2 Xeon 8380, Triton (fastest)"),
        ("Offline", 9.0, "core", "Xeon 8259CL, 16 vCPU, OpenVINO", "NVIDIA Xavier NX"),
        ("SingleStream", 200.0, "core", None, "Xeon 8259CL, 16 vCPU (open)"),
        ("SingleStream", 8.5, "accelerator", "Qualcomm AI 100", "NVIDIA T4"),
    ],
)
def test_a_run_stands_between_the_slower_and_the_faster_of_its_kind(
    scenario: Scenario, value: float, kind: Kind, slower: str | None, faster: str
) -> None:
    """CPUs are before accelerators; more samples are faster, and fewer milliseconds."""
    rows = compare(scenario, value, kind, 1)
    names = [None, *(row.result.system for row in rows)]
    there = 1 + place(rows, kind)
    assert names[there - 1 : there + 1] == [slower, faster]


def test_multistream_has_nothing_to_compare_with() -> None:
    assert compare("MultiStream", 500, "core", 2) == []


def test_the_yardstick_of_a_server_core_holds() -> None:
    """1.1 to 1.2 int8 samples a second of the better ones, a little less before."""
    cores = [row.each for row in compare("Offline", 1, "core", 1) if row.result.kind == "core"]
    assert min(cores) > 0.9
    assert max(cores) == pytest.approx(1.2)


def test_every_result_is_of_a_round_with_this_network() -> None:
    for one in RESULTS:
        assert one.round in ROUNDS
        assert one.units >= 1
        assert one.offline is not None or "(open)" in one.system


def test_a_cpu_counts_the_cores_that_its_threads_fill(tmp_path: Path) -> None:
    import os

    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no affinity here")
    for number in os.sched_getaffinity(0):
        place = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text("0-1\n")
    assert unit.of(facts(threads=4), tmp_path) == unit.Unit("core", 1)
    assert str(unit.of(facts(threads=4), tmp_path)) == "1 core"
    unknown = unit.of(facts(threads=4, streams=2), tmp_path / "nowhere")
    assert (unknown.kind, unknown.count) == ("core", 8)
    assert "a thread counts as a core" in unknown.note
    assert str(unknown) == "8 cores"


def test_a_card_is_one_accelerator() -> None:
    assert unit.of(facts("cuda")) == unit.Unit("accelerator", 1)


def test_the_picture_has_a_line_for_each_result_and_ours_in_blue(tmp_path: Path) -> None:
    rows = compare("Offline", 2.0, "core", 2)
    path = tmp_path / "a.png"
    plot.save(path, rows, ("this run", "core", 1.0), "Offline", ["a note"])
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[1] == plot.WIDTH
    blue = (np.abs(picture - (38, 110, 190)).sum(axis=2) < 30).sum()
    grey = (np.abs(picture - (120, 120, 128)).sum(axis=2) < 30).sum()
    assert blue > 100
    assert grey > len(rows) * 100
    more = plot.draw(rows[:5], ("this run", "core", 1.0), "Offline")
    assert more.height < picture.shape[0]


@pytest.mark.parametrize("value", [0.004, 1.0, 12345.0])
def test_a_result_far_from_the_others_is_inside_the_picture(value: float) -> None:
    rows = compare("SingleStream", value, "core", 1)
    picture = np.asarray(plot.draw(rows, ("this run", "core", value), "SingleStream")).astype(int)
    blue = np.argwhere(np.abs(picture - (38, 110, 190)).sum(axis=2) < 30)
    assert blue[:, 1].min() > 0
    assert blue[:, 1].max() < plot.WIDTH - 5
