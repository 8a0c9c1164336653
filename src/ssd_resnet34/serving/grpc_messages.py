"""The messages of the Open Inference Protocol over gRPC, and of gRPC's health check.

They live in a descriptor pool of their own. Generated modules register the package ``inference``
in the process-wide pool, where a second one (``tritonclient.grpc``, MLServer, KServe) collides.
Source of the fields: kserve/open-inference-protocol ``open_inference_grpc.proto``, and
grpc/grpc-proto ``health.proto``.
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

INFERENCE: Final = "inference"
HEALTH: Final = "grpc.health.v1"

_TENSOR_METADATA: Final = "name:1:string datatype:2:string shape:3:int64*"

_FIELDS: Final[dict[str, dict[str, str]]] = {
    INFERENCE: {
        "ServerLiveRequest": "",
        "ServerLiveResponse": "live:1:bool",
        "ServerReadyRequest": "",
        "ServerReadyResponse": "ready:1:bool",
        "ModelReadyRequest": "name:1:string version:2:string",
        "ModelReadyResponse": "ready:1:bool",
        "ServerMetadataRequest": "",
        "ServerMetadataResponse": "name:1:string version:2:string extensions:3:string*",
        "ModelMetadataRequest": "name:1:string version:2:string",
        "TensorMetadata": _TENSOR_METADATA,
        "ModelMetadataResponse": "name:1:string versions:2:string* platform:3:string "
        "inputs:4:TensorMetadata* outputs:5:TensorMetadata* properties:6:string{}",
        "InferParameter": "bool_param:1:bool| int64_param:2:int64| string_param:3:string| "
        "double_param:4:double| uint64_param:5:uint64|",
        "InferTensorContents": "bool_contents:1:bool* int_contents:2:int32* "
        "int64_contents:3:int64* uint_contents:4:uint32* uint64_contents:5:uint64* "
        "fp32_contents:6:float* fp64_contents:7:double* bytes_contents:8:bytes*",
        "InferTensor": "name:1:string datatype:2:string shape:3:int64* "
        "parameters:4:InferParameter{} contents:5:InferTensorContents",
        "InferRequestedOutput": "name:1:string parameters:2:InferParameter{}",
        "ModelInferRequest": "model_name:1:string model_version:2:string id:3:string "
        "parameters:4:InferParameter{} inputs:5:InferTensor* outputs:6:InferRequestedOutput* "
        "raw_input_contents:7:bytes*",
        "ModelInferResponse": "model_name:1:string model_version:2:string id:3:string "
        "parameters:4:InferParameter{} outputs:5:InferTensor* raw_output_contents:6:bytes*",
    },
    HEALTH: {
        "HealthCheckRequest": "service:1:string",
        # An enum, which is an int32 on the wire: 1 serving, 2 not serving, 3 unknown service.
        "HealthCheckResponse": "status:1:int32",
    },
}
"""Package -> message -> ``name:number:type``; * repeated, {} a map from string, | one of these."""

_Field = descriptor_pb2.FieldDescriptorProto


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    made = {}
    for package, messages in _FIELDS.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"ssd_resnet34/{package}.proto", package=package, syntax="proto3"
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field in fields.split():
                _add_field(message, f".{package}", *field.split(":"))
        pool.Add(file)
        for name in messages:
            descriptor = pool.FindMessageTypeByName(f"{package}.{name}")
            made[name] = message_factory.GetMessageClass(descriptor)
    return made


def _add_field(message: Any, package: str, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    base = kind.rstrip("*{}|")
    if kind.endswith("{}"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "key", "1", "string")
        _add_field(entry, package, "value", "2", base)
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f"{package}.{message.name}.{entry.name}"
        return
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if base[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{package}.{base}"
    else:
        field.type = getattr(_Field, f"TYPE_{base.upper()}")


CLASSES: Final = _classes()
"""Message name -> class."""

MOST_FIELDS: Final = 4096
"""Of a message, and bytes of a list of whole numbers in it."""

_VARINT: Final = 0
_BYTES: Final = 2
_FIXED: Final[Mapping[int, int]] = {1: 8, 5: 4}
"""How a field lies on the wire (protobuf's encoding); of fixed ones their bytes."""

_WHOLE: Final = ("bool*", "int32*", "int64*", "uint32*", "uint64*")


def _kinds(fields: str) -> dict[int, str]:
    """Number -> type, as in ``_FIELDS``; entries of a map are messages of their own."""
    return {int(number): kind for _, number, kind in (one.split(":") for one in fields.split())}


_KINDS: Final = {
    name: _kinds(fields) for messages in _FIELDS.values() for name, fields in messages.items()
}


def is_modest(data: bytes, name: str) -> bool:
    """Whether a message can be read in about the memory of its bytes.

    Two bytes can stand for an empty message inside it, which takes a hundred, and one for a whole
    number, which takes eight. Of bytes that are no message it may say either.
    """
    left = MOST_FIELDS
    pending = [(0, len(data), _KINDS[name])]
    try:
        while pending:
            position, end, kinds = pending.pop()
            while position < end:
                left -= 1
                key, position = _varint(data, position)
                kind = kinds.get(key >> 3, "")
                wire, size = key & 7, 0
                if wire == _VARINT:
                    _, position = _varint(data, position)
                elif wire == _BYTES:
                    size, position = _varint(data, position)
                elif wire in _FIXED:
                    size = _FIXED[wire]
                else:
                    return False
                if left < 0 or (kind in _WHOLE and size > MOST_FIELDS):
                    return False
                base = kind.rstrip("*{}|")
                if wire == _BYTES and kind.endswith("{}"):
                    pending.append((position, position + size, {1: "string", 2: base}))
                elif wire == _BYTES and base in _KINDS:
                    pending.append((position, position + size, _KINDS[base]))
                position += size
    except IndexError:
        return False
    return True


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and what is behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise IndexError
