"""Logits and feature maps against the authors', PaddleClas' and timm's own networks, run in float64."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppcls_light.export.fold.micronet_plan import micronet_steps
from ppcls_light.export.fold.steps import fold
from ppcls_light.export.static import save_static
from ppcls_light.models import create_model
from ppcls_light.models.profile import profile
from ppcls_light.ops.network import Network
from ppcls_light.ops.plan import encode
from ppcls_light.prediction import Predictor
from ppcls_light.weights import convert_state_dict, load_weights

fill = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("fill.py"))))

ML_DECODER = {"query_num": 5, "embed_dim": 32, "num_heads": 4, "mlp_hidden_dim": 48}  # 12 tags in groups of 3
# case, our name, our options
PADDLECLAS = [
    ("paddleclas_PPLCNet_x0_25", "PPLCNet_x0_25", {}),
    ("paddleclas_PPLCNet_x1_0", "PPLCNet_x1_0", {}),
    ("paddleclas_PPLCNet_x1_0", "PPLCNetBaseNet", {"scale": 1.0}),
    ("paddleclas_PPLCNet_x0_25_ml_decoder", "PPLCNet_x0_25", {"class_num": 12, "ml_decoder": ML_DECODER}),
    ("paddleclas_FasterNet_T0", "FasterNet_T0", {}),
    ("paddleclas_FasterNet_T0", "FasterNet_T0", {"pconv_fw_type": "slicing"}),
    ("paddleclas_MicroNet_M0", "MicroNet_M0", {}),
    ("paddleclas_ResNet50_vd", "ResNet50_vd", {}),
    ("paddleclas_ResNet101_vd", "ResNet101_vd", {}),
]
OFFICIAL = [
    ("official_fasternet_t0", "fasternet_t0", {}),
    ("official_fasternet_t0_layerscale", "fasternet_t0", {"layer_scale_init_value": 1e-5}),
    ("official_fasternet_t0_features", "fasternet_t0", {"features_only": True}),
    ("official_lcnet_baseline", "lcnet_baseline", {}),
    ("official_micronet_m0", "micronet_m0", {}),
    ("official_micronet_m2", "micronet_m2", {}),
    ("official_edgenext_xx_small", "edgenext_xx_small", {}),
    ("official_edgenext_xx_small_bn_hs", "edgenext_xx_small_bn_hs", {}),
]
# timm 1.0.31
TIMM = [
    ("timm_fasternet_t0", "fasternet_t0", {"class_num": 10}),
    ("timm_edgenext_xx_small", "edgenext_xx_small", {"class_num": 10}),
    ("timm_lcnet_100", "lcnet_100", {"class_num": 10}),
]


def load_case(name, arch, options):
    """Return the stored case and our network with its weights, which PaddleClas names and lays out as we do."""
    ours = name.startswith("paddleclas_")
    case = np.load(Path(__file__).parent / f"{name}.npz")
    shapes = json.loads(case["keys"].tobytes())
    state = {
        key: fill.values(key, shape, float(case["gain"]), linear_in_first=ours)
        for key, shape in shapes.items()
    }
    model = create_model(arch, **options)
    load_weights(model, state if ours else convert_state_dict(state, arch))
    return case, model


def relative_errors(model, case):
    model.eval()
    with paddle.no_grad():
        outputs = model(paddle.to_tensor(fill.image(int(case["size"]))))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    errors = []
    for i, output in enumerate(outputs):
        output, expected = output.numpy(), case[f"out{i}"]
        if output.ndim == 4:
            output = output[:, :, ::4, ::4]
        assert output.shape == expected.shape
        errors.append(np.linalg.norm(output - expected) / np.linalg.norm(expected))
    return errors


@pytest.mark.parametrize(("name", "arch", "options"), PADDLECLAS + OFFICIAL + TIMM)
def test_equals_the_other_implementation(name, arch, options):
    case, model = load_case(name, arch, options)
    assert max(relative_errors(model, case)) <= 1e-5
    assert profile(model, (3, 64, 64)).params == int(case["params"])


@pytest.mark.parametrize(("name", "arch", "options"), [case for case in OFFICIAL if "edgenext" in case[0]])
def test_folded_edgenext_equals_the_authors(name, arch, options):
    case, model = load_case(name, arch, options)
    assert max(relative_errors(fold(model), case)) <= 1e-5


@pytest.mark.parametrize(
    ("name", "arch", "options"), [case for case in PADDLECLAS + OFFICIAL if "features_only" not in case[2]]
)
def test_paddle_inference_equals_the_authors(name, arch, options, tmp_path):
    case, model = load_case(name, arch, options)
    size = int(case["size"])
    # Without the softmax of a real export, in which the large logits of these weights would drown.
    save_static(fold(model), str(tmp_path), (3, size, size), softmax=False)
    logits = Predictor(tmp_path, transform_ops=[]).run(fill.image(size))
    assert np.linalg.norm(logits - case["out0"]) / np.linalg.norm(case["out0"]) <= 1e-4


@pytest.mark.parametrize(
    ("name", "arch", "options"), [case for case in PADDLECLAS + OFFICIAL if "micronet" in case[0].lower()]
)
def test_the_plan_of_a_micronet_equals_the_authors(native, name, arch, options):
    case, model = load_case(name, arch, options)
    logits = Network(encode(micronet_steps(fold(model)))).run(fill.image(int(case["size"])), threads=2)
    assert np.linalg.norm(logits - case["out0"]) / np.linalg.norm(case["out0"]) <= 1e-5
