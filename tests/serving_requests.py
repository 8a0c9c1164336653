"""Hostile requests, as bodies: forms, encodings, and JSON that is not the protocol."""

import gzip
import zlib
from typing import Any

from serving_engine import picture

FORM = "multipart/form-data; boundary=x"

IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
BLOB = (3).to_bytes(4, "little") + b"abc"
"""One element of BYTES in binary: its length, and the bytes."""


def binary(size: Any = 7, **changes: Any) -> dict[str, Any]:
    return {"inputs": [{**IMAGE, "parameters": {"binary_data_size": size}, **changes}]}


def part(name: str, data: bytes, header: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n%s\r\n%s\r\n' % (
        name.encode(),
        header,
        data,
    )


FORMS: dict[str, bytes] = {
    "no part": b"--x--\r\n",
    "two files": part("image", b"a") + part("file", b"b") + b"--x--\r\n",
    "another field": part("options", b"a") + b"--x--\r\n",
    "cut": part("image", picture()),
    "not multipart": b"hello",
    "many parts": part("image", b"") * 100_000 + b"--x--",
    "a huge header": part("image", b"", b"X: " + b"y" * 1_000_000) + b"--x--",
    "many headers": part("image", b"", b"X: y\r\n" * 100_000) + b"--x--",
    "a header that is not UTF-8": part("image", picture(), b"X: \xff\r\n") + b"--x--\r\n",
    "a long preamble": b"hello\r\n" * 100_000,
    "empty": b"",
}
"""Bodies of the type FORM; each of them is refused as a bad request."""

GZIP = gzip.compress(b"x" * 3000)

ENCODED: dict[str, tuple[str, bytes, int]] = {
    "no gzip": ("gzip", b"not gzip", 400),
    "an empty gzip": ("gzip", b"", 400),
    "a gzip that was cut": ("gzip", GZIP[:-9], 400),
    "bytes behind a gzip": ("gzip", GZIP + b"more", 400),
    "a bare deflate": ("deflate", zlib.compress(b"x")[2:-4], 400),
    "brotli": ("br", b"x", 415),
    "gzip twice": ("gzip, gzip", GZIP, 415),
    "compress": ("compress", b"x", 415),
}
"""Content-Encoding, body, and the status of the refusal."""

NOT_THE_PROTOCOL: dict[str, tuple[Any, bytes]] = {
    "no JSON": (b"{", b""),
    "trailing garbage": (b'{"inputs": []} x', b""),
    "not UTF-8": (b'{"inputs": "\xff"}', b""),
    "an array": ([], b""),
    "no inputs": ({}, b""),
    "empty inputs": ({"inputs": []}, b""),
    "inputs of another kind": ({"inputs": {}}, b""),
    "an input that is a number": ({"inputs": [1]}, b""),
    "id a number": ({**binary(), "id": 5}, BLOB),
    "id too long": ({**binary(), "id": "x" * 2000}, BLOB),
    "half a surrogate pair": (b'{"id": "\\ud800", "inputs": [{"name": "a", "datatype": "BYTES", '
                              b'"shape": [1], "data": ["a"]}]}', b""),
    "timeout a string": ({**binary(), "parameters": {"timeout": "5"}}, BLOB),
    "timeout true": ({**binary(), "parameters": {"timeout": True}}, BLOB),
    "timeout negative": ({**binary(), "parameters": {"timeout": -1}}, BLOB),
    "timeout beyond a float": ({**binary(), "parameters": {"timeout": 10**400}}, BLOB),
    "timeout a fraction": ({**binary(), "parameters": {"timeout": 1.5}}, BLOB),
    "parameter an object": ({**binary(), "parameters": {"x": {}}}, BLOB),
    "parameter null": ({**binary(), "parameters": {"x": None}}, BLOB),
    "parameters a list": ({**binary(), "parameters": []}, BLOB),
    "shape negative": (binary(shape=[-1]), BLOB),
    "shape 0": (binary(shape=[0]), BLOB),
    "shape a fraction": (binary(shape=[1.0]), BLOB),
    "shape true": (binary(shape=[True]), BLOB),
    "shape of a string": (binary(shape=["1"]), BLOB),
    "shape huge": (binary(shape=[2**32, 2**32]), BLOB),
    "shape too long": (binary(shape=[1] * 9), BLOB),
    "shape missing": ({"inputs": [{"name": "image", "datatype": "BYTES", "data": ["a"]}]}, b""),
    "size negative": (binary(-1), BLOB),
    "size a string": (binary("7"), BLOB),
    "size true": (binary(True), BLOB),
    "size beyond the body": (binary(8), BLOB),
    "bytes left over": (binary(), BLOB + b"x"),
    "data and size": (binary(data=["a"]), BLOB),
    "neither": ({"inputs": [IMAGE]}, b""),
    "prefix longer than the blob": (binary(), b"\4\0\0\0abc"),
    "blob under four bytes": (binary(2), b"ab"),
    "more elements than the shape": (binary(14), BLOB * 2),
    "number for BYTES": ({"inputs": [{**IMAGE, "data": [1]}]}, b""),
    "content type unknown": (
        {"inputs": [{**IMAGE, "data": ["a"], "parameters": {"content_type": "hex"}}]}, b""
    ),
    "datatype unknown": ({"inputs": [{**IMAGE, "datatype": "FP8", "data": [1]}]}, b""),
    "name missing": ({"inputs": [{"datatype": "BYTES", "shape": [1], "data": ["a"]}]}, b""),
    "the same input twice": ({"inputs": [{**IMAGE, "data": ["a"]}] * 2}, b""),
    "outputs an object": ({**binary(), "outputs": {}}, BLOB),
    "outputs of strings": ({**binary(), "outputs": ["boxes"]}, BLOB),
    "binary_data a string": (
        {**binary(), "outputs": [{"name": "b", "parameters": {"binary_data": "yes"}}]}, BLOB
    ),
    "NaN in data": (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
                    b""),
    "NaN in a parameter": (b'{"parameters": {"a": NaN}, "inputs": [{"name": "x", "datatype": '
                           b'"BYTES", "shape": [1], "data": ["a"]}]}', b""),
    "a key twice": (b'{"inputs": [], "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], '
                    b'"data": ["a"]}]}', b""),
    "nested too deep": (b"[" * 100_000, b""),
    "nested objects": (b'{"a":' * 100_000, b""),
    "lists by the million": (b'{"inputs": [' + b"[]," * 5_000_000 + b"[]]}", b""),
    "fields by the million": (
        b'{"inputs": 0, ' + b",".join(b'"%x":0' % n for n in range(2_000_000)) + b"}", b""
    ),
    "elements by the million": (binary(16_000_000, shape=[4_000_000]), bytes(16_000_000)),
    "a number of 5,000 digits": (b'{"inputs": [' + b"1" * 5000 + b"]}", b""),
}  # fmt: skip
"""JSON and the bytes behind it; each of them is refused as a bad request."""
