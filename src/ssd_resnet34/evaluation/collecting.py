"""Every image's heads decoded in several ways at once, and kept in little memory."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..contract import Contract
from ..runtime.session import Outputs
from ..vision.detections import Detections
from ..vision.postprocess import postprocess, rules
from .dataset import Dataset
from .journal import Journal
from .recipe import REFERENCE, Recipe, cut, decoded_as, rewritten, selection, settings
from .running import Done, Entry, Heads, Run, gathered, journal_key, over

_PACKED: Final = np.dtype([("box", "<f4", (4,)), ("score", "<f4"), ("index", "<u2")])


@dataclass(frozen=True, slots=True)
class _Kept:
    """One image: its name and size, and the detections of each selection as bytes."""

    name: str
    width: int
    height: int
    found: tuple[bytes, ...]


class Collector:
    """What every selection that some recipes need finds in each image.

    Keeps 22 bytes a detection, at most ``top_k`` detections a selection and image.
    """

    def __init__(
        self,
        contract: Contract,
        base: Recipe = REFERENCE,
        recipes: Iterable[Recipe] = (),
        model: str = "",
    ) -> None:
        """``base`` and the ``recipes`` can be asked for afterwards; ``model`` is a name.

        Raises:
            UsageError: a setting out of range.
        """
        self.contract, self.base, self.model = contract, base, model
        needed = dict.fromkeys(selection(one, base) for one in (base, *recipes))
        self.selections: tuple[Recipe, ...] = tuple(needed)
        for one in self.selections:
            rules(**asdict(settings(one)), contract=contract)  # refuse now, not later
        self._kept: dict[int, _Kept] = {}

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The images that were added, in the order in which they were."""
        return tuple(self._kept)

    def holds(self, recipe: Recipe) -> bool:
        """Whether what the recipe finds is here."""
        return selection(recipe, self.base) in self.selections

    def only(self, image_ids: Iterable[int]) -> "Collector":
        """The same with these images alone."""
        part = Collector(self.contract, self.base, self.selections, self.model)
        part._kept = {one: self._kept[one] for one in image_ids}
        return part

    def select(self, outputs: Outputs) -> dict[str, Any]:
        """What all selections find in one image, as plain JSON values for a journal.

        Args:
            outputs: the twelve heads [1, C, F, F] with the context of the image.

        Raises:
            HeadsError: not the heads of the contract, or not finite.
        """
        found = []
        for one in self.selections:
            (detections,) = postprocess(
                outputs,
                None,
                **asdict(settings(one)),
                contract=decoded_as(one, self.contract),
                model=self.model,
            )
            found.append(base64.b64encode(_pack(detections)).decode("ascii"))
        size = (detections.width, detections.height)
        return {"image": detections.image, "size": size, "found": found}

    def add(self, image_id: int, selected: Mapping[str, Any]) -> None:
        """Keep what :meth:`select` found in an image."""
        width, height = selected["size"]
        found = tuple(map(base64.b64decode, selected["found"]))
        self._kept[image_id] = _Kept(selected["image"], width, height, found)

    def detections(self, image_id: int, recipe: Recipe) -> Detections:
        """What the recipe finds, boxes and categories still as they should be."""
        kept = self._kept[image_id]
        number = self.selections.index(selection(recipe, self.base))
        rows = np.frombuffer(kept.found[number], _PACKED)
        indices = rows["index"].astype(np.int64)
        chosen = [self.contract.categories[index - 1] for index in indices.tolist()]
        whole = Detections(
            boxes=np.ascontiguousarray(rows["box"]),
            scores=np.ascontiguousarray(rows["score"]),
            indices=indices,
            category_ids=np.array([one.category_id for one in chosen], np.int64),
            labels=tuple(one.label for one in chosen),
            image=kept.name,
            width=kept.width,
            height=kept.height,
            model=self.model,
        )
        return cut(whole, recipe)

    def results(self, recipe: Recipe, image_ids: Iterable[int]) -> list[dict[str, Any]]:
        """COCO results as the recipe writes them."""
        results = []
        for image in image_ids:
            found = rewritten(self.detections(image, recipe), recipe, self.contract)
            results += found.to_coco(image)
        return results


def _pack(detections: Detections) -> bytes:
    rows: NDArray[Any] = np.empty(len(detections), _PACKED)
    rows["box"], rows["score"] = detections.boxes, detections.scores
    rows["index"] = detections.indices
    return rows.tobytes()


def collect(
    heads: Heads,
    entries: Sequence[Entry],
    collector: Collector,
    journal: Journal,
    *,
    on_image: Callable[[Done], None] = lambda _: None,
) -> Run:
    """Every image through ``heads`` once, and what the selections find into ``collector``.

    The same as :func:`~ssd_resnet34.evaluation.running.run` with the base's settings, and resumed
    alike; ``journal`` is made with :func:`collection_key` of the same arguments.

    Raises:
        HeadsError, SessionError: the network or the files are wrong, not one image.
    """

    def work(_: Entry, outputs: Outputs) -> Any:
        return collector.select(outputs)

    def read(done: Done) -> Detections:
        collector.add(done.entry["id"], done.value)
        return collector.detections(done.entry["id"], collector.base)

    return gathered(over(heads, entries, work, journal), read, on_image)


def collection_key(heads: Heads, dataset: Dataset, collector: Collector) -> dict[str, Any]:
    """What the journal of :func:`collect` is kept by."""
    key = journal_key(heads, dataset, settings(collector.base))
    return key | {"selections": [asdict(one) for one in collector.selections]}
