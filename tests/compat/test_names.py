"""Every public name and signature of the vendor's releases is here.

The tables were written from the facts page; the last test reads the page itself, so that nothing on
it is left out of both the tables and the reasons.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

NAMES = {
    "furiosa.models": "__version__ vision types errors",
    "furiosa.models.vision": "SSDResNet34 ssd_resnet34 nonblocking postprocess",
    "furiosa.models.vision.nonblocking": "SSDResNet34 ssd_resnet34",
    "furiosa.models.vision.ssd_resnet34": (
        "SSDResNet34 SSDResNet34PreProcessor SSDResNet34PythonPostProcessor "
        "SSDResNet34NativePostProcessor SSDResNet34Model preprocess postprocess "
        "NativePostProcessor CLASSES NUM_OUTPUTS Encoder DefaultBoxes dboxes_R34_coco"
    ),
    "furiosa.models.vision.postprocess": (
        "LtrbBoundingBox ObjectDetectionResult XywhBoundingBox CXcywhBoundingBox "
        "calibration_ltrbbox collate sigmoid xyxytoxywh xyxytocxcywh"
    ),
    "furiosa.models.types": (
        "Model ObjectDetectionModel Platform ModelTaskType Format Metadata Publication Tags "
        "PreProcessor PostProcessor PythonPostProcessor RustPostProcessor"
    ),
    "furiosa.models.errors": (
        "FuriosaModelException ArtifactNotFound NotFoundInDVCRemote VersionInfoNotFound "
        "ExtraPackageRequired"
    ),
    "furiosa.runtime": (
        "Runtime Runner Submitter Receiver create_runner create_queue Model TensorDesc Axis "
        "DataType ModelSource Tensor TensorArray FuriosaRuntimeError FuriosaRuntimeWarning "
        "is_legacy __version__ __full_version__ full_version session sync tensor errors model "
        "profiler"
    ),
    "furiosa.runtime.sync": (
        "Runtime Runner Submitter Receiver create_runner create_queue Model TensorDesc Axis "
        "DataType ModelSource Tensor TensorArray FuriosaRuntimeError FuriosaRuntimeWarning"
    ),
    "furiosa.runtime.session": "Session AsyncSession CompletionQueue create create_async",
    "furiosa.runtime.tensor": (
        "TensorDesc DataType Axis Tensor TensorArray numpy_dtype zeros rand"
    ),
    "furiosa.runtime.model": "Model",
    "furiosa.runtime.errors": (
        "FuriosaError NativeException FuriosaRuntimeError IncompatibleModel CompilationFailed "
        "InternalError UnsupportedTensorType UnsupportedDataType IncompatibleApiClientError "
        "InvalidYamlException ApiClientInitFailed NoApiKeyException InvalidSessionOption "
        "QueueWaitTimeout SessionTerminated DeviceBusy TensorNameNotFound UnsupportedFeature "
        "InvalidCompilerConfig InvalidInput SessionClosed"
    ),
    "furiosa.runtime.profiler": "profile Resource RecordFormat",
    "furiosa.quantizer": (
        "quantize Calibrator CalibrationMethod ModelEditor TensorType get_pure_input_names "
        "get_output_names"
    ),
    "furiosa.optimizer": "optimize_model",
}

MODEL = (
    "name format family version metadata inputs outputs compiler_config task_type tags "
    "postprocessor_map preprocessor postprocessor postprocessor_type preprocess postprocess load "
    "load_async source origin enf dfg model_source calib_yaml tensor_name_to_range resolve_all"
)
DESCRIBED = (
    "input_num output_num input output inputs outputs allocate_inputs allocate_outputs "
    "create_inputs create_outputs allocate_tensors create_tensors summary print_summary model"
)

MEMBERS = {
    "furiosa.runtime.session:Session": f"run run_with close __enter__ __exit__ {DESCRIBED}",
    "furiosa.runtime.session:AsyncSession": f"submit close __enter__ __exit__ {DESCRIBED}",
    "furiosa.runtime.session:CompletionQueue": f"recv close __iter__ __next__ {DESCRIBED}",
    "furiosa.runtime.sync:Runtime": "create_runner create_queue close __enter__ __exit__",
    "furiosa.runtime.sync:Runner": "model run run_with close __enter__ __exit__",
    "furiosa.runtime.sync:Submitter": "model allocate submit close __enter__ __exit__",
    "furiosa.runtime.sync:Receiver": "model recv close __iter__ __enter__ __exit__",
    "furiosa.runtime:Runtime": "create_runner create_queue close __aenter__ __aexit__",
    "furiosa.runtime:Runner": "model run run_with close __aenter__ __aexit__",
    "furiosa.runtime:Submitter": "model allocate submit close __aenter__ __aexit__",
    "furiosa.runtime:Receiver": "model recv close __aiter__ __aenter__ __aexit__",
    "furiosa.runtime:Model": (
        "input_num output_num input output inputs outputs summary print_summary"
    ),
    "furiosa.runtime.tensor:TensorDesc": (
        "ndim dim axis size length format numpy_dtype stride quantization_parameter"
    ),
    "furiosa.runtime.tensor:Tensor": "shape dtype numpy_dtype copy_from view numpy __eq__",
    "furiosa.runtime.tensor:TensorArray": ("__len__ __getitem__ __setitem__ is_empty view numpy"),
    "furiosa.runtime.tensor:DataType": (
        "FLOAT32 UINT8 INT8 INT32 INT64 BFLOAT16 FLOAT16 INT16 numpy numpy_dtype"
    ),
    "furiosa.runtime.tensor:Axis": "WIDTH HEIGHT CHANNEL BATCH UNKNOWN",
    "furiosa.runtime.errors:NativeException": "native_error",
    "furiosa.runtime.profiler:profile": (
        "record pause resume get_pandas_dataframe get_pandas_dataframe_with_filter "
        "get_cpu_pandas_dataframe get_npu_pandas_dataframe print_npu_operators "
        "print_npu_executions print_external_operators print_inferences print_summary "
        "export_chrome_trace __enter__ __exit__"
    ),
    "furiosa.runtime.profiler:Resource": "CPU NPU ALL All",
    "furiosa.runtime.profiler:RecordFormat": "ChromeTrace PandasDataFrame",
    "furiosa.models.types:Platform": "PYTHON C CPP RUST is_native_platform",
    "furiosa.models.types:ModelTaskType": "OBJECT_DETECTION",
    "furiosa.models.types:Format": "ONNX",
    "furiosa.quantizer:Calibrator": "collect_data compute_range",
    "furiosa.quantizer:CalibrationMethod": (
        "MIN_MAX_ASYM MIN_MAX_SYM ENTROPY_ASYM ENTROPY_SYM PERCENTILE_ASYM PERCENTILE_SYM "
        "MSE_ASYM MSE_SYM SQNR_ASYM SQNR_SYM"
    ),
    "furiosa.quantizer:ModelEditor": "convert_input_type convert_output_type",
    "furiosa.quantizer:TensorType": "UINT8 INT8",
}

SIGNATURES: list[tuple[str, str, dict[str, Any]]] = [
    # (object, a documented call, defaults that are documented)
    ("furiosa.models.vision:SSDResNet34", "use_native_post=False", {}),
    ("furiosa.models.vision:SSDResNet34", "postprocessor_type='Rust'", {}),
    ("furiosa.models.vision.nonblocking:SSDResNet34", "use_native_post=False", {}),
    ("furiosa.models.vision:SSDResNet34.load", "use_native=None", {"use_native": None}),
    ("furiosa.models.vision:SSDResNet34.load", "use_native=True, version='cpp'", {}),
    ("furiosa.models.vision:SSDResNet34.load_async", "True", {"use_native": None}),
    ("furiosa.models.vision:SSDResNet34.model_source", "self, num_pe=2", {"num_pe": 2}),
    ("furiosa.models.vision:SSDResNet34.preprocess", "self, images=[]", {}),
    ("furiosa.models.vision:SSDResNet34.preprocess", "self, [], True", {}),
    ("furiosa.models.vision:SSDResNet34.preprocess", "self, [], with_scaling=False", {}),
    ("furiosa.models.vision:SSDResNet34.preprocess", "self, [], with_quantize=False", {}),
    (
        "furiosa.models.vision:SSDResNet34.postprocess",
        "self, model_outputs=[], contexts=[], confidence_threshold=0.05",
        {"confidence_threshold": 0.05},
    ),
    ("furiosa.models.vision:SSDResNet34.postprocess", "self, [], context={}", {}),
    ("furiosa.models.vision.ssd_resnet34:preprocess", "image_path_list=[]", {}),
    (
        "furiosa.models.vision.ssd_resnet34:postprocess",
        "model_outputs=[], batch_preproc_params=[], confidence_threshold=0.3",
        {"confidence_threshold": 0.05},
    ),
    ("furiosa.models.vision.ssd_resnet34:dboxes_R34_coco", "figsize=(), strides=()", {}),
    (
        "furiosa.models.vision.ssd_resnet34:DefaultBoxes",
        "fig_size=1, feat_size=1, steps=1, scales=1, aspect_ratios=1",
        {"scale_xy": 0.1, "scale_wh": 0.2},
    ),
    (
        "furiosa.models.vision.ssd_resnet34:Encoder.decode_batch",
        "self, bboxes_in=1, scores_in=1, criteria=0.5, max_output=200",
        {"criteria": 0.5, "max_output": 200},
    ),
    (
        "furiosa.models.vision.postprocess:LtrbBoundingBox",
        "left=0, top=0, right=0, bottom=0",
        {},
    ),
    ("furiosa.models.vision.postprocess:XywhBoundingBox", "x=0, y=0, width=0, height=0", {}),
    (
        "furiosa.models.vision.postprocess:ObjectDetectionResult",
        "boundingbox=0, score=0, label='', index=1",
        {},
    ),
    ("furiosa.models.vision.postprocess:collate", "data=[], batch_axis=0", {"batch_axis": 0}),
    (
        "furiosa.runtime.session:create",
        "model=b'', device=None, worker_num=None, batch_size=None, compiler_config=None, "
        "compiler_hints=True",
        {"compiler_hints": True},
    ),
    ("furiosa.runtime.session:create", "b'', None, None, None, None, True", {}),
    ("furiosa.runtime.session:create", "b'', compile_config=None", {}),
    (
        "furiosa.runtime.session:create_async",
        "b'', int, None, None, None, True, 1, 1, None",
        {"compiler_hints": True, "context_ty": None, "input_queue_size": None},
    ),
    (
        "furiosa.runtime.session:create_async",
        "model=b'', context_ty=None, device=None, worker_num=None, batch_size=None, "
        "compiler_hints=True, input_queue_size=None, output_queue_size=None, compiler_config=None",
        {},
    ),
    ("furiosa.runtime.session:Session.run", "self, inputs=[]", {}),
    ("furiosa.runtime.session:Session.run_with", "self, outputs=[], inputs={}", {}),
    ("furiosa.runtime.session:AsyncSession.submit", "self, values=[], context=None",
     {"context": None}),
    ("furiosa.runtime.session:CompletionQueue.recv", "self, timeout=100", {"timeout": None}),
    *(
        entry
        for module in ("furiosa.runtime", "furiosa.runtime.sync")
        for entry in (
            (f"{module}:Runtime", "device=None", {"device": None}),
            (
                f"{module}:create_runner",
                "b'', device=None, worker_num=None, batch_size=None, compiler_config=None",
                {"device": None, "worker_num": None, "batch_size": None},
            ),
            (f"{module}:Runtime.create_runner", "self, b'', worker_num=1, batch_size=1", {}),
            (
                f"{module}:create_queue",
                "b'', device=None, worker_num=None, batch_size=None, input_queue_size=None, "
                "output_queue_size=None",
                {"input_queue_size": None, "output_queue_size": None},
            ),
            (f"{module}:Runtime.create_queue", "self, b'', input_queue_size=1", {}),
            (f"{module}:Runner.run", "self, inputs=[]", {}),
            (f"{module}:Submitter.submit", "self, inputs=[], context=None", {"context": None}),
        )
    ),
    ("furiosa.runtime.sync:Receiver.recv", "self, timeout=1.0", {"timeout": None}),
    ("furiosa.runtime:Receiver.recv", "self", {}),
    ("furiosa.runtime.profiler:profile", "file=None", {"file": None}),
    ("furiosa.runtime.profiler:profile.record", "self, name='', warm_up=False",
     {"name": "", "warm_up": False}),
    (
        "furiosa.quantizer:quantize",
        "b'', {}, with_quantize=True, normalized_pixel_outputs=None",
        {"with_quantize": True, "normalized_pixel_outputs": None},
    ),
    ("furiosa.quantizer:Calibrator", "b'', None, percentage=99.99", {"percentage": 99.99}),
    ("furiosa.quantizer:Calibrator.compute_range", "self, verbose=False", {"verbose": False}),
    (
        "furiosa.quantizer:ModelEditor.convert_output_type",
        "self, '', None, tensor_range=None",
        {"tensor_range": None},
    ),
    (
        "furiosa.optimizer:optimize_model",
        "b'', input_shapes=None, opset_version=13",
        {"input_shapes": None, "opset_version": 13},
    ),
]  # fmt: skip

KEYWORD_ONLY = {
    "furiosa.models.vision:SSDResNet34": "postprocessor_type",
    "furiosa.runtime:create_runner": "device worker_num batch_size",
    "furiosa.runtime.sync:create_runner": "device worker_num batch_size",
    "furiosa.runtime.sync:create_queue": "device worker_num batch_size input_queue_size",
    "furiosa.quantizer:Calibrator": "percentage",
}


def _object(path: str) -> Any:
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_a_module_is_there(module: str) -> None:
    found = import_module(module)
    for name in NAMES[module].split():
        assert getattr(found, name) is not None, name


@pytest.mark.parametrize("path", MEMBERS)
def test_every_member_of_a_class_is_there(path: str) -> None:
    found = _object(path)
    for name in MEMBERS[path].split():
        assert hasattr(found, name), name


def test_every_member_of_the_model_is_there() -> None:
    model = _object("furiosa.models.vision:SSDResNet34")()
    for name in MODEL.split():
        assert name in dir(model), name


@pytest.mark.parametrize(("path", "call", "defaults"), SIGNATURES, ids=lambda v: str(v)[:70])
def test_a_documented_call_is_accepted(path: str, call: str, defaults: dict[str, Any]) -> None:
    signature = inspect.signature(_object(path))
    arguments, options = eval(f"(lambda *a, **k: (a, k))({call})", {"self": None})
    signature.bind(*arguments, **options)
    for name, value in defaults.items():
        assert signature.parameters[name].default == value, name


@pytest.mark.parametrize("path", KEYWORD_ONLY)
def test_what_is_keyword_only_there_is_so_here(path: str) -> None:
    parameters = inspect.signature(_object(path)).parameters
    for name in KEYWORD_ONLY[path].split():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize(
    "path",
    ["Runner.run", "Runner.close", "Submitter.submit", "Submitter.close", "Receiver.recv",
     "Receiver.close", "Runtime.close"],
)  # fmt: skip
def test_what_is_async_there_is_so_here(path: str) -> None:
    assert inspect.iscoroutinefunction(_object(f"furiosa.runtime:{path}"))
    assert not inspect.iscoroutinefunction(_object(f"furiosa.runtime.sync:{path}"))


def test_the_error_tree_is_that_of_both_lines() -> None:
    errors = import_module("furiosa.runtime.errors")
    for name in NAMES["furiosa.runtime.errors"].split():
        assert issubclass(getattr(errors, name), errors.FuriosaError)
    assert errors.NativeException is errors.FuriosaRuntimeError
    models = import_module("furiosa.models.errors")
    assert issubclass(models.NotFoundInDVCRemote, models.ArtifactNotFound)
    for name in NAMES["furiosa.models.errors"].split():
        assert issubclass(getattr(models, name), models.FuriosaModelException)


# Words in the page's code that name nothing of the vendor's interface, and why.
EXPLAINED = {
    "Python and numpy": "AssertionError AttributeError BaseException Exception False "
    "FileNotFoundError FutureWarning IndexError IntEnum ModelProto ModuleNotFoundError None Path "
    "RuntimeError Sequence TimeoutError True TypeError ValueError __bytes__ __getattr__ assert "
    "await bool bytes dict except for i iterable len list m ndarray of on onnx or str array a "
    "logging basicConfig torch dtype mean std max",
    "text and forms of the command": "Available Avg Detection FILTER INPUT Inference Inputs MODEL "
    "Object Outputs P PATH POST Postprocess Preprocess QPS Run Running TYPE Task Total available "
    "benchmark elapsed elements jpg png post postprocesses sample samples t task time type v "
    "verbose versions infer result D port host devices image Python Rust",
    "values": "B H INFO MLCommons MLCommonsSSDResNet34 N NCHW O ResNet ResNet34 SSD W "
    "background cat typical v1 min npu npu0pe0 pe0 warboy cpp rust python resnet34 ssd url",
    "files and repositories": "ai api assets docs en golden furiosa models mlperf rst sdk tests "
    "unit",
    "the Rust binding, an oracle of the tests": "eval locs confs",
    "shortened on the page": "_ASYM _SYM _with_filter get_cpu_ npu_executions external_operators "
    "inferences",
    "documented by mistake, absent from the vendor's code": "num_inputs send",
    "0.9's class of a quantized graph, bytes here": "Graph",
    "names of parameters on the page that the code has otherwise": "output_names method column "
    "elements path config",
}


def test_nothing_on_the_facts_page_is_left_out(shared: Path) -> None:
    text = (shared / "facts" / "vendor-api.md").read_text()
    words = {
        word
        for span in re.findall(r"`([^`]+)`", text)
        for word in re.findall(r"[A-Za-z_]\w*", span)
    }
    assert len(words) > 300  # the page is there, and is read
    ours = {word for path in (*NAMES, *MEMBERS) for word in re.findall(r"\w+", path)}
    for listed in (*NAMES.values(), *MEMBERS.values(), MODEL):
        ours |= set(listed.split())
    for path, _, _ in SIGNATURES:
        ours |= {*re.findall(r"\w+", path), *inspect.signature(_object(path)).parameters}
    results = import_module("furiosa.models.vision.postprocess")
    types = import_module("furiosa.models.types")
    for data in (results.CXcywhBoundingBox, types.Metadata, types.Publication, types.Tags):
        ours |= set(inspect.signature(data).parameters)
    ours |= set(_object("furiosa.runtime.tensor:TensorDesc").__dataclass_fields__)
    command = import_module("furiosa.models.command").app
    ours |= {one.name for one in command.registered_commands}
    ours |= {"value", "names"}  # of methods above: any column's value, any names
    reasons = {word for words in EXPLAINED.values() for word in words.split()}
    assert words - ours - reasons == set()
    assert reasons - words == set()  # no reason for what is not there
