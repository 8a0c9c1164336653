"""The report for people: whole, closed to the world, honest about what is missing."""

import base64
import io
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import opened
from full_disk import full_disk
from html_reading import Reader, strict
from small_set import CAT, DOG, KITE, data_set, draw_images, found, truth
from ssd_resnet34.errors import MissingExtra, OutputError, UsageError
from ssd_resnet34.evaluation import dataset as datasets
from ssd_resnet34.evaluation import page, report
from ssd_resnet34.evaluation.bootstrap import Interval
from ssd_resnet34.evaluation.coco import evaluate
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.gallery import SIDE

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HOSTILE = (
    "</style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}\n\udce9\u202e"
)
SETTING = report.Setting(
    "Evaluation of embedded", "ssd-resnet34 eval a b --report c.html", {"Python": "3.11"}
)
TRUTHS = [
    truth(1, 1, CAT, 0),
    truth(2, 1, DOG, 1),
    truth(3, 1, KITE, 2, ignore=1),
    truth(4, 2, KITE, 0),
    truth(5, 2, CAT, 5, iscrowd=1),
]
RESULTS = [
    found(1, CAT, 0, 0.9),
    found(1, CAT, 1, 0.8),
    found(2, KITE, 0, 0.7),
    found(2, DOG, 9, 0.6),
    found(2, DOG, 10, 0.1),
]

Write = Callable[..., bytes]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(dataset, results)`` -> the page."""

    def call(
        dataset: Dataset,
        results: Sequence[dict[str, Any]],
        *,
        folder: Path | None = None,
        setting: report.Setting = SETTING,
        categories: Sequence[int] | None = None,
        **options: Any,
    ) -> bytes:
        evaluation = evaluate(dataset, results, category_ids=categories)
        path = tmp_path / "report.html"
        report.write(path, dataset, results, evaluation, setting, folder=folder, **options)
        return path.read_bytes()

    return call


def rows(reader: Reader, caption: str) -> list[list[str]]:
    """The cells of each row of the table with that caption, without its head."""
    elements = reader.elements
    start = next(
        n for n, one in enumerate(elements) if one.tag == "caption" and caption in one.text
    )
    cells: list[list[str]] = []
    for one in elements[start:]:
        if one.tag == "table":
            break
        if one.tag == "tr":
            cells.append([])
        elif one.tag in ("th", "td"):
            cells[-1].append(one.text)
    has_head = any(one.tag == "thead" for one in elements[start : start + 3])
    return cells[has_head:]


def pictures(reader: Reader) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(one.attributes["src"].split(",", 1)[1])))
        for one in reader.all("img")
    ]


class TestNumbers:
    def test_the_twelve_numbers_are_the_evaluation_s_with_their_intervals(
        self, write: Write
    ) -> None:
        dataset = data_set(TRUTHS)
        numbers = evaluate(dataset, RESULTS).scores.numbers
        intervals = {"AP": Interval(0.123, 0.987)}
        reader = strict(write(dataset, RESULTS, intervals=intervals))
        interval = "0.123 to 0.987"
        shown = [(name, value) for name, value, _ in rows(reader, "twelve numbers")]
        assert shown == [
            (name, page.number(value) + (interval if name == "AP" else ""))
            for name, value in numbers.items()
        ]

    def test_counts_are_those_of_the_verdicts(self, write: Write) -> None:
        reader = strict(write(data_set(TRUTHS), RESULTS))
        tiles = {
            name.text: value.text
            for name, value in zip(reader.all("dt"), reader.all("dd"), strict=True)
        }
        assert tiles["Found"] == "2of 3 objects"
        assert tiles["Another class"] == "1objects"
        assert tiles["Missed"] == "0objects"
        assert tiles["Invented"] == "1detections"
        assert (tiles["Misplaced"], tiles["Once more"]) == ("0objects", "0detections")
        assert tiles["Best F1"] == "0.667scores over 0.650"
        assert tiles["Precision, recall"] == "0.67, 0.67at the best F1"

    def test_the_threshold_decides_what_is_invented_and_not_what_ap_is(self, write: Write) -> None:
        low, high = (
            strict(write(data_set(TRUTHS), RESULTS, threshold=threshold))
            for threshold in (0.05, 0.3)
        )
        assert "2detections" in [one.text for one in low.all("dd")]
        assert rows(low, "twelve numbers") == rows(high, "twelve numbers")

    def test_sizes_count_what_is_scored(self, write: Write) -> None:
        """Boxes of 40×40 are medium; ignored and crowds are none, and one category is left out."""
        reader = strict(write(data_set(TRUTHS), RESULTS, categories=[CAT, DOG]))
        assert [cells[1] for cells in rows(reader, "by the size")] == ["0", "2", "0"]

    def test_confusion_is_told_in_words_and_as_a_matrix(self, write: Write) -> None:
        reader = strict(write(data_set(TRUTHS), RESULTS))
        assert rows(reader, "another class, the") == [["dog", "cat", "1", "100.0 %"]]
        assert rows(reader, "Missed and invented") == [["dog", "0", "0.0 %", "1"]]
        assert rows(reader, "Rows: what is there") == [
            ["cat", "1", "·", "·", "·"],
            ["dog", "1", "·", "·", "·"],
            ["kite", "·", "·", "1", "·"],
            ["background", "·", "1", "·", "·"],
        ]

    def test_classes_come_best_first_and_unlabelled_ones_last(self, write: Write) -> None:
        only = [one for one in TRUTHS if one["category_id"] != KITE]
        table = rows(strict(write(data_set(only), RESULTS)), "Every class")
        assert [cells[:2] for cells in table] == [["cat", "1"], ["dog", "1"], ["kite", "0"]]
        assert table[-1][2] == "–"


class TestCurves:
    def test_a_perfect_class_runs_along_the_top(self, write: Write) -> None:
        dataset = data_set([truth(1, 1, CAT, 0)], labels=["cat"])
        reader = strict(write(dataset, [found(1, CAT, 0, 0.9)]))
        (line,) = reader.all("polyline")
        points = [
            tuple(map(float, point.split(","))) for point in line.attributes["points"].split()
        ]
        assert len(points) == 101
        assert len({y for _, y in points}) == 1
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        assert rows(reader, "Precision at IoU 0.5") == [["cat, AP50 1.000", *["1.000"] * 11]]

    def test_the_mean_is_drawn_with_the_chosen_classes(self, write: Write) -> None:
        reader = strict(write(data_set(TRUTHS), RESULTS, curves=["kite"]))
        labels = [cells[0].split(",")[0] for cells in rows(reader, "Precision at IoU 0.5")]
        assert labels == ["mean of all classes", "kite"]
        assert len(reader.all("polyline")) == 2

    @pytest.mark.parametrize(
        ("curves", "complaint"),
        [
            (["bird"], "'bird' was not scored; give some of cat, dog, kite"),
            (["cat"] * 6, "at most 5"),
        ],
    )
    def test_curves_that_cannot_be_are_refused(
        self, write: Write, curves: list[str], complaint: str
    ) -> None:
        with pytest.raises(UsageError, match=complaint):
            write(data_set(TRUTHS), RESULTS, curves=curves)


class TestStrictness:
    def test_hostile_names_stay_text(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS, names=[HOSTILE, "two.png"], labels=[HOSTILE, "dog", "kite"])
        setting = report.Setting(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])
        data = write(dataset, RESULTS, setting=setting, folder=tmp_path)
        reader = strict(data)
        shown = (
            HOSTILE.replace("\n", "\\n").replace("\udce9", "\\udce9").replace("\u202e", "\\u202e")
        )
        assert reader.all("title")[0].text == shown
        assert any(shown in one.text for one in reader.all("h4") + reader.all("li"))
        assert b"49" not in re.findall(rb"<h1>.*?</h1>", data, re.S)[0]

    def test_the_same_input_gives_the_same_bytes(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        folder = draw_images(tmp_path, dataset)
        assert write(dataset, RESULTS, folder=folder) == write(dataset, RESULTS, folder=folder)

    def test_nothing_in_the_page_names_another_place(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        data = write(dataset, RESULTS, folder=draw_images(tmp_path, dataset))
        text = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data)
        assert b"//" not in text
        assert b"@import" not in text

    def test_the_command_and_the_facts_are_there(self, write: Write) -> None:
        reader = strict(write(data_set(TRUTHS), RESULTS))
        assert reader.all("pre")[0].text == SETTING.command
        assert rows(reader, "Versions and options") == [["Python", "3.11"]]

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        target = tmp_path / "none" / "report.html"
        with pytest.raises(UsageError, match="existing folder"):
            report.write(target, dataset, [], evaluate(dataset, []), SETTING, folder=None)

    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        target = tmp_path / "report.html"
        with full_disk(), pytest.raises(OutputError, match=r"report\.html.*free space"):
            report.write(target, dataset, [], evaluate(dataset, []), SETTING, folder=None)
        assert not list(tmp_path.iterdir())

    def test_without_jinja2_the_mend_is_named(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page._templates.cache_clear()
        monkeypatch.setitem(sys.modules, "jinja2", None)
        with pytest.raises(MissingExtra, match=r"pip install 'ssd-resnet34\[eval\]'"):
            write(data_set(TRUTHS), RESULTS)


class TestImages:
    def test_truth_and_detections_are_drawn_beside_each_other(
        self, write: Write, tmp_path: Path
    ) -> None:
        dataset = data_set(TRUTHS)
        reader = strict(write(dataset, RESULTS, folder=draw_images(tmp_path, dataset)))
        words = [one.attributes["alt"] for one in reader.all("img")]
        assert words == [
            "Truth in one.png: 1 cat, 1 dog, 1 kite (ignored)",
            "Detections in one.png: 2 cat",
            "Truth in two.png: 1 kite, 1 cat (crowd)",
            "Detections in two.png: 1 kite, 1 dog",
        ]
        truth_picture, drawn = (np.asarray(one, int) for one in pictures(reader)[2:])
        # The invented dog is at 50..90, 100..140: its frame, and grass in it and in the truth.
        assert np.abs(drawn[120, 48:54] - truth_picture[120, 48:54]).max() > 40
        assert np.abs(drawn[120, 60:80] - truth_picture[120, 60:80]).max() < 10

    def test_the_worst_image_comes_first_and_none_comes_twice(self, write: Write) -> None:
        dataset = data_set(
            [truth(1, 1, CAT, 0), truth(2, 2, CAT, 0), truth(3, 3, CAT, 0)], ["a", "b", "c"]
        )
        results = [found(2, CAT, 0, 0.9), found(2, DOG, 8, 0.9), found(3, CAT, 0, 0.9)]
        reader = strict(write(dataset, results))
        assert [one.text for one in reader.all("h4")] == ["a", "b", "c"]
        assert [one.text for one in reader.all("li") if "missed" in one.text] == ["cat missed"]

    def test_mistakes_of_one_kind_are_counted_and_not_repeated(self, write: Write) -> None:
        dataset = data_set([truth(n, 1, CAT, 2 * n) for n in (1, 2, 3)], ["a"])
        results = [found(1, DOG, 10, 0.5), found(1, DOG, 12, 0.75), found(1, KITE, 14, 0.9)]
        reader = strict(write(dataset, results))
        said = [one.text for one in reader.all("li")]
        assert [one for one in said if "missed" in one or "none is" in one] == [
            "3 × cat missed",
            "kite 0.90 where none is",
            "2 × dog up to 0.75 where none is",
        ]

    def test_pictures_are_bounded_in_number_and_size(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(
            [truth(n, n, CAT, n % 16) for n in range(1, 41)], [f"{n}.png" for n in range(1, 41)]
        )
        Image.effect_noise((2000, 1000), 90).convert("RGB").save(tmp_path / "1.png")
        for n in range(2, 41):
            (tmp_path / f"{n}.png").symlink_to(tmp_path / "1.png")
        results = [found(n, CAT, n % 16, 0.9) for n in range(1, 21)]
        data = write(dataset, results, folder=tmp_path)
        sizes = [one.size for one in pictures(strict(data))]
        assert len(sizes) == 24
        assert set(sizes) == {(SIDE, SIDE // 2)}
        assert len(data) < 4 << 20  # noise is what JPEG compresses worst

    def test_missing_and_damaged_images_are_told_of(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        draw_images(tmp_path, dataset)
        (tmp_path / "one.png").unlink()
        (tmp_path / "two.png").write_bytes((tmp_path / "two.png").read_bytes()[:90])
        reader = strict(write(dataset, RESULTS, folder=tmp_path))
        assert not reader.all("img")
        told = [one.text for one in reader.all("p") if "absent" in one.attributes.get("class", "")]
        assert "one.png: missing" in told[0]
        assert "Truth in one.png: 1 cat, 1 dog, 1 kite (ignored)." in told[0]
        assert "the PNG data are damaged" in told[1]

    def test_without_a_folder_the_words_remain(self, write: Write) -> None:
        data = write(data_set(TRUTHS), RESULTS)
        assert b"No picture: no folder of images was given." in data


class TestEdges:
    def test_no_predictions_at_all(self, write: Write, tmp_path: Path) -> None:
        dataset = data_set(TRUTHS)
        reader = strict(write(dataset, [], folder=draw_images(tmp_path, dataset)))
        assert "0of 3 objects" in [one.text for one in reader.all("dd")]
        assert "Detections in one.png: nothing" in [i.attributes["alt"] for i in reader.all("img")]
        assert rows(reader, "another class, the") == [["No object was."]]

    def test_one_class_only_has_no_mean(self, write: Write) -> None:
        dataset = data_set([truth(1, 1, CAT, 0)], labels=["cat"])
        reader = strict(write(dataset, [found(1, CAT, 0, 0.9)]))
        assert "1 object, 1 class" in next(one.text for one in reader.all("p"))
        assert "mean of all classes" not in "".join(reader.all("main")[0].words)

    def test_categories_without_objects_have_dashes_and_no_curve(self, write: Write) -> None:
        dataset = data_set(TRUTHS)
        reader = strict(write(dataset, RESULTS, categories=[DOG]))
        assert rows(reader, "Precision at IoU 0.5")[0][0] == "dog, AP50 0.000"
        nothing = data_set([truth(1, 1, CAT, 0, ignore=1)], labels=["cat"])
        reader = strict(write(nothing, []))
        assert "No class has an object to be found, so there is no curve." in [
            one.text for one in reader.all("p")
        ]
        assert rows(reader, "twelve numbers")[0][:2] == ["AP", "–"]

    def test_detections_of_other_categories_are_neither_counted_nor_drawn(
        self, write: Write, tmp_path: Path
    ) -> None:
        dataset = data_set(TRUTHS)
        folder = draw_images(tmp_path, dataset)
        reader = strict(write(dataset, RESULTS, folder=folder, categories=[CAT]))
        words = [one.attributes["alt"] for one in reader.all("img")]
        assert words == ["Truth in one.png: 1 cat", "Detections in one.png: 2 cat"]


def sample(results_of: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Any:
    dataset = datasets.read(SAMPLES / "scene.json")
    results = [one for annotation in dataset.annotations for one in results_of(dict(annotation))]
    return dataset, results


def test_a_browser_shows_it_without_complaint_at_any_width(write: Write, tmp_path: Path) -> None:
    """Phone and desk, light and dark; and with names that are as bad as names can be."""
    dataset, results = sample(
        lambda one: [one | {"score": 0.9 - 0.02 * one["id"]}] if one["id"] % 3 else []
    )
    bad = data_set(TRUTHS, names=["n" * 300, HOSTILE], labels=[HOSTILE, "w" * 200, "kite"])
    setting = report.Setting("t" * 300, "c" * 900, {"k" * 99: "v" * 400}, ["n" * 400])
    pages = [tmp_path / "scene.html", tmp_path / "bad.html"]
    pages[0].write_bytes(write(dataset, results, folder=SAMPLES, intervals={"AP": Interval(0, 1)}))
    pages[1].write_bytes(write(bad, RESULTS, setting=setting))
    with opened(tmp_path / "profile") as browser:
        for path in pages:
            backgrounds = set()
            for width in (390, 1280):
                for dark in (False, True):
                    view = browser.look(path, width, dark=dark)
                    assert view.complaints == []
                    assert view.requests == [path.as_uri()]
                    assert view.scroll_width <= width
                    assert view.broken_images == 0
                    assert view.unnamed == []
                    backgrounds.add(view.background)
            assert len(backgrounds) == 2, "one for light and one for dark"
            assert browser.print_pages(tmp_path / "a.pdf").startswith(b"%PDF")
