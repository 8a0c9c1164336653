"""The recipe of the next embedded weights: its sources, what a tar may put where, its rates."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from fake_scenes import FakeRenderer
from full_disk import full_disk
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import OutputError
from ssd_resnet34.training import held_out, next_embedded
from ssd_resnet34.training.data.reading import read
from ssd_resnet34.training.fitting.journal import STEPS
from ssd_resnet34.training.next_embedded import (
    PLAN,
    TRIAL,
    Plan,
    extracted,
    rates,
    rendered,
    shared_labels,
    sources,
)


def test_the_recipe_ends_at_the_size_that_the_network_is_used_at() -> None:
    sizes = [stage.recipe.size for stage in PLAN.stages]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 1200
    assert len({stage.name for stage in (*PLAN.stages, *TRIAL.stages)}) == len(sizes) + 2


def test_voc_and_coco_share_20_classes() -> None:
    assert len(shared_labels()) == 20
    assert shared_labels() < set(COCO.labels)


def test_only_plain_files_of_a_tar_are_taken(tmp_path: Path) -> None:
    (tmp_path / "voc2007").mkdir()
    with tarfile.open(tmp_path / "voc2007" / "train-00.tar", "w") as tar:
        for name in ("000001.jpg", "../outside.jpg", "deep/000002.jpg", "/tmp/absolute.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"jpg"))
        link = tarfile.TarInfo("000003.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    folder = extracted(tmp_path, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {"000001.jpg", "complete"}
    (folder / "000001.jpg").unlink()
    assert extracted(tmp_path, tmp_path / "out") == folder
    assert not (folder / "000001.jpg").exists()  # complete: not taken again


def test_rendered_scenes_are_a_coco_file_with_the_images_beside_it(tmp_path: Path) -> None:
    path = rendered("frozen", 1, tmp_path, 1)
    data = read(path, "coco", images=path.parent, contract=COCO)
    (sample,) = data.samples
    assert sample.size == (1200, 1200)
    assert len(sample.boxes) >= 8
    before = path.stat().st_mtime_ns
    assert rendered("frozen", 1, tmp_path, 1) == path
    assert path.stat().st_mtime_ns == before


def test_the_frozen_scenes_are_the_pictures_of_the_held_out_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "render_scene", FakeRenderer())
    held_out.write(tmp_path, {one.label: one.category_id for one in COCO.categories}, 2)
    for number in (0, 1):
        next_embedded._render(("frozen", number, str(tmp_path)))
        written = (tmp_path / f"{number}.jpg").read_bytes()
        assert written == (tmp_path / f"{number:03d}.jpg").read_bytes()


def test_a_scene_that_cannot_be_written_ends_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "render_scene", FakeRenderer())
    with full_disk(1024), pytest.raises(OutputError, match=r"0\.jpg.*free space"):
        next_embedded._render(("frozen", 0, str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_what_voc_does_not_label_is_unknown_and_what_scenes_do_not_show_is_absent(
    shared: Path, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes.json"
    categories = [{"id": one.category_id, "name": one.label} for one in COCO.categories]
    (tmp_path / "0.jpg").write_bytes(b"")
    scenes.write_text(
        json.dumps(
            {
                "images": [{"id": 0, "file_name": "0.jpg", "width": 1200, "height": 1200}],
                "annotations": [
                    {"id": 0, "image_id": 0, "category_id": 1, "bbox": [5, 5, 90, 90], "area": 8100}
                ],
                "categories": categories,
            }
        )
    )
    pictures = tmp_path / "voc"
    pictures.mkdir()
    listed = json.loads((shared / "data/voc2007/annotations/instances_train.json").read_bytes())
    for one in listed["images"]:
        (pictures / one["file_name"]).touch()
    learnt, val, coco = sources(shared / "data", scenes, pictures)
    assert learnt.contract == val.contract == coco.contract == COCO
    known = {COCO.labels[n - 1] for n in range(1, 81) if n not in learnt.samples[0].unknown}
    assert known == shared_labels()
    assert not learnt.samples[-1].unknown


def test_rates_are_images_by_seconds_and_a_share_of_a_known_card(tmp_path: Path) -> None:
    plan = Plan(0, (PLAN.stages[-1],))
    folder = tmp_path / plan.stages[0].name
    folder.mkdir()
    (folder / STEPS).write_text("step,seconds\n1,1.0\n100,40.0\n")
    assert list(rates(plan, tmp_path, "a CPU")) == ["1200: 40.0 images/s"]
    (text,) = rates(plan, tmp_path, "NVIDIA H200")
    assert float(text.split(", ")[1].split("%")[0]) == pytest.approx(
        100 * 40 * 3 * 432.8e9 / 989e12, abs=0.05
    )
