"""Memory of a training step at 1200×1200, for images that go through the network at once.

    python -m benchmarks.training_memory [1 4 16] [--freeze backbone] [--autocast bf16]
                                         [--device cpu]

Two steps each, in a process of its own: on a CPU the highest resident set of that process, on a GPU
what PyTorch's allocator held at most. Optimiser, average and a batch of noise are included; workers
and the copy for validation are not (80 MB).
"""

import subprocess
import sys
from typing import Final

from benchmarks import command_line
from ssd_resnet34.contract import COCO, INPUT_SIZE

SIZES: Final = (1, 4, 16)
GIB: Final = 2**30


def step(images: int, freeze: str, autocast: str, device: str) -> float:
    """Peak of two steps with ``images`` at once, GiB."""
    import resource

    import numpy as np
    import torch
    from accelerate import Accelerator

    from ssd_resnet34.training.allocator import keep_memory
    from ssd_resnet34.training.fitting.loading import Micro
    from ssd_resnet34.training.fitting.recipe import Recipe
    from ssd_resnet34.training.fitting.starting import begin
    from ssd_resnet34.training.fitting.stepping import Stepper

    keep_memory()  # as the command does
    recipe = Recipe(
        batch=images,
        freeze="backbone" if freeze == "backbone" else "nothing",
        autocast="bf16" if autocast == "bf16" else "off",
    )
    stepper = Stepper(
        begin("embedded", COCO, 0).module,
        COCO,
        recipe,
        Accelerator(cpu=device == "cpu"),
        live=False,
    )
    priors = len(stepper.priors)
    pixels = np.random.default_rng(0).integers(
        0, 256, (images, INPUT_SIZE, INPUT_SIZE, 3), np.uint8
    )
    classes = torch.zeros(images, priors, dtype=torch.int64)
    classes[:, :50] = 1
    micro = Micro(
        torch.from_numpy(pixels),
        classes,
        torch.zeros(images, priors, 4),
        (frozenset(),) * images,
        ("noise",) * images,
        50 * images,
    )
    for _ in range(2):
        stepper.step([micro], micro.positives, recipe.peak)
    if stepper.device.type == "cuda":
        return torch.cuda.max_memory_reserved() / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--freeze", choices=("nothing", "backbone"), default="nothing")
    parser.add_argument("--autocast", choices=("off", "bf16"), default="off")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--here", action="store_true", help="in this process; one size")
    arguments = parser.parse_args()
    if arguments.here:
        print(step(arguments.sizes[0], arguments.freeze, arguments.autocast, arguments.device))
        return
    options = [f"--{name}={getattr(arguments, name)}" for name in ("freeze", "autocast", "device")]
    options.append("--here")
    for size in arguments.sizes:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.training_memory", str(size), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            print(f"{size} images at once: failed with code {done.returncode} (out of memory?)")
        else:
            print(f"{size} images at once: {float(done.stdout):.1f} GiB")


if __name__ == "__main__":
    main()
