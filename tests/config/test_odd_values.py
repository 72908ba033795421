"""Values that nobody would write, at every key: a config of them is loaded, and read back as the same, or refused."""

import pytest
import yaml

from ppcls_light.config import dump_config, load_config
from ppcls_light.errors import UserError

hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis: the extra test")
st = hypothesis.strategies

CONFIG = """\
Arch: {name: PPLCNet_x0_25, class_num: 3}
AMP: {use_amp: false}
EMA: {decay: 0.9}
Slim: {prune: {name: l1_norm, pruned_ratio: 0.5}}
Optimizer: {name: Momentum, lr: {name: Cosine, learning_rate: 0.1}, regularizer: {name: L2, coeff: 0.1}}
Loss: {Train: [{CELoss: {weight: 1.0}}], Eval: [{CELoss: {weight: 1.0}}]}
Metric: {Train: [{TopkAcc: {topk: [1, 5]}}], Eval: [{TopkAcc: {topk: [1]}}]}
Infer: {transforms: [{DecodeImage: null}], PostProcess: {name: Topk}}
DataLoader:
  Train:
    dataset:
      image_root: ./images
      transform_ops: [{RandCropImage: {size: 32}}, {NormalizeImage: {order: ''}}, {RandomErasing: {EPSILON: 0.1}}]
      batch_transform_ops: [{MixupOperator: {alpha: 0.2}}]
    sampler: {batch_size: 8}
  Eval:
    dataset: {image_root: ./images, transform_ops: [{ResizeImage: {resize_short: 32}}, {CropImage: {size: 32}}]}
    sampler: {batch_size: 8}
"""

numbers = (
    st.sampled_from([0, 1, -1, 10**9, 2**31, 2**63, 10**40, 1e-320, 1e300, -0.0, float("nan"), float("inf")])
    | st.integers()
    | st.floats()
)
scalars = st.none() | st.booleans() | numbers | st.text() | st.dates() | st.binary(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=6,
)


def paths(node, path=()):
    """Yield the dotted path of every key and item of a config in plain values."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield ".".join(map(str, (*path, key)))
        yield from paths(value, (*path, key))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd") / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def keys(config):
    found = sorted(paths(yaml.safe_load(dump_config(load_config(config)))))
    assert len(found) > 150
    return found


def load_and_read_back(config, override):
    try:
        loaded = load_config(config, [override])
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it need not be raised
        return
    again = config.with_name("again.yaml")
    again.write_text(dump_config(loaded), "utf-8")
    assert dump_config(load_config(again)) == dump_config(loaded)


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_values_of_any_kind(config, keys, data):
    value = yaml.safe_dump(data.draw(values), default_flow_style=True, width=10**6, allow_unicode=True)
    load_and_read_back(
        config, f"{data.draw(st.sampled_from(keys))}={value.removesuffix('...' + chr(10)).strip()}"
    )


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_any_text_as_an_override(config, keys, data):
    load_and_read_back(config, f"{data.draw(st.sampled_from(keys) | st.text())}={data.draw(st.text())}")


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    text=st.text() | st.lists(st.sampled_from(list("{}[]:,-&*!|>'\"%@#\n\t x1")), max_size=30).map("".join)
)
def test_any_text_as_a_file(config, text):
    path = config.with_name("text.yaml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_config(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it need not be raised
