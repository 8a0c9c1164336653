"""An accuracy log against the benchmark's gate, whoever wrote it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ..errors import UsageError
from ..evaluation import coco, predictions
from ..evaluation.accuracy_log import Numbering
from ..evaluation.coco import Scores
from ..evaluation.dataset import Dataset
from .rounds import GATE

_FORM = "MLPerf accuracy log"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What an accuracy log is worth.

    Attributes:
        scores: by COCO's rules, on the images that the log has.
        images: that it has; ``whole`` are those that it should have.
        sha256: of the log, which a submission has to state.
        notes: what a reader must know: which classes it holds, what is missing.
    """

    scores: Scores
    images: int
    whole: int
    sha256: str
    notes: Sequence[str]

    @property
    def percent(self) -> float:
        """mAP in percent, to the three decimals that the submission checker reads."""
        return round(100 * self.scores.numbers["AP"], 3)

    @property
    def passed(self) -> bool:
        """Whether mAP reaches the gate, and no image is missing."""
        return self.percent >= round(100 * GATE, 3) and self.images == self.whole


def judge(
    log: str | PathLike[str],
    whole: Dataset,
    dataset: Dataset,
    numbering: Numbering | None = None,
) -> Verdict:
    """mAP of a ``mlperf_log_accuracy.json``.

    Args:
        whole: all annotations, whose categories count.
        dataset: the part of them that the run used; samples count by its order.
        numbering: of the classes in the log; default: the one that fits.

    Raises:
        UsageError: the file is refused (cut short: says where), is no accuracy log, has no record,
            or its classes fit both numberings with different meanings.
        MissingExtra: pycocotools is not installed.
    """
    found = predictions.read(log, whole, order=dataset.ids(), numbering=numbering)
    if not found.results and not found.image_ids:
        raise UsageError(
            f"{found.path}: holds no record, as after a performance run; give the log of an "
            "accuracy run"
        )
    if found.form != _FORM or found.image_ids is None:
        raise UsageError(
            f"{found.path}: {found.form}, no accuracy log; score it with `ssd-resnet34 eval "
            "--predictions`"
        )
    notes = list(found.warnings)
    missing = len(dataset.images) - len(found.image_ids)
    if missing:
        notes.append(
            f"{missing:,} of {len(dataset.images):,} images are not in the log, and the benchmark "
            "asks for all"
        )
    scores = coco.score(whole, found.results, found.image_ids)
    digest = hashlib.sha256(Path(found.path).read_bytes()).hexdigest()
    return Verdict(scores, len(found.image_ids), len(dataset.images), digest, tuple(notes))


def accuracy_text(verdict: Verdict) -> str:
    """``accuracy.txt`` of a submission: the two lines that its checker looks for."""
    return f"mAP={verdict.percent:.3f}%\nhash={verdict.sha256}\n"
