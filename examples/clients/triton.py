"""Detect with tritonclient, over HTTP or gRPC: the same numbers.

pip install 'tritonclient[http,grpc]'
ssd-resnet34 serve --grpc-port 8001 &
python examples/clients/triton.py samples/scene.png             # 127.0.0.1:8000
python examples/clients/triton.py samples/scene.png --grpc      # 127.0.0.1:8001

A server elsewhere wants a token; it is read from SSD_RESNET34_TOKEN, as the server reads it:

SSD_RESNET34_TOKEN=… python examples/clients/triton.py samples/scene.png --server server:8000
"""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--grpc", action="store_true")
    parser.add_argument("--server", help="host:port")
    chosen = parser.parse_args()
    try:
        import numpy as np

        if chosen.grpc:
            import tritonclient.grpc as triton
        else:
            import tritonclient.http as triton
        from tritonclient.utils import InferenceServerException
    except (ImportError, RuntimeError) as error:  # the second: of another part of tritonclient
        sys.exit(f"{error}: pip install 'tritonclient[http,grpc]'")

    token = os.environ.get("SSD_RESNET34_TOKEN")
    # In lower case, as gRPC wants the keys of its metadata; HTTP takes any.
    headers = {"authorization": f"Bearer {token}"} if token else None
    files = np.array([path.read_bytes() for path in chosen.images], np.object_)
    batch = triton.InferInput("image", [len(files)], "BYTES")
    batch.set_data_from_numpy(files)
    server = chosen.server or ("127.0.0.1:8001" if chosen.grpc else "127.0.0.1:8000")
    try:
        with triton.InferenceServerClient(server) as client:
            answer = client.infer("ssd-resnet34", [batch], headers=headers)
    except InferenceServerException as error:
        sys.exit(str(error))
    # The rows of all images follow one another; num_detections says how many each has.
    ends = np.cumsum(answer.as_numpy("num_detections"))
    boxes = np.split(answer.as_numpy("boxes"), ends[:-1])
    scores = np.split(answer.as_numpy("scores"), ends[:-1])
    categories = np.split(answer.as_numpy("category_ids"), ends[:-1])
    for path, *rows in zip(chosen.images, boxes, scores, categories, strict=True):
        print(path)
        for box, score, category in zip(*rows, strict=True):
            print(f"  {score:.2f}  category {category:<3} {np.round(box).astype(int).tolist()}")


if __name__ == "__main__":
    main()
