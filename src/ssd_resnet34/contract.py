"""The contract of SSD-ResNet34 1200×1200 as data: levels, priors' constants, categories.

Everything that depends on the number of classes, the prior rule or the normalisation derives
from a :class:`Contract`; it travels inside every artifact's metadata.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from .errors import ContractError

Lineage = Literal["pytorch", "tensorflow"]

INPUT_SIZE: Final = 1200
"""Side of the network's input, pixels; also the unit of SCALES and STEPS."""

INPUT_NAME: Final = "image"

SCALES: Final = (84, 180, 396, 612, 828, 1044, 1260)
"""Sides of the square priors, in pixels of the 1200 layout; level k uses SCALES[k], SCALES[k+1]."""

SCALE_XY: Final = 0.1
"""Variance of the centre offsets: centre = prior centre + SCALE_XY · d · prior size."""

SCALE_WH: Final = 0.2
"""Variance of the size offsets: size = prior size · exp(SCALE_WH · d)."""

SCHEMA: Final = 1
"""Version of the contract's JSON form."""


@dataclass(frozen=True, slots=True)
class Level:
    """One detection level: ``size`` cells a side, priors' aspect ``ratios``, and its steps."""

    size: int
    ratios: tuple[int, ...]
    step: int
    """Stride of the level in the network, input pixels a cell (24, 48, 96, …)."""
    tensorflow_step: int
    """Step of the TensorFlow lineage's prior centres, pixels of 1200."""

    @property
    def anchors(self) -> int:
        """Priors a cell: two squares, then each ratio and its swap."""
        return 2 + 2 * len(self.ratios)

    @property
    def priors(self) -> int:
        """Priors of the level: anchors times cells."""
        return self.anchors * self.size**2


LEVELS: Final = (
    Level(50, (2,), 24, 24),
    Level(25, (2, 3), 48, 48),
    Level(13, (2, 3), 96, 92),
    Level(7, (2, 3), 192, 171),
    Level(3, (2,), 384, 400),
    Level(3, (2,), 384, 400),
)

NUM_PRIORS: Final = sum(level.priors for level in LEVELS)  # 15130

OFFSETS: Final = tuple(sum(level.priors for level in LEVELS[:k]) for k in range(len(LEVELS)))
"""First prior of each level: 0, 10000, 13750, 14764, 15058, 15094."""

HEAD_NAMES: Final = tuple(f"{kind}_{k}" for kind in ("cls", "loc") for k in range(len(LEVELS)))
"""The twelve outputs in order: cls_0..cls_5, loc_0..loc_5."""


@dataclass(frozen=True, slots=True)
class Category:
    """A class the model can name: COCO-style ``category_id`` and ``label``."""

    category_id: int
    label: str


@dataclass(frozen=True)
class Contract:
    """What a model's input and outputs mean.

    ``categories[i]`` is the class of model index ``i + 1``; index 0 is background. ``lineage``
    selects the prior rule. ``mean`` and ``std`` are RGB, for values in 0..1. ``resize`` names the
    one rule there is: bilinear to 1200×1200 without keeping the aspect.

    Raises:
        ContractError: no categories, a repeated id or label, or a value out of range.
    """

    categories: tuple[Category, ...]
    lineage: Lineage = "pytorch"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resize: Literal["stretch-bilinear"] = "stretch-bilinear"
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        # Tuples of floats, however they were given: a contract is compared, hashed and written.
        object.__setattr__(self, "categories", _categories(self.categories))
        for field in ("mean", "std"):
            object.__setattr__(self, field, _triple(field, getattr(self, field)))
        if not self.categories:
            raise ContractError("a contract needs at least one category; list them in index order")
        for field in ("category_id", "label"):
            values = [getattr(category, field) for category in self.categories]
            if len(set(values)) != len(values):
                twice = next(v for v in values if values.count(v) > 1)
                raise ContractError(f"categories: {field} {twice!r} occurs twice; make it unique")
        for category in self.categories:
            if not -(2**63) <= category.category_id < 2**63:  # detections hold int64
                raise ContractError(
                    f"categories: category_id {category.category_id} does not fit 64 bits; number "
                    "the categories anew"
                )
        if self.lineage not in ("pytorch", "tensorflow"):
            raise ContractError(
                f"lineage {self.lineage!r} is unknown; use 'pytorch' or 'tensorflow'"
            )
        if min(self.std) <= 0:
            raise ContractError("std needs values above 0 (RGB, of pixels 0..1)")
        if self.resize != "stretch-bilinear":
            raise ContractError(f"resize {self.resize!r} is unknown; use 'stretch-bilinear'")
        _check_schema(self.schema)

    @property
    def num_classes(self) -> int:
        """Classes of the softmax, background included (81 for COCO)."""
        return len(self.categories) + 1

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of index 1, 2, …"""
        return tuple(category.label for category in self.categories)

    def head_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Output name -> (channels, height, width), in output order, batch axis left out."""
        return {
            f"{kind}_{k}": (depth * level.anchors, level.size, level.size)
            for kind, depth in (("cls", self.num_classes), ("loc", 4))
            for k, level in enumerate(LEVELS)
        }

    def to_json(self) -> str:
        """The contract as canonical JSON: same contract, same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """The contract back from :meth:`to_json`.

        Raises:
            ContractError: the text is not a contract of this schema.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            _check_schema(data.get("schema"))  # first, since another one has other fields
            categories = [Category(c["category_id"], c["label"]) for c in data.pop("categories")]
            return cls(tuple(categories), mean=data.pop("mean"), std=data.pop("std"), **data)
        except ContractError:
            raise
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,  # brackets without end
        ) as error:
            raise ContractError(
                f"not a contract ({error}); compile the artifact again with ssd-resnet34"
            ) from error


def _categories(given: Any) -> tuple[Category, ...]:
    """A list of categories as a tuple.

    Raises:
        ContractError: no list, or an entry that is no category.
    """
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    for one in found:
        named = isinstance(one, Category) and isinstance(one.label, str) and one.label
        if not (named and type(one.category_id) is int):
            raise ContractError(
                f"categories: {one!r:.60} is none; give Category(category_id, label), a whole "
                "number and a name"
            )
    return found


def _triple(name: str, given: Any) -> tuple[float, float, float]:
    """Three numbers of R, G, B as floats.

    Raises:
        ContractError: others, or not finite.
    """
    try:
        red, green, blue = (float(value) for value in given)
        if math.isfinite(red + green + blue):
            return red, green, blue
    except (TypeError, ValueError, OverflowError):  # the last: an int of 400 digits
        pass
    raise ContractError(f"{name} needs three finite values (RGB, of pixels 0..1)")


def _check_schema(schema: Any) -> None:
    if schema != SCHEMA:
        raise ContractError(
            f"contract schema {schema!r} cannot be read by this version (knows {SCHEMA}); upgrade "
            "ssd-resnet34"
        )


_COCO_LABELS = """person;bicycle;car;motorcycle;airplane;bus;train;truck;boat;traffic light;
fire hydrant;stop sign;parking meter;bench;bird;cat;dog;horse;sheep;cow;elephant;bear;zebra;
giraffe;backpack;umbrella;handbag;tie;suitcase;frisbee;skis;snowboard;sports ball;kite;
baseball bat;baseball glove;skateboard;surfboard;tennis racket;bottle;wine glass;cup;fork;knife;
spoon;bowl;banana;apple;sandwich;orange;broccoli;carrot;hot dog;pizza;donut;cake;chair;couch;
potted plant;bed;dining table;toilet;tv;laptop;mouse;remote;keyboard;cell phone;microwave;oven;
toaster;sink;refrigerator;book;clock;vase;scissors;teddy bear;hair drier;toothbrush"""

# COCO numbered 91 things and released boxes for 80: these ids never occur.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

COCO_CATEGORIES: Final = tuple(
    Category(category_id, label.strip())
    for category_id, label in zip(
        (i for i in range(1, 91) if i not in _COCO_GAPS), _COCO_LABELS.split(";"), strict=True
    )
)

COCO: Final = Contract(COCO_CATEGORIES)
"""The published models of the PyTorch lineage."""

COCO_TENSORFLOW: Final = Contract(COCO_CATEGORIES, lineage="tensorflow")
"""The published models of the TensorFlow lineage: other priors, other network, same heads."""
