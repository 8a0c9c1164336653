"""Memory of ``detect`` does not grow with the number of images."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fake_network import fake_onnx

IMAGES = 2000
SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (1200, 1600), (64, 2000), (3000, 2000))


@pytest.mark.proof
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
def test_two_thousand_images_need_no_more_memory_than_the_first_hundred(tmp_path: Path) -> None:
    weights = tmp_path / "fake.onnx"
    weights.write_bytes(fake_onnx())
    rng = np.random.default_rng(0)
    pictures = []
    for n, (width, height) in enumerate(SIZES):
        for extension in (".jpg", ".png"):
            coarse = rng.integers(0, 256, (height // 40 + 1, width // 40 + 1, 3), np.uint8)
            path = tmp_path / f"{n}{extension}"
            assert cv2.imwrite(str(path), cv2.resize(coarse, (width, height)))
            pictures.append(str(path))
    order = rng.permutation(np.arange(IMAGES) % len(pictures))
    listing = tmp_path / "files.txt"
    listing.write_text("\n".join(pictures[k] for k in order))

    driver = Path(__file__).with_name("detect_many.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(weights), str(listing)],
        capture_output=True,
        text=True,
        check=True,
    )
    samples = [json.loads(line) for line in done.stderr.splitlines()]
    assert [sample["images"] for sample in samples] == list(range(100, IMAGES + 1, 100))
    assert len(done.stdout.splitlines()) == IMAGES
    first, last = samples[0], samples[-1]
    print(
        f"after {first['images']} images: {first['resident']:.0f} MB, peak {first['peak']:.0f} MB; "
        f"after {last['images']}: {last['resident']:.0f} MB, peak {last['peak']:.0f} MB; "
        f"growth of the peak {last['peak'] - first['peak']:.1f} MB"
    )
    assert last["peak"] - first["peak"] < 50
