"""LiteRT's files: answers of single operators are those of ONNX Runtime, and what a program finds in a file."""

import sys

import numpy as np
import pytest

from ppcls_light.errors import ExportError
from ppcls_light.export.targets import litert

pytest.importorskip("ai_edge_litert", reason="needs ai_edge_litert: the extra litert")
onnx = pytest.importorskip("onnx", reason="needs onnx: the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: the extra onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - the extra may be missing

SHAPE = (1, 8, 9, 6)
RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def write(folder, nodes, constants, shape=SHAPE):
    """Write an ONNX file of nodes (operator, inputs, outputs, attributes), from `x` to `y`."""
    made = [helper.make_node(kind, inputs, outputs, **further) for kind, inputs, outputs, further in nodes]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape[1:]]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(made, "test", ends[:1], ends[1:], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), folder / "a.onnx")
    return str(folder / "a.onnx")


def contents(folder, precision="fp32"):
    """Return the first subgraph of a file and the names of its operators."""
    from ai_edge_litert import schema_py_generated as schema

    content = (folder / litert.FILES[precision][0]).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [names[model.operatorCodes[one.opcodeIndex].builtinCode] for one in model.subgraphs[0].operators]
    return model.subgraphs[0], codes


GELU = [
    ("Div", ["x", "root"], ["a"], {}),
    ("Erf", ["a"], ["b"], {}),
    ("Add", ["b", "one"], ["c"], {}),
    ("Mul", ["x", "c"], ["d"], {}),
    ("Mul", ["d", "half"], ["y"], {}),
]
SHUFFLE = [
    ("Reshape", ["x", "split"], ["a"], {}),
    ("Transpose", ["a"], ["b"], {"perm": [0, 2, 1, 3, 4]}),
    ("Reshape", ["b", "merged"], ["c"], {}),
    ("Conv", ["c", "w"], ["y"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
]
ATTENTION = [
    ("Reshape", ["x", "heads"], ["a"], {}),
    ("Transpose", ["a"], ["b"], {"perm": [0, 1, 3, 2]}),
    ("MatMul", ["a", "b"], ["c"], {}),
    ("Softmax", ["c"], ["d"], {"axis": -1}),
    ("MatMul", ["d", "a"], ["e"], {}),
    ("Transpose", ["e"], ["f"], {"perm": [0, 3, 1, 2]}),
    ("Reshape", ["f", "tokens"], ["g"], {}),
    ("LayerNormalization", ["g", "scale", "bias"], ["h"], {"axis": -1}),
    ("MatMul", ["h", "w"], ["y"], {}),
]
NORM = [
    ("Mul", ["x", "x"], ["a"], {}),
    ("ReduceSum", ["a", "axes"], ["b"], {"keepdims": 1}),
    ("Sqrt", ["b"], ["c"], {}),
    ("Max", ["c", "least"], ["d"], {}),
    ("Div", ["x", "d"], ["y"], {}),
]
PARTS = [
    ("Split", ["x", "sizes"], ["a", "b"], {"axis": 1}),
    ("Gather", ["b", "order"], ["c"], {"axis": 1}),
    ("Clip", ["c", "low", "high"], ["d"], {}),
    ("Concat", ["d", "a"], ["e"], {"axis": 1}),
    ("Gather", ["e", "first"], ["f"], {"axis": 2}),
    ("Slice", ["f", "one", "last", "two"], ["y"], {}),
]
POOLED = [
    ("HardSigmoid", ["x"], ["a"], {"alpha": 0.2, "beta": 0.5}),
    ("HardSwish", ["a"], ["b"], {}),
    ("GlobalAveragePool", ["b"], ["c"], {}),
    ("Flatten", ["c"], ["d"], {}),
    ("Gemm", ["d", "w", "bias"], ["e"], {"transB": 1}),
    ("Softmax", ["e"], ["y"], {"axis": 1}),
]
ROWS = [  # pixels of 6 channels in one
    ("Conv", ["x", "w"], ["a"], {"kernel_shape": [1, 6], "strides": [1, 6]}),
    ("Relu", ["a"], ["b"], {}),
    ("Add", ["a", "b"], ["y"], {}),
]
INT = np.int64
CASES = {
    "gelu": (GELU, {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}),
    "shuffle": (
        SHUFFLE,
        {"split": INT([1, 2, 4, 9, 6]), "merged": INT([1, 8, 9, 6]), "w": weights(4, 8, 3, 3)},
    ),
    "attention": (
        ATTENTION,
        {
            "heads": INT([1, 2, 4, 54]),
            "tokens": INT([1, 54, 8]),
            "w": weights(8, 3),
            "scale": weights(8),
            "bias": weights(8),
        },
    ),
    "norm": (NORM, {"axes": INT([2]), "least": np.float32(1e-12)}),
    "parts": (
        PARTS,
        {
            "sizes": INT([3, 5]),
            "order": INT([4, 0, 3, 1, 2]),
            "low": np.float32(-1),
            "high": np.float32(1),
            "first": INT(1),
            "one": INT([1]),
            "last": INT([-1]),
            "two": INT([2]),
        },
    ),
    "pooled": (POOLED, {"w": weights(5, 8), "bias": weights(5)}),
    "rows": (ROWS, {"w": weights(3, 1, 1, 6)}, (1, 1, 5, 24)),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_are_those_of_onnx_runtime(name, tmp_path):
    nodes, constants, shape = (*CASES[name], SHAPE)[:3]
    file, image = write(tmp_path, nodes, constants, shape), 2 * weights(*shape)
    litert.convert(file, str(tmp_path), "fp32", np.empty(0))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": image})
    (found,) = litert.load(str(tmp_path), "fp32", 1)(image)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6 * max(1, np.abs(expected).max()))


def test_activations_are_one_operator_and_channels_last_moves_nothing(tmp_path):
    expected = {"gelu": ["GELU"], "rows": ["RESHAPE", "CONV_2D", "RELU", "ADD", "TRANSPOSE"]}
    for name, codes in expected.items():
        nodes, constants, shape = (*CASES[name], SHAPE)[:3]
        litert.convert(write(tmp_path, nodes, constants, shape), str(tmp_path), "fp32", np.empty(0))
        found = contents(tmp_path)[1]
        assert [one for one in found if one != "TRANSPOSE"] == [one for one in codes if one != "TRANSPOSE"]
        assert found.count("TRANSPOSE") <= 1  # of an output with channels first


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A convolution, hard swish, a pooling and a classifier in three precisions."""
    pytest.importorskip("ai_edge_quantizer", reason="needs ai_edge_quantizer: the extra litert, Python 3.10")
    folder = tmp_path_factory.mktemp("network")
    nodes = [
        ("Conv", ["x", "k", "k_bias"], ["z"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        *[(kind, ["z" if one == "x" else one for one in names], *rest) for kind, names, *rest in POOLED],
    ]
    kernel = weights(8, 3, 3, 3) * np.geomspace(0.01, 1, 8, dtype=np.float32)[:, None, None, None]
    constants = {"k": kernel, "k_bias": weights(8), "w": weights(5, 8), "bias": weights(5)}
    file = write(folder, nodes, constants, (1, 3, 16, 12))
    for precision in litert.FILES:
        litert.convert(file, str(folder), precision, weights(16, 3, 16, 12))
    return folder


def test_programs_find_nhwc_floats_and_names(network):
    from ai_edge_litert.interpreter import Interpreter

    for precision, (name,) in litert.FILES.items():
        runner = Interpreter(str(network / name)).get_signature_runner("serving_default")
        (entry,), (output,) = runner.get_input_details().values(), runner.get_output_details().values()
        assert [*runner.get_input_details(), *runner.get_output_details()] == ["x", "y"], precision
        assert list(entry["shape"]) == [1, 16, 12, 3]
        assert list(output["shape"]) == [1, 5]
        assert entry["dtype"] == output["dtype"] == np.float32
        assert not {"CUSTOM", "DELEGATE"} & set(contents(network, precision)[1])


def test_fp16_halves_the_weights(network):
    from ai_edge_litert.schema_py_generated import TensorType

    graph, codes = contents(network, "fp16")
    assert codes.count("DEQUANTIZE") == 4  # weights and biases of a convolution and a classifier
    halved = {tuple(one.shape) for one in graph.tensors if one.type == TensorType.FLOAT16}
    assert halved == {(8, 3, 3, 3), (8,), (5, 8), (5,)}


def test_int8_is_of_activations_and_of_weights_per_channel(network):
    from ai_edge_litert.schema_py_generated import TensorType

    graph, codes = contents(network, "int8")
    for operator, code in zip(graph.operators, codes):
        if code in ("CONV_2D", "FULLY_CONNECTED", "MUL", "MEAN"):
            ends = [graph.tensors[number].type for number in (operator.inputs[0], operator.outputs[0])]
            assert ends == [TensorType.INT8] * 2, code
    kernel = graph.tensors[graph.operators[codes.index("CONV_2D")].inputs[1]]
    assert kernel.type == TensorType.INT8
    assert len(kernel.quantization.scale) == 8
    image = weights(1, 3, 16, 12)
    found, expected = (litert.load(str(network), one, 1)(image)[0] for one in ("int8", "fp32"))
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_what_does_not_convert_is_said(tmp_path, monkeypatch):
    file = write(tmp_path, [("Sin", ["x"], ["y"], {})], {})
    with pytest.raises(ExportError, match="ONNX's operator Sin has no form in TFLite here"):
        litert.convert(file, str(tmp_path), "fp32", np.empty(0))
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    file = write(tmp_path, [("Relu", ["x"], ["y"], {})], {})
    with pytest.raises(
        ExportError, match=r'int8 needs ai-edge-quantizer.* pip install "ppcls_light\[litert\]"'
    ):
        litert.convert(file, str(tmp_path), "int8", weights(*SHAPE))
    assert not [one for one in tmp_path.iterdir() if one.suffix == ".tflite"]
