"""The embedded weights' next version, on a GPU: photographs and rendered scenes, in three sizes.

    python -m ssd_resnet34.training.next_embedded DATA OUT               # prepare, train, score
    python -m ssd_resnet34.training.publish OUT/1200/model.safetensors   # then put into the package

DATA has ``voc2007`` (two tars, 4,352 images, 20 classes labelled) and ``coco`` (343 images of
train2017). Killed, it goes on where it was when it is started again.

Hardware: one GPU with bf16 and 40 GB, 16 CPU cores. Time: not yet measured; planned for 9 minutes
of an H200, of which images are the bottleneck. Expected: mAP50 of 0.30 to 0.45 on ``voc2007/val``
over its 20 classes, AP50 of 0.90 on the frozen scenes. Not yet measured either.

What is scored, on whole images at 1200×1200: the 400 images of ``voc2007/val`` after each epoch;
at the end the 20 classes that VOC and COCO share on ``coco/val2017``, and the frozen scenes.
"""

import argparse
import json
import multiprocessing
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch

from .. import files
from ..contract import COCO, INPUT_SIZE
from ..network.module import SSDResNet34Module
from ..runtime.cpu import available_threads
from ..weights import readers
from .data import voc
from .data.augmentation import Augmentation
from .data.example import DataSet
from .data.mixing import VOC_TO_COCO, mixed
from .data.reading import read
from .fitting import Recipe, train
from .fitting.folder import CHECKPOINT
from .fitting.journal import STEPS
from .fitting.journal import read as read_journal
from .fitting.loop import Step, Watch
from .fitting.output import GRAPH, WEIGHTS
from .fitting.placing import priors_for
from .fitting.validation import scored, validate
from .held_out import HELD_OUT_COUNT, JPEG_QUALITY, held_out_scene, training_seed
from .parks import park_scene
from .scenes import Scene, annotation, render_scene

PEAKS: Final = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bf16 operations a second, of the makers' data sheets, by a part of the card's name."""

OPERATIONS: Final = 3 * 432.8e9
"""Of a training step, an image of 1200×1200: forward, and twice that backward."""


@dataclass(frozen=True)
class Stage:
    """One size; the next one starts from its best weights."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """The whole recipe. ``scenes``: rendered ones, half of them landscapes."""

    scenes: int
    stages: tuple[Stage, ...]


PLAN: Final = Plan(
    scenes=2000,
    stages=(
        Stage("600", Recipe(epochs=12, batch=64, size=600, rate=6e-4, warmup=200)),
        Stage("900", Recipe(epochs=3, batch=32, size=900, rate=3e-4, warmup=50)),
        Stage("1200", Recipe(epochs=3, batch=16, size=1200, rate=2e-4, warmup=50)),
    ),
)

TRIAL: Final = Plan(
    scenes=2,
    stages=(
        Stage("385", Recipe(epochs=1, batch=2, size=385, freeze="backbone")),
        Stage("400", Recipe(epochs=1, batch=2, size=400, freeze="backbone")),
    ),
)
"""The same road in a minute or two of a CPU."""

TRIED: Final = 4
"""Images of each source and of each score in that trial."""

LEARNT_QUALITY: Final = 92
"""JPEG quality of the rendered scenes that are learnt from."""

Scenes = Literal["training", "frozen"]
"""Rendered scenes that are learnt from, and those that are scored on."""


def extracted(data: Path, out: Path) -> Path:
    """The folder with the images of VOC's two tars; regular files with plain names only."""
    folder = out / "voc2007"
    done = folder / "complete"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for shard in sorted((data / "voc2007").glob("train-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.isfile() and member.name == Path(member.name).name:
                    tar.extract(member, folder, filter="data")
    done.touch()
    return folder


def rendered(kind: Scenes, count: int, out: Path, processes: int) -> Path:
    """A COCO file of ``count`` scenes; its images lie beside it."""
    folder = out / f"scenes-{kind}"
    path = folder / "instances.json"
    if path.exists() and len(json.loads(path.read_bytes())["images"]) == count:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(kind, number, str(folder)) for number in range(count)]
    # Not forked: OpenCV's threads do not live on in a fork, which would wait for them for ever.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_render, jobs, chunksize=4))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, objects in enumerate(found):
        images.append(
            {"id": number, "file_name": f"{number}.jpg", "width": INPUT_SIZE, "height": INPUT_SIZE}
        )
        for category, box in objects:
            annotations.append(annotation(len(annotations), number, category, box))
    categories = [{"id": one.category_id, "name": one.label} for one in COCO.categories]
    document = {"images": images, "annotations": annotations, "categories": categories}
    files.write(path, json.dumps(document).encode())
    return path


def _render(job: tuple[Scenes, int, str]) -> list[tuple[int, list[float]]]:
    """One scene into its file; its objects as category id and box."""
    kind, number, folder = job
    cv2.setNumThreads(1)
    scene: Scene
    if kind == "frozen":
        scene = held_out_scene(number)
    elif number % 2:
        scene = park_scene(0, number)
    else:
        scene = render_scene(training_seed(number))
    quality = JPEG_QUALITY if kind == "frozen" else LEARNT_QUALITY
    _, data = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    # imwrite says nothing of a full disk.
    files.write(Path(folder) / f"{number}.jpg", data.tobytes())
    ids = {one.label: one.category_id for one in COCO.categories}
    return [
        (ids[label], box) for label, box in zip(scene.labels, scene.boxes.tolist(), strict=True)
    ]


def sources(data: Path, scenes: Path, pictures: Path) -> tuple[DataSet, DataSet, DataSet]:
    """What is learnt; VOC's validation; COCO's, whose 20 classes of VOC are scored."""
    listed = {
        name: data / name / "annotations" / f"instances_{split}.json"
        for name, split in (("voc2007", "train"), ("coco", "train2017"))
    }
    learnt = mixed(
        [
            read(listed["voc2007"], "coco", images=pictures, unknown="unlabelled", contract=COCO),
            read(listed["coco"], "coco", images=data / "coco" / "train2017", contract=COCO),
            read(scenes, "coco", images=scenes.parent, contract=COCO),
        ]
    )
    judged = [
        read(
            data / name / "annotations" / f"instances_{split}.json",
            "coco",
            images=data / name / split,
            contract=COCO,
        )
        for name, split in (("voc2007", "val"), ("coco", "val2017"))
    ]
    return learnt, judged[0], judged[1]


def shared_labels() -> frozenset[str]:
    """COCO's names of VOC's 20 classes."""
    return frozenset(VOC_TO_COCO.get(label, label) for label in voc.VOC_LABELS)


def first(data: DataSet, count: int) -> DataSet:
    """``count`` samples with a box that counts."""
    some = [one for one in data.samples if (~one.ignored).any()]
    return replace(data, samples=tuple(some[:count]))


def score(
    weights: Path, data: DataSet, labels: frozenset[str], device: torch.device
) -> dict[str, float]:
    """pycocotools' numbers at 1200×1200 over those of the classes that ``data`` labels."""
    state = readers.read(weights).state
    assert state is not None  # a safetensors file
    module = SSDResNet34Module(COCO.num_classes)
    module.load_state_dict({key: torch.from_numpy(np.array(v)) for key, v in state.items()})
    module.to(device)
    priors = priors_for(module, Recipe())
    results, done, _ = validate(
        module, data, range(len(data.samples)), priors, INPUT_SIZE, COCO, lambda: None
    )
    return dict(scored(data, results, done, labels).numbers)


def rates(plan: Plan, out: Path, card: str) -> Iterator[str]:
    """Images a second of each stage, and the share of the card's peak where that is known."""
    peak = next((value for name, value in PEAKS.items() if name in card), None)
    for stage in plan.stages:
        rows = read_journal(out / stage.name / STEPS)
        images = rows[-1]["step"] * stage.recipe.batch / rows[-1]["seconds"]
        text = f"{stage.name}: {images:.1f} images/s"
        if peak is not None:
            operations = OPERATIONS * (stage.recipe.size / INPUT_SIZE) ** 2
            text += f", {images * operations / peak:.1%} of the card's {peak / 1e12:.0f} TFLOPS"
        yield text


def run(data: Path, out: Path, plan: Plan, *, tried: int | None, cpu: bool) -> Path:
    """Prepare, train every stage, or go on with them; returns the last stage's weights."""
    processes = available_threads()
    pictures = extracted(data, out)
    scenes = rendered("training", plan.scenes, out, processes)
    frozen = rendered("frozen", tried or HELD_OUT_COUNT, out, processes)
    learnt, val, coco = sources(data, scenes, pictures)
    if tried:
        learnt, val, coco = (first(one, tried) for one in (learnt, val, coco))
    start = "embedded"
    for stage in plan.stages:
        folder = out / stage.name
        if not (folder / GRAPH).exists():
            trained = train(
                learnt,
                folder,
                validation=val,
                init=start,
                recipe=stage.recipe,
                augmentation=Augmentation(),
                resume=(folder / CHECKPOINT).exists(),
                device="cpu" if cpu else "auto",
                watch=Watch(step=_say),
                say=print,
            )
            print(f"{stage.name}: {dict(trained.numbers)}", flush=True)
        start = str(folder / WEIGHTS)
    weights = Path(start)
    cuda = torch.cuda.is_available() and not cpu
    device = torch.device("cuda" if cuda else "cpu")
    for line in rates(plan, out, torch.cuda.get_device_name() if cuda else "a CPU"):
        print(line)
    scored_on = (
        ("voc2007/val, 20 classes", val, shared_labels()),
        ("coco/val2017, the same 20", coco, shared_labels()),
        (
            "frozen scenes",
            read(frozen, "coco", images=frozen.parent, contract=COCO),
            frozenset(COCO.labels),
        ),
    )
    for name, one, labels in scored_on:
        numbers = score(weights, one, labels, device)
        print(f"{name}: AP {numbers['AP']:.3f}, AP50 {numbers['AP50']:.3f}", flush=True)
    return weights


def _say(step: Step) -> None:
    if step.step % 20 == 0 or step.step == step.steps:
        print(
            f"step {step.step}/{step.steps} loss {step.outcome.loss:.3f} {step.left:.0f} s left",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--try", dest="trial", action="store_true", help="a few images, on a CPU")
    chosen = parser.parse_args(arguments)
    plan = TRIAL if chosen.trial else PLAN
    tried = TRIED if chosen.trial else None
    print(run(chosen.data, chosen.out, plan, tried=tried, cpu=chosen.trial))


if __name__ == "__main__":
    main()
