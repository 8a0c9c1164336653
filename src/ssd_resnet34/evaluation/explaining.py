"""What each known cause changes, measured; and which of them fit a number from elsewhere.

One run of the network over the images serves all causes at the heads, since what each way of
selecting finds is kept (:mod:`~ssd_resnet34.evaluation.collecting`). Causes at the input run the
network again, each on its own.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from ..contract import COCO, Contract
from ..errors import EngineUnavailable, UnsupportedPrecision, UsageError
from ..runtime.session import Session
from .altered import Altered
from .bootstrap import Interval, difference_intervals, intervals
from .causes import Cause, applied, causes_of, compatible
from .coco import UNDEFINED, Evaluation, evaluate
from .collecting import Collector, collect, collection_key
from .dataset import Dataset
from .journal import Journal
from .published import Published, near
from .recipe import Recipe
from .running import Done, Network

SAME: Final = 0.002
"""How far two numbers made alike may be apart, 0..1: engines, int8 and rounding move AP by this
much. The published int8 results of the reference's graph spread as far around its fp32 number."""

FELT: Final = 0.0005
"""The least change of AP for a cause to explain anything: half of the last digit."""

REPLICATES: Final = 200
"""Of the bootstrap of an effect: enough for the digits that are shown, in a fifth of the time."""

PAIRS: Final = 8
"""Pairs of causes that are scored: those that promise to come nearest to the number."""


@dataclass(frozen=True, eq=False)
class Effect:
    """AP with some causes in it.

    Attributes:
        causes: one, or two together; none for the run as it is.
        ap, ap50: 0..1.
        interval: of AP, from one set of images to another.
        change: AP minus that of the run as it is on the same images.
        moved: the interval of ``change``; None where a cause has other images than the run, and of
            one image.
        images: how many were scored.
    """

    causes: tuple[Cause, ...]
    ap: float
    ap50: float
    interval: Interval
    change: float
    moved: Interval | None
    images: int

    @property
    def name(self) -> str:
        """Its causes joined by a plus."""
        return " + ".join(one.name for one in self.causes) or "as it is"

    @property
    def sampled(self) -> bool:
        """Whether it was measured on a sample, since the network had to run again."""
        return any(one.kind == "input" for one in self.causes)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What every cause changes.

    Attributes:
        base: the run as it is.
        effects: of each cause at the heads, then of each at the input that was tried.
        skipped: key of a cause that could not be tried -> why.
    """

    base: Effect
    effects: tuple[Effect, ...]
    skipped: Mapping[str, str]


def collector_for(contract: Contract, base: Recipe, model: str = "") -> Collector:
    """A collector that serves every cause at the heads."""
    recipes = [applied([one], base) for one in causes_of(base, "heads")]
    return Collector(contract, base, recipes, model)


class Scorer:
    """AP of recipes on the images of a collector, against its base."""

    def __init__(self, collector: Collector, dataset: Dataset, category_ids: Sequence[int]) -> None:
        self.collector, self.dataset, self.category_ids = collector, dataset, category_ids

    @cached_property
    def base(self) -> Evaluation:
        """
        Raises:
            UsageError: nothing is annotated that could be found.
        """
        found = self._evaluate(*self._base_results)
        if found.scores.numbers["AP"] == UNDEFINED:
            raise UsageError(
                f"{self.dataset.path}: no object of the chosen images counts, so that causes "
                "cannot be compared; give images with objects"
            )
        return found

    def effect(self, causes: Sequence[Cause] = (), collector: Collector | None = None) -> Effect:
        """AP with ``causes`` in it; ``collector`` has the detections where the network ran again,
        on the same images."""
        recipe = applied(causes, self.collector.base)
        given = self._results(collector or self.collector, recipe)
        found = self.base if given == self._base_results else self._evaluate(*given)
        numbers = found.scores.numbers
        return Effect(
            causes=tuple(causes),
            ap=numbers["AP"],
            ap50=numbers["AP50"],
            interval=self._base_interval if found is self.base else _interval(found),
            change=numbers["AP"] - self.base.scores.numbers["AP"],
            moved=self._moved(found),
            images=len(found.image_ids),
        )

    @cached_property
    def _base_interval(self) -> Interval:
        return _interval(self.base)

    def _moved(self, found: Evaluation) -> Interval | None:
        if found is self.base:
            return Interval(0.0, 0.0)
        if found.image_ids != self.base.image_ids:
            return None
        moved = difference_intervals(self.base, found, replicates=REPLICATES).get("AP")
        if moved is None:
            return None
        base = self.base.scores.numbers["AP"]
        low, high = (min(max(edge, -base), 1 - base) for edge in (moved.low, moved.high))
        return Interval(low, high)

    @cached_property
    def _base_results(self) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
        return self._results(self.collector, self.collector.base)

    def _results(
        self, collector: Collector, recipe: Recipe
    ) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
        """The images that the recipe scores, and their results."""
        part = self.dataset.only(collector.image_ids)
        ids = part.ids() if recipe.images == "all" else part.annotated()
        return ids, collector.results(recipe, ids)

    def _evaluate(self, ids: Sequence[int], results: Sequence[Mapping[str, Any]]) -> Evaluation:
        return evaluate(self.dataset.only(ids), results, ids, self.category_ids)


def _interval(evaluation: Evaluation) -> Interval:
    return intervals(evaluation, replicates=REPLICATES)["AP"]


def explain(scorer: Scorer, *, on_effect: Callable[[Effect], None] = lambda _: None) -> Explanation:
    """What every cause at the heads changes, each alone.

    Args:
        scorer: of a collector that :func:`collector_for` made and
            :func:`~ssd_resnet34.evaluation.collecting.collect` filled.
        on_effect: told of each effect when it is measured.

    Raises:
        UsageError: nothing is annotated that could be found.
        MissingExtra: pycocotools is not installed.
    """
    base = scorer.effect()
    effects = []
    for cause in causes_of(scorer.collector.base, "heads"):
        effects.append(scorer.effect([cause]))
        on_effect(effects[-1])
    return Explanation(base, tuple(effects), {})


def sample_of(dataset: Dataset, image_ids: Iterable[int], count: int) -> tuple[int, ...]:
    """At most ``count`` of the images that have an annotation, evenly spread over the file.

    Raises:
        UsageError: none has.
    """
    wanted = set(image_ids)
    some = [one for one in dataset.annotated() if one in wanted]
    if not some:
        raise UsageError(f"{dataset.path}: none of the images has an object; give some that have")
    count = min(count, len(some))
    return tuple(some[n * len(some) // count] for n in range(count))


def explain_inputs(
    explanation: Explanation,
    network: Network,
    scorer: Scorer,
    image_ids: Sequence[int],
    open_session: Callable[[str], AbstractContextManager[Session]],
    *,
    on_image: Callable[[Done], None] = lambda _: None,
) -> Explanation:
    """``explanation`` with what every cause at the input changes on a sample; resumable.

    Args:
        network: as for the run itself.
        scorer: as for :func:`explain`.
        image_ids: of the sample (:func:`sample_of`), some of the scorer's images; for each cause
            the network runs over all of them.
        open_session: gives a session of the same weights in another precision.
        on_image: told of every image of every cause.

    Raises:
        UsageError: nothing is annotated in the sample that could be found.
        HeadsError, SessionError: the network is wrong, not one image.
    """
    sample = scorer.dataset.only(image_ids)
    base = scorer.collector.base
    part = Scorer(scorer.collector.only(image_ids), sample, scorer.category_ids)
    effects, skipped = [], {}
    with ExitStack() as journals:
        done = []
        for cause in causes_of(base, "input"):
            with ExitStack() as sessions:
                try:
                    other = cause.changes.get("precision")
                    session = sessions.enter_context(open_session(other)) if other else None
                except (UnsupportedPrecision, EngineUnavailable) as error:
                    skipped[cause.key] = str(error)
                    continue
                altered = Altered(network, applied([cause], base), session)
                found = Collector(altered.contract, base, (), altered.name)
                key = collection_key(altered, sample, found)
                journal = journals.enter_context(Journal(key))
                collect(altered, sample.images, found, journal, on_image=on_image)
            effects.append(part.effect([cause], found))
            done.append(journal)
        for journal in done:
            journal.finish()
    return replace(
        explanation,
        effects=(*explanation.effects, *effects),
        skipped={**explanation.skipped, **skipped},
    )


@dataclass(frozen=True, eq=False)
class Suspect:
    """An effect beside a number from elsewhere: ``expected`` is AP of all images with it, and
    ``distance`` that minus the number, without its sign."""

    effect: Effect
    expected: float
    distance: float


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Which causes fit a number from elsewhere.

    Attributes:
        mine: the number, AP from 0 to 1.
        fitting: what gives the number, to ``SAME``, if it is of the same images: one cause before
            two, then the nearest first. The run as it is may be among them.
        possible: what else gives it, if it is of other images of the same kind.
        nearest: of all, whether it fits or not.
        published: numbers in print that are as near; they are of COCO val2017, so that there are
            none for a model of other categories.
    """

    mine: float
    fitting: tuple[Suspect, ...]
    possible: tuple[Suspect, ...]
    nearest: Suspect
    published: tuple[Published, ...]


def as_fraction(number: float) -> float:
    """AP as 0..1; above 1 it is in percent.

    Raises:
        UsageError: outside of 0..100.
    """
    if not 0 <= number <= 100:
        raise UsageError(f"{number} is no average precision; give 0.196, or 19.6 for percent")
    return number / 100 if number > 1 else number


def diagnose(scorer: Scorer, explanation: Explanation, mine: float) -> Diagnosis:
    """The causes, and pairs of them, that bring this run's AP to ``mine``, 0..1.

    Every single effect is a candidate, and those pairs of causes at the heads that promise most:
    their effects multiplied come nearest to the number. These are then scored together.
    """
    pairs = [scorer.effect(pair) for pair in _promising(explanation, mine, scorer.collector)]
    felt = [one for one in (*explanation.effects, *pairs) if abs(one.change) >= FELT]
    base = explanation.base
    suspects = [_suspect(one, base, mine) for one in (base, *felt)]
    suspects.sort(key=lambda one: (len(one.effect.causes), one.distance))
    fitting = tuple(one for one in suspects if one.distance <= SAME + _slack(one.effect))
    possible = tuple(
        one
        for one in suspects
        if one not in fitting and one.distance <= SAME + one.effect.interval.width / 2
    )
    nearest = min(suspects, key=lambda one: one.distance)
    of_coco = scorer.collector.contract.categories == COCO.categories
    return Diagnosis(mine, fitting, possible, nearest, near(mine, SAME) if of_coco else ())


def _suspect(effect: Effect, base: Effect, mine: float) -> Suspect:
    expected = min(1.0, max(0.0, base.ap + effect.change))
    return Suspect(effect, expected, abs(expected - mine))


def _slack(effect: Effect) -> float:
    """How uncertain an effect on all images is that was measured on a sample."""
    return effect.moved.width / 2 if effect.sampled and effect.moved else 0.0


def _promising(
    explanation: Explanation, mine: float, collector: Collector
) -> list[tuple[Cause, Cause]]:
    """The pairs of causes worth scoring, those that promise most first."""
    base = explanation.base.ap
    if base <= 0:
        return []
    singles = [
        (one.causes[0], one.ap / base)
        for one in explanation.effects
        if not one.sampled and abs(one.change) >= FELT and one.ap >= FELT
    ]
    promised = {
        (a, b): abs(base * share * other - mine)
        for (a, share), (b, other) in itertools.combinations(singles, 2)
        if compatible(a, b) and collector.holds(applied([a, b], collector.base))
    }
    return sorted(promised, key=lambda pair: promised[pair])[:PAIRS]
