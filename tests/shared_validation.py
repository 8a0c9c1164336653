"""Validates in one process, or under torchrun in several: numbers and results go to a file.

    python shared_validation.py DATA OUT

DATA is a folder of pictures; each holds a black square on white where its name says.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator

from ssd_resnet34.training.data.example import DataSet, Sample
from ssd_resnet34.training.data.loading import Examples
from ssd_resnet34.training.fitting.placing import priors_for
from ssd_resnet34.training.fitting.recipe import Recipe
from ssd_resnet34.training.fitting.running import DETECTIONS, refused_anywhere, score_of
from tiny_detector import CONTRACT, SIZE, TinyDetector

COUNT = 5


def data_in(folder: Path) -> DataSet:
    """Five pictures with a box each; the last one is damaged."""
    folder.mkdir(exist_ok=True)
    samples = []
    for number in range(COUNT):
        path = folder / f"{number}.png"
        if not path.exists():
            pixels = np.random.default_rng(number).integers(0, 256, (200, 200, 3), np.uint8)
            cv2.imwrite(str(path), pixels)
            if number == COUNT - 1:
                path.write_bytes(path.read_bytes()[:100])
        box = np.array([[20, 20, 120, 120]], np.float32)
        index = np.array([1 + number % 2])
        samples.append(Sample(path, (200, 200), box, index, np.array([False])))
    return DataSet(CONTRACT, tuple(samples))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    if accelerator.is_main_process:
        data_in(arguments.data)
    accelerator.wait_for_everyone()
    module = TinyDetector().eval()
    priors = priors_for(module, Recipe(size=SIZE))
    arguments.out.mkdir(exist_ok=True)
    found = score_of(
        module, data_in(arguments.data), priors, SIZE, arguments.out, accelerator, lambda: None
    )
    examples = Examples(data_in(arguments.data), SIZE)
    if accelerator.process_index == accelerator.num_processes - 1:
        examples.example(0, COUNT - 1)  # the first process never meets the damaged one
    refused = len(refused_anywhere(examples))
    numbers = {"value": found.value, "refused": refused, **found.numbers}
    place = arguments.out / f"numbers-{accelerator.process_index}.json"
    place.write_text(json.dumps(numbers))
    if accelerator.is_main_process:
        found.keep()
        assert (arguments.out / DETECTIONS).exists()
    # As the command does: threads of the process group that outlive it may abort at its end.
    accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main()
