"""``ssd-resnet34 info``: what runs here and why, or what an artifact says of itself."""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .. import __version__, artifact, weights
from ..runtime import cpu, precision
from ..runtime.engines import describe, version_of
from ..weights import store
from ..weights.records import RECORDS
from .options import AsJson
from .terminal import show_table
from .weights import short

if TYPE_CHECKING:
    import onnx

EXAMPLES: Final = """Examples:

ssd-resnet34 info

ssd-resnet34 info model.onnx --json
"""

_PACKAGES: Final = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnx",
    "onnxruntime",
    "openvino",
    "torch",
)

_STATES: Final = (".safetensors", ".pth", ".pytorch", ".pt")
"""Endings of weights without a graph."""

_LABELS: Final = 6
"""Of an artifact's, that its table shows."""


def info(
    source: Annotated[
        str | None,
        typer.Argument(metavar="ARTIFACT", help="An ONNX or weights file to describe instead."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show versions, CPU features, engines and weights; or an artifact's metadata."""
    facts = machine() if source is None else _artifact(source)
    if as_json:
        print(json.dumps(facts, indent=2))
    elif source is None:
        _print_machine(facts)
    else:
        _print_artifact(facts)


def machine() -> dict[str, Any]:
    """Everything ``info`` shows of this machine."""
    choice = precision.preferred()
    return {
        **platform_facts(),
        "precision": {"chosen": choice.precision, "reason": choice.reason},
        "engines": [asdict(engine) for engine in describe()],
        "cache": str(store.cache_dir()),
        "weights": [short(record) for record in RECORDS.values()],
    }


def platform_facts() -> dict[str, Any]:
    """What any measurement should say of the machine: versions, system and processor."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version_of(name) or None for name in _PACKAGES},
        "cpu": {
            "model": cpu.model_name(),
            "features": sorted(cpu.features()),
            "threads": cpu.available_threads(),
        },
    }


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _artifact(source: str) -> dict[str, Any]:
    path = Path(source)
    # Weights that are no graph are described by the one that every command makes of them.
    model = artifact.load(weights.load(path) if path.suffix in _STATES else path)
    contract = artifact.contract_of(model)
    facts: dict[str, Any] = {
        "file": source,
        "precision": artifact.precision_of(model),
        "lineage": contract.lineage,
        "classes": len(contract.categories),
        "labels": list(contract.labels),
        "mean": list(contract.mean),
        "std": list(contract.std),
        **graph(model),
    }
    others = artifact.metadata(model)
    facts["metadata"] = {key: value for key, value in others.items() if key != "contract"}
    return facts


def graph(model: "onnx.ModelProto") -> dict[str, Any]:
    """``opset`` of ONNX's own operators, ``inputs`` and ``outputs``: name, dtype, and shape with
    names of dynamic axes."""
    own = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return {
        "opset": max(own, default=None),
        "inputs": [_tensor(value) for value in artifact.inputs_of(model)],
        "outputs": [_tensor(value) for value in model.graph.output],
    }


def _tensor(value: "onnx.ValueInfoProto") -> dict[str, Any]:
    from onnx import helper

    tensor = value.type.tensor_type
    shape = [axis.dim_value or axis.dim_param or "?" for axis in tensor.shape.dim]
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:  # anybody may have written the file
        kind = f"type {tensor.elem_type}"
    return {"name": value.name, "dtype": kind, "shape": shape}


def _print_artifact(facts: dict[str, Any]) -> None:
    facts = dict(facts)
    labels, entries = facts.pop("labels"), facts.pop("metadata")
    rows = [("file", facts.pop("file"))]
    for title in ("input", "output"):
        for one in facts.pop(f"{title}s"):
            rows.append((f"{title} {one['name']}", f"{one['dtype']} {_listed(one['shape'])}"))
    rows += [(key, _listed(value)) for key, value in facts.items()]
    more = len(labels) - _LABELS
    shown = ", ".join(labels if more <= 1 else labels[:_LABELS])
    rows.append(("labels", shown if more <= 1 else f"{shown}, {more} more (--json has them)"))
    for key, text in entries.items():
        if key not in facts:  # the graph itself has told the precision
            rows += _flat(key, _parsed(text))
    show_table(("what", "value"), rows)


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    """A fact a row; nothing for an empty one."""
    if isinstance(value, dict):
        return [row for name, inner in value.items() for row in _flat(f"{key}.{name}", inner)]
    return [] if value in (None, "", []) else [(key, _listed(value))]


def _parsed(text: str) -> Any:
    """What a metadata entry holds where it is a JSON object, else its text."""
    if not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # as above
        return text


def _listed(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return str(value)
    return f"[{', '.join(map(str, value))}]"


def _print_machine(facts: dict[str, Any]) -> None:
    packages = {name: version or "not installed" for name, version in facts["packages"].items()}
    top = {"ssd-resnet34": facts["version"], "Python": facts["python"], "system": facts["system"]}
    features = ", ".join(facts["cpu"]["features"])
    top |= packages | {"CPU features": features, "threads": facts["cpu"]["threads"]}
    chosen = facts["precision"]
    top |= {"precision": f"{chosen['chosen']}: {chosen['reason']}", "cache": facts["cache"]}
    show_table(("what", "value"), top.items())
    rows = []
    for engine in facts["engines"]:
        if engine["unavailable"]:
            rows.append((engine["name"], "–", "–", engine["unavailable"]))
            continue
        for name, reason in engine["precisions"].items():
            rows.append((engine["name"], engine["version"], name, reason or "yes"))
    show_table(("engine", "version", "precision", "here"), rows)
    show_table(
        ("weights", "here", "mAP (COCO val2017)"),
        [
            (
                record["name"],
                "yes" if record["present"] else "no",
                "; ".join(f"{score['value']} by {score['by']}" for score in record["mAP"]) or "–",
            )
            for record in facts["weights"]
        ],
    )
