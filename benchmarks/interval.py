"""How good the interval of AP is: sets of images drawn from one population, of which AP is known.

    python -m benchmarks.interval [--sets 120]

Its width should be that of the real spread of AP over the sets, and 95 % of the intervals should
hold the mean over the sets. 150 images a set, ten categories, made-up detections: three minutes.
"""

from collections import defaultdict

import numpy as np
from rich.progress import track

from benchmarks import command_line
from benchmarks.scoring import made_up
from ssd_resnet34.evaluation.bootstrap import CONFIDENCE, intervals
from ssd_resnet34.evaluation.coco import evaluate

POPULATION, IMAGES, REPLICATES = 6000, 150, 300
NORMAL = 1.96
"""Half the width of a 95 % interval in standard errors."""


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--sets", type=int, default=120)
    count = parser.parse_args().sets
    population, results = made_up(POPULATION, 30 * POPULATION, categories=10)
    by_image = defaultdict(list)
    for one in results:
        by_image[one["image_id"]].append(one)
    rng = np.random.default_rng(1)
    values, found = [], []
    for _ in track(range(count), "sets", transient=True):
        ids = (rng.choice(POPULATION, IMAGES, replace=False) + 1).tolist()
        chosen = [one for image in ids for one in by_image[image]]
        evaluation = evaluate(population.only(ids), chosen)
        values.append(evaluation.scores.numbers["AP"])
        found.append(intervals(evaluation, replicates=REPLICATES)["AP"])
    mean = float(np.mean(values))
    held = np.mean([one.low <= mean <= one.high for one in found])
    width = np.mean([one.width for one in found])
    print(f"{count} sets of {IMAGES} images of {POPULATION:,}: AP {mean:.4f}")
    print(f"standard error of AP over the sets    {np.std(values, ddof=1):.4f}")
    print(f"standard error by the intervals       {width / (2 * NORMAL):.4f}")
    print(f"{100 * CONFIDENCE:g} % intervals that hold the mean   {100 * held:.0f} %")


if __name__ == "__main__":
    main()
