"""Detect with Python's standard library alone; a busy server is asked again when it says so.

ssd-resnet34 serve &
python examples/clients/detect.py samples/scene.png

A server elsewhere wants a token; it is read from SSD_RESNET34_TOKEN, as the server reads it:

SSD_RESNET34_TOKEN=… python examples/clients/detect.py samples/scene.png http://server:8000
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TRIES = 5


def detect(image: bytes, server: str, token: str = "") -> dict:
    headers = {"Content-Type": "application/octet-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{server}/detect", image, headers)
    for tries_left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After")  # with 429 and 503: when there will be room
            if wait is None or not tries_left:
                problem = json.load(error)
                sys.exit(f"{error.code} {problem['code']}: {problem['error']}")
            time.sleep(float(wait))
        except OSError as error:  # nobody listens there, or the connection broke
            sys.exit(f"{server}: {getattr(error, 'reason', error)}; is ssd-resnet34 serve running?")
    raise AssertionError("the last try ends above")


def main() -> None:
    path, server = sys.argv[1], (sys.argv[2:] or ["http://127.0.0.1:8000"])[0]
    found = detect(Path(path).read_bytes(), server, os.environ.get("SSD_RESNET34_TOKEN", ""))
    print(f"{found['width']}×{found['height']}, {len(found['detections'])} objects")
    for one in found["detections"]:
        left, top, right, bottom = (round(value) for value in one["box"])
        print(f"{one['score']:.2f}  {one['label']:<16} ({left}, {top}) – ({right}, {bottom})")


if __name__ == "__main__":
    main()
