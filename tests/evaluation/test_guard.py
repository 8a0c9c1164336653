"""The guard: images that are held back, the bar, and layers that are bought until it is reached."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine, FakeRunner
from fake_network import fake_onnx
from quantized import numpy_ranges
from small_dataset import dataset
from small_network import pictures, small_onnx
from ssd_resnet34 import SSDResNet34, artifact
from ssd_resnet34.compiler.compilation import Calibrated
from ssd_resnet34.compiler.quantization import layers, quantize
from ssd_resnet34.compiler.sensitivity import LayerCost
from ssd_resnet34.errors import CalibrationError, MissingExtra, UsageError
from ssd_resnet34.evaluation import fidelity as fidelity_of
from ssd_resnet34.evaluation.agreement import NOTHING, Agreement
from ssd_resnet34.evaluation.fidelity import Fidelity
from ssd_resnet34.evaluation.guard import MOST_HELD_BACK, Bar, Judge, hold_back
from ssd_resnet34.runtime.engines import CompileRequest
from ssd_resnet34.vision.images import Image

INT8 = fake_onnx(precision="int8")


@pytest.mark.parametrize(
    ("count", "held"),
    [(0, []), (1, []), (2, [1]), (3, [2]), (5, [4]), (6, [4]), (9, [4]), (10, [4, 9])],
)
def test_each_fifth_image_is_held_back(count: int, held: list[int]) -> None:
    seen, kept = hold_back(range(count))
    assert kept == held
    assert seen == [n for n in range(count) if n not in held]


def test_no_more_are_held_back_than_are_needed() -> None:
    seen, held = hold_back(range(1000))
    assert len(held) == MOST_HELD_BACK
    assert sorted(seen + held) == list(range(1000))


def fidelity(
    share: float = 1.0,
    ap: tuple[float, float] | None = None,
    speed: float = 0.5,
    spread: tuple[float, float] | None = None,
) -> Fidelity:
    agreement = Agreement(1000, 1000, round(1000 * share), 1.0, 0.1)
    spread = spread or (speed, speed)
    return Fidelity(3, {"cls_0": 30.0}, agreement, speed, (speed, 1.0), spread, 7, ap, ap)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fidelity(), []),
        (fidelity(share=0.9), []),
        (fidelity(share=0.89), ["89.0 % of the detections agree with fp32, under 90 %"]),
        (fidelity(ap=(0.4, 0.398)), []),
        (fidelity(ap=(0.4, 0.3979)), ["AP 0.3979 is under 99.5 % of fp32's 0.4000"]),
        (fidelity(share=0.1, ap=(0.4, 0.4)), []),
        (fidelity(ap=(0.0, 0.0)), ["AP of fp32 is 0 on the images that judge, so they say"]),
        (
            fidelity(speed=1.5, spread=(1, 2)),
            ["int8 takes 1.50 of the time of float here (1.00 to 2.00 in 7 pairs of runs): no fas"],
        ),
        (fidelity(speed=5.8, spread=(0.9, 9)), []),  # noise refuses nothing
        (fidelity(share=0.5, speed=2), ["50.0 % of", "int8 takes 2.00 of"]),
    ],
)
def test_the_bar_is_average_precision_else_agreement_and_the_time(
    found: Fidelity, said: list[str]
) -> None:
    failures = Bar().failures(found)
    assert len(failures) == len(said)
    assert all(map(str.startswith, failures, said))


# ---------------------------------------------------------------- judging


def grey(shade: int) -> Image:
    return Image(np.full((60, 80, 3), shade, np.uint8), f"{shade}.png")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def model() -> SSDResNet34:
    return SSDResNet34(fake_onnx(), "fp32")


def test_float_is_opened_and_run_once_for_many_artifacts(
    model: SSDResNet34, engine: FakeEngine
) -> None:
    with Judge(model, [grey(9), grey(90)], engine=lambda: engine) as judge:
        first = judge.measure(INT8)
        assert (first.images, first.agreement.share) == (2, 1)
        assert len(engine.runs) == 3 + 3  # float and int8: to warm up, and two images
        judge.measure(INT8)
        assert len(engine.runs) == 3 + 3 + 3
        assert [one.precision for one in engine.requests] == ["int8", "fp32", "int8"]
        assert engine.closed == 2  # a candidate that is judged is released
    assert engine.closed == 3


def test_without_images_only_the_time_is_measured(model: SSDResNet34, engine: FakeEngine) -> None:
    with Judge(model, [], engine=lambda: engine) as judge:
        found = judge.measure(INT8)
    assert found.speed > 0
    assert (found.images, found.sqnr, found.agreement, found.ap) == (0, {}, NOTHING, None)
    assert Bar(agreement=1).missed(found) == []


def test_images_that_are_all_refused_judge_nothing(model: SSDResNet34, engine: FakeEngine) -> None:
    told: list[Any] = []
    with (
        Judge(model, [b"", b"junk"], engine=lambda: engine) as judge,
        pytest.raises(CalibrationError, match=r"all images of the check were refused.*--check"),
    ):
        judge.measure(INT8, told.append)
    assert len(told) == 2


def test_annotations_need_images(model: SSDResNet34, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"instances\.json: annotates no image.*--check"):
        Judge(model, [], truth=dataset(tmp_path))


def test_annotations_are_held_against_the_names_before_anything_runs(
    model: SSDResNet34, tmp_path: Path
) -> None:
    truth = dataset(tmp_path)
    name = truth.images[0]["file_name"]
    with pytest.raises(UsageError, match=r"has no object in the images that judge.*--check"):
        Judge(model, ["photos/other.jpg", grey(9)], truth=truth)
    Judge(model, ["photos/other.jpg", f"photos/{name}"], truth=truth)
    Judge(model, ["photos/other.jpg", b"whose name is not known yet"], truth=truth)


def test_annotations_need_pycocotools_before_anything_runs(
    model: SSDResNet34, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtra, match="needs pycocotools"):
        Judge(model, [grey(9)], truth=dataset(tmp_path))


class Ageing(FakeEngine):
    """The clock goes on by ``takes`` seconds a run, which may change while it is used."""

    def __init__(self, takes: dict[str, float]) -> None:
        super().__init__()
        self.takes, self.now = takes, 0.0

    def perf_counter(self) -> float:
        return self.now

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        class Runner(FakeRunner):
            def run(self, tensor: Any) -> Any:
                ageing = self.engine
                assert isinstance(ageing, Ageing)
                ageing.now += ageing.takes[self.request.precision]
                return super().run(tensor)

        return Runner(self, request)


def test_an_artifact_of_later_is_timed_beside_float_not_against_its_old_time(
    model: SSDResNet34, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float ran when the machine was idle; by the time of the second artifact it is not."""
    engine = Ageing({"fp32": 4, "int8": 1})
    monkeypatch.setattr(fidelity_of, "time", engine)
    ticks: list[None] = []
    with Judge(model, [grey(shade) for shade in range(9)], engine=lambda: engine) as judge:
        first = judge.measure(INT8)
        assert (first.speed, first.pairs) == (0.25, 9)
        engine.takes = {"fp32": 40, "int8": 20}
        later = judge.measure(INT8)
        assert later.speed == 5
        found = judge.timed(INT8, later, lambda: ticks.append(None))
    assert (found.speed, found.spread, found.seconds) == (0.5, (0.5, 0.5), (20, 40))
    assert found.pairs == len(ticks) == fidelity_of.PAIRS
    assert found.agreement == later.agreement


# ---------------------------------------------------------------- buying


SOURCE = small_onnx()
CALIBRATED = Calibrated(numpy_ranges(SOURCE, pictures(2)), {"calibration": "a test"})
LAYERS = layers(SOURCE)
FOR_SALE = [LayerCost(layer, 1.0 / n, 0.05) for n, layer in enumerate(LAYERS, 1)]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """A judge to whom the share of agreement is 0.5 and a twentieth more a float layer."""

    def measured(self: Judge, made: bytes, on_image: Any = None) -> Fidelity:
        kept = artifact.metadata(made)["keep_float"].split()
        return fidelity(share=0.5 + len(kept) / 20)

    def timed(self: Judge, made: bytes, found: Fidelity, on_pair: Any = None) -> Fidelity:
        return replace(found, pairs=99)

    monkeypatch.setattr(Judge, "measure", measured)
    monkeypatch.setattr(Judge, "timed", timed)
    with Judge(SSDResNet34(SOURCE, "fp32"), [grey(9)]) as judge:
        yield judge


@pytest.mark.parametrize(("agreement", "bought"), [(0.5, 0), (0.55, 1), (0.6, 2), (0.65, 4)])
def test_the_noisiest_layers_stay_float_twice_as_many_each_time(
    judged: Judge, agreement: float, bought: int
) -> None:
    verdict = judged.compile(CALIBRATED, Bar(agreement=agreement), for_sale=FOR_SALE)
    kept = sorted(LAYERS[:bought])
    assert list(verdict.kept) == kept
    assert verdict.artifact == quantize(
        SOURCE, CALIBRATED.ranges, keep_float=kept, facts=CALIBRATED.facts
    )
    shares = [one.agreement.share for one in verdict.runs]
    assert shares == [0.5, 0.5 + bought / 20][: 1 + bool(bought)]
    pairs = [one.pairs for one in verdict.runs]
    assert pairs == [7, 99][: 1 + bool(bought)]  # float did not run beside the second
    assert verdict.failures == ()


def test_half_of_the_layers_is_the_most_that_is_sold(judged: Judge) -> None:
    verdict = judged.compile(CALIBRATED, Bar(agreement=1), for_sale=FOR_SALE)
    assert len(LAYERS) == 17
    assert len(verdict.kept) == 8
    assert len(verdict.failures) == 1


def test_layers_that_were_asked_for_stay_float_in_any_case(judged: Judge) -> None:
    asked: Sequence[str] = ["loc_4", "loc_5"]
    verdict = judged.compile(CALIBRATED, Bar(agreement=0.5), keep_float=asked)
    assert list(verdict.kept) == asked
    assert len(verdict.runs) == 1
    verdict = judged.compile(CALIBRATED, Bar(agreement=0.65), keep_float=asked, for_sale=FOR_SALE)
    assert set(verdict.kept) == {*asked, LAYERS[0]}


def test_costs_are_of_the_first_image_that_can_be_read() -> None:
    model = SSDResNet34(SOURCE, "fp32")
    ticks: list[None] = []
    with Judge(model, [b"junk", grey(90)], threads=1) as judge:
        found = judge.costs(CALIBRATED.ranges, lambda: ticks.append(None))
    with Judge(model, [grey(90), grey(9)], threads=1) as other:
        assert other.costs(CALIBRATED.ranges) == found
    assert len(ticks) == len(found) == len(LAYERS)


def test_float_layers_are_heard_at_the_heads() -> None:
    model = SSDResNet34(SOURCE, "fp32")
    ranges = numpy_ranges(SOURCE, [model.preprocess(one).tensor for one in (grey(9), grey(200))])
    calibrated = Calibrated(ranges, {"calibration": "a test"})
    with Judge(model, [grey(9), grey(200)], engine="onnxruntime", threads=1) as judge:
        all_int8 = judge.compile(calibrated, Bar(agreement=0))
        block = judge.compile(calibrated, Bar(agreement=0), keep_float=["block"])
    assert block.kept == ("block.add", "block.conv1", "block.conv2")
    assert block.runs[0].sqnr["cls_0"] > all_int8.runs[0].sqnr["cls_0"] > 20
