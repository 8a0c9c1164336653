"""What was found in one image: :class:`Detections`, a frozen struct of arrays.

Three numbers name a class and are never mixed: ``index`` (the model's, 1..80 for COCO),
``category_id`` (COCO's, 1..90 with gaps) and ``label`` (the name).
"""

import json
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, Self, overload

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_SIZE, Contract
from ..errors import UsageError
from .fields import as_array, as_labels, floats, integers
from .labels import listed, resolve

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_REPR_ITEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Detection:
    """One found object.

    ``box`` is left, top, right, bottom in pixels of the displayed original; ``score`` 0..1;
    ``index`` is the model's class (1, 2, …), ``category_id`` the data set's, ``label`` its name.
    The floats are the shortest decimals that give the float32 of :class:`Detections` back.
    """

    box: tuple[float, float, float, float]
    score: float
    index: int
    category_id: int
    label: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections:
    """The objects found in one image, best first, as arrays of equal length n.

    Iterating gives :class:`Detection`; so does an integer index. A slice, a boolean mask of
    length n or an array of positions gives :class:`Detections`. Two are equal when every field
    is. The arrays are read-only; given arrays are not copied when their dtype already fits.

    Attributes:
        boxes: float32 (n, 4): left, top, right, bottom in pixels of the displayed original (EXIF
            orientation applied). They may reach outside the image: see :meth:`clip`.
        scores: float32 (n,): probability, 0..1. Descending as the postprocess makes it.
        indices: int64 (n,): class of the model, 1 is the first after background.
        category_ids: int64 (n,): class id of the data set (COCO: 1..90 with gaps).
        labels: n class names.
        image: name of the image as the caller gave it, "" when it has none.
        width: width of the displayed original, pixels.
        height: height of the displayed original, pixels.
        model: name of the model, "" when unknown.

    Raises:
        UsageError: lengths or shapes that do not fit, a wrong dtype, NaN or infinity.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    indices: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    image: str = ""
    width: int = INPUT_SIZE
    height: int = INPUT_SIZE
    model: str = ""

    def __post_init__(self) -> None:
        boxes = floats("boxes", self.boxes)
        if boxes.size == 0 and boxes.ndim == 1:
            boxes = boxes.reshape(0, 4)  # Detections([], …) is a natural way to say "nothing"
        scores = floats("scores", self.scores)
        indices = integers("indices", self.indices)
        category_ids = integers("category_ids", self.category_ids)
        labels = self.labels if type(self.labels) is tuple else as_labels(self.labels)
        n = len(labels)
        for name, values, shape in (
            ("boxes", boxes, (n, 4)),
            ("scores", scores, (n,)),
            ("indices", indices, (n,)),
            ("category_ids", category_ids, (n,)),
        ):
            if values.shape != shape:
                raise UsageError(
                    f"{name}: shape {values.shape}, but {n} labels need {shape}; "
                    "give every field one entry for each detection"
                )
            if values is not getattr(self, name) or values.flags.writeable:
                view = values.view()  # a view, so that the caller's own array stays writeable
                view.setflags(write=False)
                object.__setattr__(self, name, view)
        if not set(map(type, labels)) <= {str}:
            raise UsageError("labels: every one must be a str; convert them with str()")
        if n and int(indices.min()) < 1:
            raise UsageError("indices: classes count from 1 (0 is background); add 1")
        for name in ("width", "height"):
            try:
                side = operator.index(getattr(self, name))
            except TypeError:
                side = 0
            if side < 1:
                raise UsageError(
                    f"{name}: {getattr(self, name)!r} is not a number of pixels; give an int from 1"
                )
            object.__setattr__(self, name, side)
        for name in ("image", "model"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name}: {getattr(self, name)!r} is not a str; give its name")
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(
            _rows(self.boxes),
            _shortest(self.scores),
            self.indices.tolist(),
            self.category_ids.tolist(),
            self.labels,
            strict=True,
        )
        for (left, top, right, bottom), *rest in rows:
            yield Detection((left, top, right, bottom), *rest)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, key: slice | list[int] | list[bool] | NDArray[Any]) -> Self: ...
    def __getitem__(
        self, key: int | np.integer[Any] | slice | list[int] | list[bool] | NDArray[Any]
    ) -> Detection | Self:
        """One :class:`Detection` for an integer, else the chosen :class:`Detections`.

        Raises:
            IndexError: a position outside -n..n-1.
            UsageError: a mask of another length, or a key of another kind.
        """
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return self._one(int(key))
        if not isinstance(key, (list, np.ndarray)):
            raise _bad_key(key)
        chosen = as_array("positions", key)
        if chosen.shape == (0,) and chosen.dtype.kind != "b":
            chosen = chosen.astype(np.int64)  # an empty list becomes float64
        if chosen.ndim == 0 and chosen.dtype.kind in "iu":
            return self._one(int(chosen))
        if chosen.ndim != 1 or chosen.dtype.kind not in "biu":
            raise _bad_key(key)
        if chosen.dtype.kind == "b":
            if len(chosen) != len(self):
                raise UsageError(
                    f"mask: {len(chosen)} entries for {len(self)} detections; give one for each"
                )
            chosen = np.flatnonzero(chosen)
        return self._take(chosen)

    def _one(self, position: int) -> Detection:
        n = len(self)
        if not -n <= position < n:
            raise IndexError(f"detection {position} of {n}")
        return next(iter(self._take(np.array([position]))))

    def _take(self, positions: NDArray[np.integer[Any]]) -> Self:
        return replace(
            self,
            boxes=self.boxes[positions],
            scores=self.scores[positions],
            indices=self.indices[positions],
            category_ids=self.category_ids[positions],
            labels=tuple(self.labels[i] for i in positions.tolist()),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return (
            (self.image, self.width, self.height, self.model, self.labels)
            == (other.image, other.width, other.height, other.model, other.labels)
            and np.array_equal(self.boxes, other.boxes)
            and np.array_equal(self.scores, other.scores)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.category_ids, other.category_ids)
        )

    # Equality compares arrays; a hash that agrees with it would have to read them all.
    __hash__ = None  # type: ignore[assignment]  # the documented way to say "unhashable"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied through the constructor: arrays that numpy restores are writeable."""
        return type(self), tuple(getattr(self, one.name) for one in fields(self))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{label} {score:.2f}"
            for label, score in zip(self.labels[:_REPR_ITEMS], self.scores.tolist(), strict=False)
        )
        more = f", … {len(self) - _REPR_ITEMS} more" if len(self) > _REPR_ITEMS else ""
        name = f" in {self.image!r}" if self.image else ""
        found = f": {shown}{more}" if shown else ""
        return f"<Detections: {len(self)}{name} ({self.width}×{self.height}){found}>"

    def _repr_html_(self) -> str:
        """Notebook view: a table and, where ``image`` names a readable file, the drawn picture."""
        from .draw import to_html

        return to_html(self)

    def clip(self) -> Self:
        """The same detections, boxes cut off at the borders of the image.

        The number stays: a box wholly outside becomes one of no area on the border.
        """
        borders = np.array((self.width, self.height) * 2, np.float32)
        return replace(self, boxes=np.clip(self.boxes, np.float32(0), borders))

    def filter(
        self,
        score: float | None = None,
        classes: Iterable[str | int] | str | int | None = None,
        contract: Contract | None = None,
    ) -> Self:
        """Those with a score strictly above ``score`` and of one of ``classes``.

        ``classes`` are labels, or indices of the model (not category ids). With a ``contract`` a
        class that the model does not have is an error instead of finding nothing.

        Raises:
            UsageError: a class that is neither a label nor an index, or unknown to ``contract``.
        """
        keep = np.ones(len(self), bool)
        if score is not None:
            keep &= self.scores > np.float32(score)  # as postprocess compares
        if classes is not None and contract is not None:
            keep &= np.isin(self.indices, np.asarray(resolve(classes, contract), np.int64))
        elif classes is not None:
            keep &= self._of_classes(listed(classes))
        return self._take(np.flatnonzero(keep))

    def _of_classes(self, wanted: list[str | int]) -> NDArray[np.bool_]:
        names, numbers = set[str](), set[int]()
        for one in wanted:
            if isinstance(one, str):
                names.add(one)
            elif isinstance(one, (int, np.integer)) and not isinstance(one, bool):
                numbers.add(int(one))
            else:
                raise UsageError(f"classes: {one!r} is neither a label (str) nor an index (int)")
        return np.fromiter(
            (
                label in names or index in numbers
                for label, index in zip(self.labels, self.indices.tolist(), strict=True)
            ),
            bool,
            len(self),
        )

    def to_dict(self) -> dict[str, Any]:
        """The one JSON form of this project, as plain Python values.

        ``{"image", "width", "height", "model", "detections": [{"box": [left, top, right, bottom],
        "score", "index", "category_id", "label"}]}``. Numbers are the shortest decimals that give
        the same float32 back.
        """
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "model": self.model,
            "detections": [
                {
                    "box": box,
                    "score": score,
                    "index": index,
                    "category_id": category_id,
                    "label": label,
                }
                for box, score, index, category_id, label in zip(
                    _rows(self.boxes),
                    _shortest(self.scores),
                    self.indices.tolist(),
                    self.category_ids.tolist(),
                    self.labels,
                    strict=True,
                )
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], contract: Contract | None = None) -> Self:
        """The detections back from :meth:`to_dict`.

        With a ``contract`` every index, category id and label must agree with it.

        Raises:
            UsageError: a field is missing, of the wrong kind, or contradicts the contract.
        """
        from .converters import check_contract, fields_of

        made = cls(**fields_of(data))
        if contract is not None:
            check_contract(made, contract)
        return made

    def to_json(self) -> str:
        """:meth:`to_dict` as one line of ASCII: any file name is safe in it."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO's results form: a list of ``{image_id, category_id, bbox, score}``.

        ``bbox`` is left, top, width, height in pixels.
        """
        sizes = np.concatenate((self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]), axis=1)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}
            for category_id, bbox, score in zip(
                self.category_ids.tolist(), _rows(sizes), _shortest(self.scores), strict=True
            )
        ]

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``: left, top, right, bottom, score, index, category_id, label.

        Raises:
            MissingExtra: pandas is not installed.
        """
        from .converters import to_pandas

        return to_pandas(self)

    def to_supervision(self) -> Any:
        """A ``supervision.Detections``: xyxy, confidence, class_id, data["class_name"].

        ``class_id`` is the model's ``index``; ``data["category_id"]`` keeps the data set's id.

        Raises:
            MissingExtra: supervision is not installed; no extra of this package brings it, since
                its newer releases bring PyAV, whose wheels carry x264 (GPL).
        """
        from .converters import to_supervision

        return to_supervision(self)

    def draw(self, source: Any = None, **options: Any) -> "PILImage":
        """The picture with boxes and labels, a PIL image of mode RGB.

        ``source`` is any image source, by default the file ``image`` names. The options are those
        of :func:`ssd_resnet34.vision.draw.draw`.

        Raises:
            UsageError: no source, and the detections do not know their image.
            ImageError: the image is refused.
        """
        from .draw import draw

        if source is None:
            if not self.image:
                raise UsageError("draw: these detections have no image name; give the image")
            source = self.image
        return draw(source, self, **options)

    def save(self, path: str | PathLike[str], source: Any = None) -> None:
        """Write to a file; the extension names the form.

        See :func:`ssd_resnet34.vision.writers.save`.

        Raises:
            UsageError: an unknown extension, or a place that cannot be written.
        """
        from .writers import save

        save(path, self, source=source)


def _bad_key(key: object) -> UsageError:
    return UsageError(
        f"cannot select detections with {type(key).__name__} {str(key)[:40]!r}; "
        "use an int, a slice, a boolean mask or an array of positions"
    )


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """Python floats with the shortest decimals that give the same float32 back: 0.1, not
    0.10000000149011612."""
    return [float(str(value)) for value in values]


def _rows(boxes: NDArray[np.float32]) -> list[list[float]]:
    flat = _shortest(boxes.reshape(-1))
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]
