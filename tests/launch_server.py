"""Serve with the settings of a JSON argument: the command's road, with limits that tests need."""

import json
import logging
import sys

from ssd_resnet34.serving import cluster
from ssd_resnet34.serving.limits import ServerLimits
from ssd_resnet34.serving.server import Settings, run
from ssd_resnet34.serving.tasks import Started, WorkerConfig
from ssd_resnet34.vision.images import Limits

if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    given = json.loads(sys.argv[1])
    images = Limits(**given["images"])
    worker = WorkerConfig(given["weights"], given["engine"], "cpu", given["precision"], 1, images)
    settings = Settings(
        worker,
        port=given["port"],
        workers=given["workers"],
        token=given["token"],
        grpc_port=given["grpc_port"],
        limits=ServerLimits(images=images, **given["limits"]),
    )

    def announce(address: str, facts: Started) -> None:
        print(address, flush=True)

    if given["ray"] is None:
        run(settings, announce)
    else:
        cluster.run(settings, cluster.Scale(**given["ray"]), announce)
