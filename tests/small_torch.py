"""The small network of ``small_network`` as a torch module, and an engine with the whole road.

``RoadEngine`` stands for torch on a GPU: it takes device ``cuda`` and runs on the CPU.
"""

from collections.abc import Mapping

import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from ssd_resnet34 import artifact
from ssd_resnet34.contract import LEVELS
from ssd_resnet34.runtime.device.network import Plan
from ssd_resnet34.runtime.device.runner import DeviceRunner
from ssd_resnet34.runtime.engines import CompileRequest

DEFAULT = Plan()


class SmallNetwork(nn.Module):
    """float32 [N, 3, 1200, 1200] -> the twelve heads, in milliseconds."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 24)
        self.conv1 = nn.Conv2d(8, 8, 3, 1, 1)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1)
        self.last = nn.Conv2d(8, 8, 1)
        self.cls = nn.ModuleList(nn.Conv2d(8, num_classes * one.anchors, 1) for one in LEVELS)
        self.loc = nn.ModuleList(nn.Conv2d(8, 4 * one.anchors, 1) for one in LEVELS)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = torch.relu(self.stem(image))
        maps = [torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)]
        for window in (2, 1, 1, 3):
            maps.append(functional.max_pool2d(maps[-1], window, 2))
        maps.append(torch.relu(self.last(maps[-1])))
        return [
            head(x) for heads in (self.cls, self.loc) for head, x in zip(heads, maps, strict=True)
        ]


def small_torch(data: bytes) -> SmallNetwork:
    """The module with the weights of an artifact of ``small_network.small_onnx``."""
    model = artifact.load(data)
    network = SmallNetwork(artifact.contract_of(model).num_classes)
    names = {"stem": "stem", "conv1": "block.conv1", "conv2": "block.conv2", "last": "last"}
    names |= {f"{kind}.{n}": f"{kind}_{n}" for kind in ("cls", "loc") for n in range(len(LEVELS))}
    stored = {one.name: numpy_helper.to_array(one).copy() for one in model.graph.initializer}
    network.load_state_dict(
        {
            f"{ours}.{leaf}": torch.from_numpy(stored[f"{theirs}.{leaf}"])
            for ours, theirs in names.items()
            for leaf in ("weight", "bias")
        }
    )
    return network.eval()


class RoadEngine:
    """Runs ``small_onnx`` artifacts with pixels, network and selection on one torch device."""

    name = "road"
    version = "1"

    def __init__(self, plan: Plan = DEFAULT) -> None:
        self.plan = plan
        self.requests: list[CompileRequest] = []
        self.runners: list[DeviceRunner] = []

    def precisions(self, device: str) -> Mapping[str, str]:
        return {"fp32": "", "bf16": "", "fp16": "", "int8": "floats only"}

    def whole_road(self, device: str) -> bool:
        return True

    def device_name(self, device: str) -> str:
        return f"a card called {device}"

    def compile(self, model: bytes, request: CompileRequest) -> DeviceRunner:
        self.requests.append(request)
        self.runners.append(
            DeviceRunner(
                small_torch(model),
                request.contract,
                "cpu",
                request.precision,
                request.streams,
                self.plan,
            )
        )
        return self.runners[-1]
