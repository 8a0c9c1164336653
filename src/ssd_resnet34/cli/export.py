"""``ssd-resnet34 export``: a model as a file for other compilers and runtimes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import artifact, files
from ..compiler.decoding import Selection
from ..compiler.export import Export, Form, described
from ..compiler.export import export as make
from ..errors import ArtifactError, UsageError
from ..evaluation.exported import ExportCheck, check_export, made_up
from ..model import SSDResNet34
from ..vision.images import Image
from ..wording import counted
from .info import graph
from .inputs import read
from .options import AsJson, Weights, keep_apart
from .terminal import complain, printable

EXAMPLES: Final = """Examples:

ssd-resnet34 export -o heads.onnx

ssd-resnet34 export -o detector.onnx --end-to-end --image street.jpg

ssd-resnet34 export -o npu.onnx --split-heads --static --batch 8 --uint8-input

ssd-resnet34 export -o old.onnx -w mlcommons --precision fp32 --opset 13
"""


class Precision(StrEnum):
    """What the file holds."""

    auto = "auto"
    fp32 = "fp32"
    int8 = "int8"


def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ],
    weights: Weights = "embedded",
    precision: Annotated[
        Precision, typer.Option(help="auto: int8 where this CPU is fast at it.")
    ] = Precision.auto,
    raw_heads: Annotated[
        bool, typer.Option("--raw-heads", help="Twelve outputs, the contract's. The default.")
    ] = False,
    split_heads: Annotated[
        bool, typer.Option("--split-heads", help="Two outputs: logits and offsets.")
    ] = False,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Detections: decoding and NMS in the graph.")
    ] = False,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Images of the check's run. [1]")
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Fix the batch axis to --batch.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="13 to 21; default: the artifact's.")
    ] = None,
    uint8_input: Annotated[
        bool, typer.Option("--uint8-input", help="Input 0..255; the graph normalises it.")
    ] = False,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            "--score-threshold", "-t", help="Only scores over it, with --end-to-end. [0.05]"
        ),
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(help="IoU that drops a box, with --end-to-end. [0.5]")
    ] = None,
    pre_nms_top_k: Annotated[
        int | None, typer.Option(help="Best of a class that enter NMS, likewise. [200]")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Detections an image, likewise. [200]")] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="IMAGE", help="For the check; default: made up, or the sample."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the model as ONNX for other compilers, and check the file.

    The file is run once in ONNX Runtime and compared with the artifact it was made from.

    It is written only if the two agree; else the exit code is 1.
    """
    given = {
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "pre_nms_top_k": pre_nms_top_k,
        "top_k": top_k,
    }
    form = _form(raw_heads, split_heads, end_to_end)
    count = 1 if batch is None else batch
    selection = _selection(form, given)
    Export(batch=count)  # refuses one out of range, fixed or not
    wanted = Export(form, count if static else None, opset, uint8_input, selection)
    keep_apart({"--output": output}, {"--weights": weights, "--image": image})
    pictures = made_up(count)
    if image is not None:
        pictures[0] = read(image)
    elif form == "end-to-end":
        pictures[0] = _park()
    files.check_target(output)
    model = SSDResNet34(weights, precision.value)
    source = model.source if precision is Precision.fp32 else model.enf
    data = make(source, wanted)
    check = check_export(data, source, pictures)
    if not check.agrees:
        raise ArtifactError(
            f"{output}: not written, as the export differs from {model.name} in "
            f"{check.engine}: {_measured(check)}; try without --opset, and please report it"
        )
    files.write(output, data)
    facts = _facts(output, data, check, pictures[0] if image is not None else None)
    if as_json:
        print(json.dumps(facts))
    else:
        _print(facts, check)
    nothing = check.detections is not None and not check.detections.reference
    if nothing:
        complain("nothing was detected in the check; give a picture with --image", "note")


def _park() -> Image:
    """The sample picture, painted anew: detections can be compared only where there are some."""
    from ..training.sample import sample_scene

    return Image(sample_scene().image, "a park")


def _form(raw_heads: bool, split_heads: bool, end_to_end: bool) -> Form:
    flags: dict[Form, bool] = {
        "raw-heads": raw_heads,
        "split-heads": split_heads,
        "end-to-end": end_to_end,
    }
    chosen = [form for form, given in flags.items() if given]
    if len(chosen) > 1:
        raise UsageError(
            "--raw-heads, --split-heads and --end-to-end exclude one another; choose one"
        )
    return chosen[0] if chosen else "raw-heads"


def _selection(form: Form, given: Mapping[str, Any]) -> Selection:
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen and form != "end-to-end":
        option = f"--{next(iter(chosen)).replace('_', '-')}"
        raise UsageError(
            f"{option} needs --end-to-end: {form} are not decoded; give it to postprocess instead"
        )
    return Selection(**chosen)


def _facts(output: Path, data: bytes, check: ExportCheck, image: Image | None) -> dict[str, Any]:
    model = artifact.load(data)
    made = asdict(described(model))
    selection = made.pop("selection")
    if check.detections is not None:
        made |= {"selection": selection}
    checked = asdict(check) | {"image": None if image is None else image.name}
    if check.detections is not None:
        checked["detections"] |= {"share": check.detections.share}
    return {
        "file": str(output),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "precision": artifact.precision_of(model),
        **made,
        **graph(model),
        "check": checked,
    }


def _print(facts: Mapping[str, Any], check: ExportCheck) -> None:
    what = f"{facts['form']}, {facts['precision']}, opset {facts['opset']}"
    print(printable(f"{facts['file']}  {facts['bytes']:,} bytes  {what}"))
    for title, key in (("in ", "inputs"), ("out", "outputs")):
        for tensor in facts[key]:
            shape = ", ".join(map(str, tensor["shape"]))
            print(printable(f"  {title}  {tensor['name']:<15} {tensor['dtype']:<8} [{shape}]"))
    images = counted(check.images, "image")
    ours = "made up" if check.detections is None else "the sample picture"
    seen = printable(facts["check"]["image"] or ours)
    print(f"checked with {check.engine} on {images} ({seen}): {_measured(check)}")


def _measured(check: ExportCheck) -> str:
    if check.detections is None:
        return f"heads differ by {check.heads:.2g} at most ({check.error:.2g} of their spread)"
    found = check.detections
    return (
        f"{found.matched} of {max(found.reference, found.found)} detections are the same as "
        f"postprocess finds; boxes within {found.box_shift:.2g} of 1200 px, scores within "
        f"{found.score_shift:.2g}"
    )
