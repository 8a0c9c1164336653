"""The OpenAPI 3.1 description of the HTTP interface, made from the tables that the server uses."""

from typing import Any, Final

from .. import __version__
from ..detector import DEFAULT_SCORE_THRESHOLD
from .detect_route import MEDIA
from .limits import ServerLimits
from .models import DETECTION, HEADS, VERSION
from .refusals import CODES

_MODEL: Final = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"enum": [DETECTION, HEADS]},
}
_VERSION: Final = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"enum": [VERSION]},
}
_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of JSON in front of binary tensors; 0: the body is the raw input.",
    "schema": {"type": "integer", "minimum": 0},
}

_OPTIONS: Final = [
    {
        "name": "score_threshold",
        "in": "query",
        "description": "Detections must exceed it.",
        "schema": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": DEFAULT_SCORE_THRESHOLD,
        },
    },
    {
        "name": "classes",
        "in": "query",
        "description": "Labels, with commas between; all without it.",
        "schema": {"type": "string", "minLength": 1},
        "example": "car,bus",
    },
]


def document(limits: ServerLimits, secured: bool) -> dict[str, Any]:
    """The description, as plain JSON values."""
    paths: dict[str, Any] = {
        "/v2": _get("What the server is.", "ServerMetadata"),
        "/v2/health/live": _get("Whether the process answers.", "Live"),
        "/v2/health/ready": _get("Whether to send requests here.", "Ready", 503),
    }
    for path, parameters in (
        ("/v2/models/{model}", [_MODEL]),
        ("/v2/models/{model}/versions/{version}", [_MODEL, _VERSION]),
    ):
        paths[path] = _get("Inputs and outputs.", "ModelMetadata", 404, 503, parameters=parameters)
        paths[f"{path}/ready"] = _get(
            "Whether the model can be used.", "Ready", 404, 503, parameters=parameters
        )
        paths[f"{path}/infer"] = {"post": _infer([*parameters, _LENGTH])}
    paths["/detect"] = {"post": _detect(limits)}
    paths["/metrics"] = {
        "get": {
            "summary": "Numbers for Prometheus.",
            "responses": {"200": {"description": "Text.", "content": {"text/plain": {}}}},
        }
    }
    if secured:
        for path, operations in paths.items():
            for operation in operations.values():
                if not path.startswith("/v2/health/"):
                    operation["security"] = [{"bearer": []}]
                    operation["responses"]["401"] = _error(401)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ssd-resnet34",
            "version": __version__,
            "description": "Object detection: the Open Inference Protocol v2, and /detect.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}} if secured else {},
        },
    }


def _get(
    summary: str,
    schema: str,
    *errors: int,
    parameters: list[Any] | None = None,
) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "parameters": parameters or [],
            "responses": {"200": _json("Done.", schema), **{str(e): _error(e) for e in errors}},
        }
    }


def _infer(parameters: list[Any]) -> dict[str, Any]:
    return {
        "summary": "Run a model on one request, a batch of images.",
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferRequest")},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": {
                "description": "The outputs; binary ones follow the JSON.",
                "content": {
                    "application/json": {"schema": _ref("InferResponse")},
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            **{str(status): _error(status) for status in _RUN_ERRORS if status != 406},
        },
    }


def _detect(limits: ServerLimits) -> dict[str, Any]:
    image = {"type": "string", "format": "binary", "maxLength": limits.images.max_bytes}
    return {
        "summary": "Detect the objects of one image.",
        "description": f"Formats: {', '.join(limits.images.formats)}. The header Server-Timing has "
        "the milliseconds of each stage.",
        "parameters": _OPTIONS,
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": image},
                "image/*": {"schema": image},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"image": image},
                        "required": ["image"],
                        "additionalProperties": False,
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "The detections, best first; or the picture with them drawn.",
                "content": {
                    media: {"schema": _ref("Detections") if form == "json" else image}
                    for media, form in MEDIA.items()
                },
            },
            **{str(status): _error(status) for status in _RUN_ERRORS if status != 404},
        },
    }


def _json(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(schema)}},
    }


def _error(status: int) -> dict[str, Any]:
    codes = [code for code in CODES.values() if code.status == status]
    return _json("; ".join(f"{code.name}: {code.meaning}" for code in codes) + ".", "Error")


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_RUN_ERRORS: Final = sorted({code.status for code in CODES.values()} - {401, 405})


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}
_WHOLE: Final = {"type": "integer"}
_PARAMETERS: Final = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}

_SCHEMAS: Final[dict[str, Any]] = {
    "Error": _object(["error", "code"], error=_TEXT, code={"enum": sorted(CODES)}),
    "Live": _object(["live"], live=_FLAG),
    "Ready": _object(["ready"], ready=_FLAG, name=_TEXT),
    "ServerMetadata": _object(
        ["name", "version", "extensions"], name=_TEXT, version=_TEXT, extensions=_array(_TEXT)
    ),
    "TensorMetadata": _object(
        ["name", "datatype", "shape"], name=_TEXT, datatype=_TEXT, shape=_array(_WHOLE)
    ),
    "ModelMetadata": _object(
        ["name", "versions", "platform", "inputs", "outputs"],
        name=_TEXT,
        versions=_array(_TEXT),
        platform=_TEXT,
        inputs=_array(_ref("TensorMetadata")),
        outputs=_array(_ref("TensorMetadata")),
    ),
    "InferRequest": _object(
        ["inputs"],
        id=_TEXT,
        parameters=_PARAMETERS,
        inputs=_array(
            _object(
                ["name", "datatype", "shape"],
                name=_TEXT,
                datatype={"enum": ["BYTES", "FP32"]},
                shape=_array({"type": "integer", "minimum": 1}),
                parameters=_PARAMETERS,
                data={"type": "array"},
            )
        ),
        outputs=_array(_object(["name"], name=_TEXT, parameters=_PARAMETERS)),
    ),
    "InferResponse": _object(
        ["model_name", "outputs"],
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        outputs=_array(
            _object(
                ["name", "datatype", "shape"],
                name=_TEXT,
                datatype=_TEXT,
                shape=_array(_WHOLE),
                parameters=_PARAMETERS,
                data={"type": "array", "items": {"type": "number"}},
            )
        ),
    ),
    "Detections": _object(
        ["image", "width", "height", "model", "detections"],
        image=_TEXT,
        width=_WHOLE,
        height=_WHOLE,
        model=_TEXT,
        detections=_array(
            _object(
                ["box", "score", "index", "category_id", "label"],
                box={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                score={"type": "number", "minimum": 0, "maximum": 1},
                index=_WHOLE,
                category_id=_WHOLE,
                label=_TEXT,
            )
        ),
    ),
}
