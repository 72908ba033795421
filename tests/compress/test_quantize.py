"""Quantization-aware training against numpy, and its int8 export against the network and the labels."""

import os
import shutil

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ppcls_light import Predictor, jobs
from ppcls_light.bundle.folder import write_inference_yml
from ppcls_light.compress import is_quantized, quantize
from ppcls_light.compress.quantize import PACT, input_scales
from ppcls_light.config import load_config
from ppcls_light.config.postprocess import MultiLabelThreshOutput, Topk
from ppcls_light.engine.network import build_model
from ppcls_light.errors import ConfigError, DeviceError, ExportError, WeightsError
from ppcls_light.export import export_model
from ppcls_light.export.int8 import save_int8
from ppcls_light.export.verify import verify
from ppcls_light.models import create_model
from ppcls_light.runtime import paddle_engine
from ppcls_light.runtime.options import EngineOptions
from ppcls_light.runtime.paddle_engine import Build, check_options, plan
from ppcls_light.weights import read_weights

OPS = [
    ("DecodeImage", {}),
    ("ResizeImage", {"size": 64}),
    ("NormalizeImage", {"scale": 1 / 255, "order": ""}),
]


@pytest.fixture(autouse=True)
def seeded():
    paddle.seed(0)


def rounded(values, scale):
    """8 bits and back: 127 steps each way up to `scale`."""
    return np.round(np.clip(values, -scale, scale) / scale * 127) * scale / 127


def images(count=4, size=64):
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(count, 3, size, size)).astype("float32"))


def fit(model, batches, learning_rate=0.01):
    optimizer = paddle.optimizer.Momentum(learning_rate, parameters=model.parameters())
    model.train()
    for x, labels in batches:
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()


def trained(name, method="moving_average_abs_max", **options):
    """Return a quantized network that tells the four `images` apart."""
    model = create_model(name, class_num=4, **options)
    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D)):
            layer._momentum = 0.1  # statistics of the last of few steps
    quantize(model, method)
    fit(model, [(images(), paddle.arange(4))] * 8)
    return model


def test_a_layer_computes_on_weights_and_inputs_of_eight_bits():
    model = quantize(create_model("PPLCNet_x0_25", class_num=4), "moving_average_abs_max")
    conv = model.blocks2[0].pw_conv.conv
    x = paddle.randn([2, 8, 5, 5])
    x.stop_gradient = False
    out = conv(x)
    weight = conv.weight.numpy()[:, :, 0, 0]
    # The average starts at 1 with the weight of 0.9 steps (Paddle's own start).
    scale = (0.9 + np.abs(x.numpy()).max()) / 1.9
    expected = np.einsum(
        "oi,nihw->nohw", rounded(weight, np.abs(weight).max(axis=1, keepdims=True)), rounded(x.numpy(), scale)
    )
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-5)
    out.sum().backward()
    # Straight through the rounding: the gradients of a plain convolution of the rounded values.
    np.testing.assert_allclose(
        conv.weight.grad.numpy()[0, :, 0, 0], rounded(x.numpy(), scale).sum(axis=(0, 2, 3)), rtol=1e-4
    )
    assert np.abs(x.grad.numpy()).min() > 0


def test_keys_stay_and_scales_do_not_learn():
    plain = create_model("PPLCNet_x0_25", class_num=4)
    model = trained("PPLCNet_x0_25", "pact")
    assert [key for key in model.state_dict() if "_fake_quant" not in key and "_act_pre" not in key] == list(
        plain.state_dict()
    )
    learning = {name for name, parameter in model.named_parameters() if not parameter.stop_gradient}
    assert not any("_fake_quant" in name for name in learning)
    assert "fc._act_preprocess.alpha" in learning
    assert is_quantized(model)
    assert not is_quantized(plain)


def test_pact_clips_both_ways_and_learns_from_what_it_clips():
    pact = PACT()
    pact.alpha.set_value(paddle.to_tensor([2.0]))
    x = paddle.to_tensor([-5.0, -1.0, 0.5, 3.0, 4.0], stop_gradient=False)
    out = pact(x)
    assert out.tolist() == [-2.0, -1.0, 0.5, 2.0, 2.0]
    out.sum().backward()
    assert pact.alpha.grad.tolist() == [2.0 - 1.0]
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]
    state = {"fc._fake_quant_input._scale": np.float32([3]), "fc._act_preprocess.alpha": np.float32([-2.5])}
    assert input_scales(state)["fc"].tolist() == [2.5]


def typical_difference(predictor, model):
    """Return the median over images of the largest difference of a probability.

    Not the largest over images: where a value is half way between two steps, the last bit of a sum decides, and one
    image in ten is some hundredths off. Sums that overflow change every image, the median by 0.05 to 0.1.
    """
    batch = images(12)
    with paddle.no_grad():
        expected = nn.functional.softmax(model(batch)).numpy()
    assert np.ptp(expected, axis=0).max() > 0.2
    return np.median(np.abs(predictor.run(batch.numpy()) - expected).max(axis=1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PPLCNet_x0_25", {}),
        ("FasterNet_T0", {"depths": [1, 1, 2, 1]}),  # fewer of the same blocks: each costs in four processes
        ("MicroNet_M0", {}),
        ("EdgeNeXt_XX_Small_BN_HS", {"depths": [1, 2, 2, 2]}),
    ],
)
@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions")
def test_every_family_exports_to_int8(name, options, tmp_path, caplog):
    model = trained(name, **options)
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    with pytest.raises(ExportError, match="real images"):
        export_model(model, tmp_path / "int8", (3, 64, 64), OPS)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    caplog.set_level("INFO")
    report = export_model(model, tmp_path / "int8", (3, 64, 64), OPS, images=[tmp_path / "a.png"])
    assert (report.precision, report.format, report.same_class) == ("int8", "pdmodel", 1)
    assert "the best class is the same on 1 of them" in caplog.text
    assert "model agree" not in caplog.text
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    # One byte a weight in place of four; scales, biases and batch norms stay float.
    plain = create_model(name, class_num=4, **options)
    params = sum(int(np.prod(value.shape)) for value in plain.state_dict().values())
    assert os.path.getsize(tmp_path / "int8/inference.pdiparams") < 0.4 * 4 * params
    predictor = Predictor(tmp_path / "int8")
    assert predictor.bundle.precision == "int8"
    assert typical_difference(predictor, model) < 0.02
    if name != "PPLCNet_x0_25":
        return  # one refusal is enough: it starts another process
    bias = model.state_dict()[next(key for key in reversed(model.head_keys) if key.endswith("bias"))]
    least_likely = predictor.predict([tmp_path / "a.png"])[0]["class_ids"][-1]
    bias.set_value(bias + 9 * paddle.to_tensor(np.eye(4, dtype="float32")[least_likely]))
    with pytest.raises(ExportError, match="differs from the network"):
        verify(tmp_path / "int8", model, OPS, (3, 64, 64), [tmp_path / "a.png"], "int8")


@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions")
def test_int8_loses_little_accuracy_on_handwritten_digits(tmp_path):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = np.kron(digits.images, np.ones((4, 4)))[:, None].repeat(3, axis=1).astype("float32") / 8 - 1
    labels, test = digits.target, np.arange(len(x)) % 5 == 0
    rng = np.random.default_rng(0)

    def epochs(count):
        for _ in range(count):
            for batch in rng.permutation(np.flatnonzero(~test))[:1408].reshape(-1, 64):
                yield paddle.to_tensor(x[batch]), paddle.to_tensor(labels[batch])

    def accuracy(predicted):
        return np.mean(predicted.argmax(axis=1) == labels[test])

    model = create_model("FasterNet_T0", class_num=10, embed_dim=16, depths=[1, 1, 1, 1], feature_dim=128)
    fit(model, epochs(6), learning_rate=0.05)
    with paddle.no_grad():
        in_float = accuracy(model(paddle.to_tensor(x[test])).numpy())
    quantize(model, "pact")
    fit(model, epochs(1), learning_rate=0.005)
    files = [tmp_path / f"{index}.png" for index in range(8)]
    for file, image in zip(files, x[test]):
        Image.fromarray(np.uint8((image + 1) * 127.5).transpose(1, 2, 0)).save(file)
    ops = [OPS[0], ("NormalizeImage", {"scale": 1 / 127.5, "mean": [1] * 3, "std": [1] * 3, "order": ""})]
    export_model(model, tmp_path, (3, 32, 32), ops, images=files)
    in_int8 = accuracy(Predictor(tmp_path).run(x[test]))
    assert in_float > 0.9
    assert in_int8 > in_float - 0.01


@pytest.fixture(scope="module")
def int8_folder(tmp_path_factory):
    """(folder, network): a quantized network saved as int8, which any processor can do, without the proof."""
    folder = tmp_path_factory.mktemp("int8")
    model = trained("PPLCNet_x0_25")
    parity = {"processor": "Some Processor", "instruction_set": "avx512_core_vnni"}
    own = {"arch": "PPLCNet_x0_25", "precision": "int8", "image_shape": [3, 64, 64], "parity": parity}
    write_inference_yml(
        folder, OPS, Topk(topk=1), None, {**own, "format": save_int8(model, folder, (3, 64, 64))}
    )
    return folder, model


def test_without_onednn_an_int8_folder_computes_the_same_rounding_in_float(int8_folder):
    folder, model = int8_folder
    assert typical_difference(Predictor(folder, onednn=False), model) < 1e-3


def test_tags_end_in_a_sigmoid_in_int8(int8_folder, tmp_path):
    model = int8_folder[1]
    own = {"arch": "PPLCNet_x0_25", "precision": "int8", "image_shape": [3, 64, 64], "multilabel": True}
    own["format"] = save_int8(model, tmp_path, (3, 64, 64), multilabel=True)
    write_inference_yml(tmp_path, OPS, MultiLabelThreshOutput(), None, own)
    found = Predictor(tmp_path, onednn=False).run(images().numpy())
    with paddle.no_grad():
        expected = nn.functional.sigmoid(model(images())).numpy()
    assert np.median(np.abs(found - expected)) < 1e-3


def test_an_int8_folder_is_refused_without_int8_instructions(int8_folder, on_processor, monkeypatch):
    folder, _ = int8_folder
    on_processor("avx2", "avx512f")
    needs = (
        r"this int8 graph \(proved on Some Processor, avx512_core_vnni\) needs .*AVX512-VNNI.*does not have"
    )
    with pytest.raises(
        DeviceError, match=needs + r".*set Global\.precision=fp32 and Global\.enable_mkldnn=False"
    ):
        Predictor(folder)
    with pytest.raises(DeviceError, match=needs):
        Predictor(folder, precision="int8")
    Predictor(folder, onednn=False)
    on_processor("avx2", "avx_vnni")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE")
    with pytest.raises(DeviceError, match="which DNNL_MAX_CPU_ISA=AVX512_CORE switches off"):
        Predictor(folder)


@pytest.mark.slow
def test_auto_runs_an_int8_folder_as_the_processor_can(int8_folder, monkeypatch, tmp_path):
    folder = shutil.copytree(int8_folder[0], tmp_path / "inference")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    options = Predictor(folder, engine="auto").engine_options
    assert (options.engine, options.precision, options.onednn) == ("paddle", "fp32", False)


def test_paddles_reports_of_its_int8_passes_do_not_reach_the_user(
    int8_folder, int8_instructions, capfd, monkeypatch
):
    create = paddle_engine.inference.create_predictor

    def complaining(config):
        predictor = create(config)
        os.write(2, b"a complaint\n")
        return predictor

    library = paddle_engine.inference._replace(create_predictor=complaining)
    monkeypatch.setattr(paddle_engine, "inference", library)
    Predictor(int8_folder[0])
    assert capfd.readouterr().err == "a complaint\n"


def test_an_int8_export_is_refused_before_any_work(on_processor, tmp_path):
    model = quantize(create_model("PPLCNet_x0_25", class_num=4))
    on_processor("avx2")
    with pytest.raises(DeviceError, match=r"an int8 export needs .*AVX512-VNNI.*, or in fp32"):
        export_model(model, tmp_path / "int8", (3, 64, 64), OPS, images=[tmp_path / "a.png"])
    on_processor("avx512_vnni")
    for made_of_onnx in ({"onnx": True}, {"web": True, "cdn": True}):
        with pytest.raises(
            ExportError, match=r"paddle2onnx cannot convert an int8 graph; train without Slim\.quant"
        ):
            export_model(
                *(model, tmp_path / "int8", (3, 64, 64), OPS), images=[tmp_path / "a.png"], **made_of_onnx
            )
    assert not (tmp_path / "int8").exists()


def test_the_engine_is_told_and_a_gpu_is_refused():
    calls = dict(plan(EngineOptions(), "pdmodel", int8=True))
    assert calls["enable_mkldnn_int8"] == ({"conv2d", "depthwise_conv2d", "fused_conv2d", "fc"},)
    for options in (
        plan(EngineOptions(), "pdmodel"),
        plan(EngineOptions(onednn=False), "pdmodel", int8=True),
    ):
        assert "enable_mkldnn_int8" not in dict(options)
    with pytest.raises(DeviceError, match="int8"):
        check_options(EngineOptions(device="gpu"), Build("3.3.1", True, 1, False, True), "pdmodel", int8=True)


@pytest.mark.slow
def test_training_resumes_bit_for_bit(config_file, tmp_path):
    quant = ["Slim.quant.name=pact"]
    jobs.train(load_config(config_file, [*quant, "Global.epochs=2", f"Global.output_dir={tmp_path}/whole"]))
    halves = [*quant, "Global.epochs=2", f"Global.output_dir={tmp_path}/halves"]
    # The same schedule, left after one epoch, as by a crash.
    jobs.train(load_config(config_file, [*halves, "Global.save_interval=1"]))
    first = f"Global.checkpoints={tmp_path}/halves/epoch_1"
    jobs.train(load_config(config_file, [*halves, first, f"Global.output_dir={tmp_path}/resumed"]))
    whole, resumed = (read_weights(tmp_path / name / "latest") for name in ("whole", "resumed"))
    assert set(whole) == set(resumed)
    for key in whole:
        np.testing.assert_array_equal(whole[key], resumed[key], err_msg=key)
    with pytest.raises(WeightsError, match=r"Slim\.quant\.name"):
        jobs.evaluate(load_config(config_file, [f"Global.pretrained_model={tmp_path}/whole/latest"]))


@pytest.mark.slow
@pytest.mark.usefixtures("int8_instructions")
def test_what_was_trained_serves_as_int8(config_file, tmp_path, photos):
    quant = ["Slim.quant.name=pact", f"Global.output_dir={tmp_path}/trained"]
    jobs.train(load_config(config_file, [*quant, "Global.epochs=2"]))
    config = load_config(config_file, [*quant, f"Global.pretrained_model={tmp_path}/trained/latest"])
    result = jobs.evaluate(config)
    report = jobs.export(config)
    assert report.precision == "int8"
    paths = [str(photos / line.split()[0]) for line in (photos / "val_list.txt").read_text().splitlines()]
    rows = Predictor(report.folder).predict(paths)
    right = np.mean([row["class_ids"][0] == index % 3 for index, row in enumerate(rows)])
    assert abs(right - result["top1"]) <= 1 / len(paths) + 1e-9


def test_what_does_not_go_together_is_refused(config_file):
    for option, message in (("AMP.use_amp=true", "AMP"), ("Global.to_static=true", "to_static")):
        with pytest.raises(ConfigError, match=message):
            load_config(config_file, ["Slim.quant.name=pact", option])
    with pytest.raises(ConfigError, match=r"Slim\.quant\.name"):
        load_config(config_file, ["Slim.quant.name=lsq"])
    with pytest.raises(ConfigError, match=r"pruned_ratio.*> 0 and < 1"):
        load_config(config_file, ["Slim.prune.name=fpgm", "Slim.prune.pruned_ratio=1.0"])


def test_pruned_and_quantized_is_both(config_file, tmp_path):
    jobs.train(load_config(config_file, ["Global.epochs=1", "Optimizer.lr.warmup_epoch=0"]))
    slim = ["Slim.prune.name=fpgm", "Slim.prune.pruned_ratio=0.5", "Slim.quant.name=pact"]
    model = build_model(
        load_config(config_file, [*slim, f"Global.pretrained_model={tmp_path}/output/latest"])
    )
    assert is_quantized(model)
    assert model.fc.weight.shape[0] == 640
