"""Whole training configs: PaddleClas' files unchanged, ours, overrides, and the way back to YAML."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from ppcls_light.config import dataloader, dump_config, load_config, losses, metrics, optim, schema
from ppcls_light.config.arch import ArchConfig
from ppcls_light.errors import ConfigError

paddleclas = runpy.run_path(str(Path(__file__).with_name("paddleclas_yaml.py")))
PADDLECLAS_FILES = [*paddleclas["PPLCNET"], *paddleclas["FASTERNET"], *paddleclas["MICRONET"]]

MINIMAL = """\
Arch:
  name: PPLCNet_x0_25
Optimizer:
  name: Momentum
  lr: {name: Cosine, learning_rate: 0.1}
DataLoader:
  Train:
    dataset:
      image_root: ./images
      transform_ops:
        - DecodeImage:
        - RandCropImage: {size: 32}
        - NormalizeImage: {scale: 1.0/255.0, order: ''}
    sampler: {batch_size: 8}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="config.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def fault(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(params=PADDLECLAS_FILES)
def theirs(request, write):
    """The name and the loaded config of one of PaddleClas' own files."""
    return request.param, load_config(write(paddleclas["rebuild"](request.param)))


def test_paddleclas_files_load_unchanged(theirs):
    name, config = theirs
    assert config.Arch.name == name.replace("_ampo2_ultra", "").replace("_fp32_ultra", "")
    assert config.Arch.class_num == 1000
    assert config.Arch.params == {}
    assert config.Global.device == "gpu"
    assert config.Global.checkpoints is None
    assert config.Global.image_shape == (3, 224, 224)
    for ops in (config.DataLoader.Train.dataset.transform_ops, config.DataLoader.Eval.dataset.transform_ops):
        assert ops[0].name == "DecodeImage"
        assert ops[-1].name == "NormalizeImage"
        assert ops[-1].params["scale"] == 1 / 255
        assert ops[-1].params["mean"] == [0.485, 0.456, 0.406]
    assert config.DataLoader.Train.dataset.transform_ops[-1].params["order"] == ""
    assert config.DataLoader.Train.sampler.shuffle is True
    assert config.DataLoader.Eval.sampler.shuffle is False
    assert [op.name for op in config.Infer.transforms][-1] == "ToCHWImage"
    assert config.Infer.PostProcess.topk == 5
    assert config.Metric.Eval[0].ks() == [1, 5]
    assert config.Loss.Train == [losses.CELoss(1.0, None if name.startswith("MicroNet") else 0.1)]
    assert config.Loss.Eval == [losses.CELoss(1.0, None)]


@pytest.mark.parametrize(
    ("name", "learning_rate", "coeff", "batch", "workers", "eval_batch", "level"),
    [
        ("PPLCNet_x0_25", 0.8, 3e-5, 512, 4, 64, None),
        ("PPLCNet_x1_0", 0.8, 3e-5, 512, 4, 64, None),
        ("PPLCNet_x1_5", 0.8, 4e-5, 512, 4, 64, None),
        ("PPLCNet_x2_5", 0.8, 4e-5, 512, 4, 64, None),
        ("PPLCNet_x1_0_ampo2_ultra", 3.2, 3e-5, 1024, 16, 256, "O2"),
        ("PPLCNet_x1_0_fp32_ultra", 1.6, 3e-5, 512, 16, 256, "O1"),
    ],
)
def test_values_of_paddleclas_pplcnet_files(
    write, name, learning_rate, coeff, batch, workers, eval_batch, level
):
    config = load_config(write(paddleclas["rebuild"](name)))
    assert config.Global.epochs == 360
    assert config.Global.eval_during_train is True
    assert config.Global.use_dali is name.endswith("ultra")
    assert config.Optimizer == optim.Momentum(
        lr=optim.Cosine(learning_rate=learning_rate, warmup_epoch=5),
        momentum=0.9,
        regularizer=optim.Regularizer("L2", coeff),
    )
    assert config.DataLoader.Train.sampler.batch_size == batch
    assert config.DataLoader.Train.loader.num_workers == workers
    assert config.DataLoader.Eval.sampler.batch_size == eval_batch
    names = [op.name for op in config.DataLoader.Train.dataset.transform_ops]
    assert ("AutoAugment" in names) is (name == "PPLCNet_x2_5")
    assert (config.AMP and config.AMP.level) == level
    assert bool(config.AMP and config.AMP.use_amp) is (level == "O2")


@pytest.mark.parametrize(
    ("name", "learning_rate", "weight_decay", "clip_grad", "randaugment", "mixup"),
    [
        ("FasterNet_T0", 0.004, 0.005, None, None, 0.05),
        ("FasterNet_T1", 0.004, 0.01, None, "rand-m3-mstd0.5-inc1", 0.05),
        ("FasterNet_T2", 0.004, 0.02, None, "rand-m5-mstd0.5-inc1", 0.1),
        ("FasterNet_S", 0.004, 0.03, None, "rand-m7-mstd0.5-inc1", 0.3),
        ("FasterNet_M", 0.002, 0.05, 1.0, "rand-m7-mstd0.5-inc1", 0.5),
        ("FasterNet_L", 0.002, 0.05, 0.01, "rand-m7-mstd0.5-inc1", 0.7),
    ],
)
def test_values_of_paddleclas_fasternet_files(
    write, name, learning_rate, weight_decay, clip_grad, randaugment, mixup
):
    config = load_config(write(paddleclas["rebuild"](name)))
    assert config.Global.epochs == 300
    assert config.Global.eval_during_train is False
    assert config.Optimizer == optim.AdamW(
        lr=optim.Cosine(learning_rate=learning_rate, warmup_epoch=20, warmup_start_lr=1e-6, eta_min=1e-5),
        clip_grad=clip_grad,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        weight_decay=weight_decay,
        one_dim_param_no_weight_decay=True,
    )
    train = config.DataLoader.Train
    assert dict(train.dataset.transform_ops)["TimmAutoAugment"] == {"config_str": randaugment}
    (sampler,) = train.dataset.batch_transform_ops
    assert sampler.name == "OpSampler"
    assert sampler.params["MixupOperator"] == {"alpha": mixup, "prob": 0.5}
    assert train.sampler.batch_size == 50
    assert config.DataLoader.Eval.loader.num_workers == 0
    assert dict(config.DataLoader.Eval.dataset.transform_ops)["ResizeImage"]["resize_short"] == 248
    assert config.AMP.use_amp is False


def test_the_short_lived_spelling_of_pplcnet_with_a_scale(write):
    text = paddleclas["rebuild"]("PPLCNet_x0_5")
    text = text.replace("name: PPLCNet_x0_5", 'name: PPLCNet\n  scale: 0.5\n  act: "hardswish"')
    arch = load_config(write(text)).Arch
    assert arch == ArchConfig("PPLCNetBaseNet", params={"scale": 0.5, "act": "hardswish"})


def test_a_dumped_config_loads_as_the_same_config(theirs, write):
    _, config = theirs
    dumped = dump_config(config)
    assert load_config(write(dumped, "again.yaml")) == config
    assert dump_config(load_config(write(dumped, "again.yaml"))) == dumped


def test_a_dump_keeps_params_of_the_network_and_odd_text(write):
    overrides = [
        "Arch.dropout_prob=0.5",
        "Arch.stride_list=[2, [2, 1], 2, 2, 2]",
        "Global.output_dir='None'",
        "Global.save_inference_dir=12:30",
        "Metric.Eval=[{TopkAcc: {topk: 3}}]",
    ]
    config = load_config(write(MINIMAL), overrides)
    assert config.Arch.params == {"dropout_prob": 0.5, "stride_list": (2, (2, 1), 2, 2, 2)}
    assert config.Global.output_dir == "None"
    assert load_config(write(dump_config(config), "again.yaml")) == config


def test_overrides_are_yaml_literals(write):
    config = load_config(
        write(MINIMAL),
        [
            "Global.use_visualdl=true",
            "Global.pretrained_model=null",
            "Global.checkpoints=None",
            "Global.output_dir=./a=b/c: d/数据 1",
            "Global.epochs=7",
            "Optimizer.lr.learning_rate=3e-5",
            "Metric.Train=[{TopkAcc: {topk: [1, 2]}}]",
            "DataLoader.Train.dataset.transform_ops.-2.RandCropImage.size=[48, 64]",
            "DataLoader.Train.dataset.transform_ops.2.NormalizeImage.scale=1/127.5",
            "AMP.level=O2",
        ],
    )
    assert config.Global.use_visualdl is True
    assert config.Global.pretrained_model is None
    assert config.Global.checkpoints is None
    assert config.Global.output_dir == "./a=b/c: d/数据 1"
    assert config.Global.epochs == 7
    assert config.Optimizer.lr.learning_rate == 3e-5
    assert config.Metric.Train == [metrics.TopkAcc([1, 2])]
    ops = dict(config.DataLoader.Train.dataset.transform_ops)
    assert ops["RandCropImage"]["size"] == (48, 64)
    assert ops["NormalizeImage"]["scale"] == 1 / 127.5
    assert config.AMP.use_amp is True
    assert config.AMP.level == "O2"


def test_overrides_are_never_evaluated(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "__import__('pathlib').Path('proof').touch()"
    message = fault(write(MINIMAL), f"Global.seed={code}")
    assert "Global.seed: expected a whole number, got" in message
    assert fault(write(MINIMAL.replace("1.0/255.0", f'"{code}"')))
    assert load_config(write(MINIMAL), [f"Global.output_dir={code}"]).Global.output_dir == code
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("Global.epoch=3", "unknown key Global.epoch; did you mean 'epochs'?"),
        ("Optimzer.lr.learning_rate=1", "unknown key Optimzer; did you mean 'Optimizer'?"),
        (
            "Optimizer.lr.warmup_epochs=1",
            "unknown key Optimizer.lr.warmup_epochs; did you mean 'warmup_epoch'?",
        ),
        ("Arch.class_nums=1", "unknown key Arch.class_nums; did you mean 'class_num'?"),
        ("Arch.dropout=0.2", "unknown key Arch.dropout; did you mean 'dropout_prob'?"),
        (
            "Arch.name=PPLCNet_x0_26",
            "Arch.name: unknown model 'PPLCNet_x0_26'; did you mean 'PPLCNet_x0_25'?",
        ),
        ("Arch.name=paddle", "Arch.name: unknown model 'paddle'; known: "),
        ("Arch.features_only=true", "unknown key Arch.features_only"),
        ("Global.device=cuda", "Global.device: expected one of auto, cpu, gpu, "),
        ("Global.use_visualdl=1", "Global.use_visualdl: expected true or false, got 1"),
        ("Global.seed=os", "Global.seed: expected a whole number, got 'os'"),
        ("Loss.Train=[]", "Train and Eval each need a loss"),
        (
            "Metric.Eval=[{MultiLabelMAP: {map_type: 11point}}, {MultiLabelMAP: {}}]",
            "Eval: two metrics give the number mAP; keep one of them",
        ),
        ("Metric.Eval=[{TopkAcc: {topk: []}}]", "topk is empty; for example topk: [1, 5]"),
        ("Metric.Eval=[{TopkAc: }]", "unknown key Metric.Eval.0.TopkAc; did you mean 'TopkAcc'?"),
        ("Optimizer.name=Adamw", "Optimizer.name: unknown name 'Adamw'; did you mean 'AdamW'?"),
        ("Optimizer.name=AdamW", None),
        ("Optimizer.beta1=0.9", "unknown key Optimizer.beta1; "),
        ("_base_=x.yaml", "unknown key _base_; "),
    ],
)
def test_typos_of_overrides_name_the_option_and_the_nearest_key(write, override, words):
    if words is None:
        config = load_config(write(MINIMAL), [override])
        assert isinstance(config.Optimizer, optim.AdamW)
        return
    message = fault(write(MINIMAL), override)
    assert words in message
    assert override in message or "config.yaml:" in message


def test_gradient_clipping_and_penalties_that_contradict_each_other(write):
    both = fault(write(MINIMAL), "Optimizer.clip_norm=1", "Optimizer.clip_grad=1")
    assert "config.yaml:3: Optimizer: clip_grad and clip_norm are both given" in both
    both = fault(write(MINIMAL), "Optimizer.weight_decay=0.1", "Optimizer.regularizer={name: L2, coeff: 0.1}")
    assert "Optimizer: regularizer and weight_decay are both given; keep one" in both


def test_piecewise_needs_one_value_more_than_boundaries(write):
    path = write(MINIMAL)
    lr = "Optimizer.lr={name: Piecewise, decay_epochs: %s, values: %s}"
    assert load_config(path, [lr % ([30, 60], [0.1, 0.01, 0.001])]).Optimizer.lr.learning_rate == 0.1
    for decay_epochs, values in (
        ([30], [0.1]),
        ([60, 30], [0.1, 0.2, 0.3]),
        ([], []),
        ([3, 3], [0.1, 0.2, 0.3]),
    ):
        assert "one value more" in fault(path, lr % (decay_epochs, values))


def test_class_num_may_stand_in_global(write):
    assert load_config(write(MINIMAL), ["Global.class_num=7"]).Arch.class_num == 7
    assert load_config(write(MINIMAL), ["Global.class_num=7", "Arch.class_num=7"]).Arch.class_num == 7
    message = fault(write(MINIMAL), "Global.class_num=7", "Arch.class_num=8")
    assert "Global.class_num 7 is not Arch.class_num 8 (-o Arch.class_num=8); keep Arch.class_num" in message
    assert "Global.class_num: expected" not in message
    assert "class_num: expected a whole number, got [1]" in fault(write(MINIMAL), "Global.class_num=[1]")


@pytest.mark.parametrize("value", ["null", "[batch_norm]", "7"])
def test_fold_of_earlier_versions_is_one_warning(write, caplog, value):
    path = write(f"Global: {{epochs: 3,\n  fold: {value}}}\n{MINIMAL}")
    config = load_config(path)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}:2: Global.fold does nothing any more")
    assert config.Global.epochs == 3
    assert "fold" not in dump_config(config)


def test_missing_keys_and_sections(write):
    assert "Arch is missing; add it, for example Arch: {name: some_text}" in fault(write("Global: {}"))
    assert "Arch is missing" in fault(write(""))
    without = MINIMAL.replace("    sampler: {batch_size: 8}\n", "    sampler: {shuffle: true}\n")
    assert "config.yaml:14: DataLoader.Train.sampler.batch_size is missing; add it" in fault(write(without))


def test_sections_that_are_left_empty_are_their_defaults(write):
    config = load_config(
        write("Arch: {name: PPLCNet_x0_25}\nGlobal:\nLoss:\nMetric:\nInfer:\nDataLoader:\nAMP:\n")
    )
    assert config.Global == schema.GlobalConfig()
    assert config.Loss.Train == [losses.CELoss(1.0)]
    assert config.Optimizer is None
    assert config.AMP is None
    assert load_config(write("Arch: {name: PPLCNet_x0_25}\nAMP: {}\n")).AMP.use_amp is True


def test_contradictions_are_found_at_the_key_that_the_message_begins_with(write):
    path = write(MINIMAL + "Slim:\n  quant: {name: pact}\n")
    option = "-o Global.export_precision=int8"
    assert fault(path, option[3:]).startswith(f"{option}: Global.export_precision: a network trained with")
    path = write(MINIMAL + "Slim:\n  quant: {name: pact}\nAMP:\n  level: O1\n")
    assert fault(path).startswith(f"{path}:17: AMP: quantization-aware")


def test_where_names_the_place_of_a_value_or_of_what_is_above_it(write):
    config = load_config(write(MINIMAL), ["Global.epochs=3"])
    assert config.where("Optimizer.lr").endswith("config.yaml:5")
    assert config.where("DataLoader.Train.dataset.image_root").endswith("config.yaml:9")
    assert config.where("DataLoader.Train.dataset.cls_label_path").endswith("config.yaml:8")
    assert config.where("DataLoader.Train.dataset.transform_ops.1.RandCropImage").endswith("config.yaml:12")
    assert config.where("Global.epochs") == "-o Global.epochs=3"
    assert config.where("Nothing.at.all").endswith("config.yaml:1")


@pytest.mark.parametrize(("name", "coeff", "warmup", "pil"), [("M0", 3e-5, 0, False), ("M3", 4e-5, 5, True)])
def test_values_of_paddleclas_micronet_files(write, name, coeff, warmup, pil):
    config = load_config(write(paddleclas["rebuild"](f"MicroNet_{name}")))
    assert config.Global.epochs == 600
    assert config.Optimizer == optim.Momentum(
        lr=optim.Cosine(learning_rate=0.2, warmup_epoch=warmup),
        momentum=0.9,
        regularizer=optim.Regularizer("L2", coeff),
    )
    ops = dict(config.DataLoader.Train.dataset.transform_ops)
    assert (ops["DecodeImage"].get("backend") == "pil") is pil
    assert ops["RandCropImage"]["backend"] == "pil"
    assert ops["RandCropImage"].get("use_log_aspect", False) is pil


CIFAR = (
    "{name: Cifar10, data_file: c.tar.gz, transform_ops: [{DecodeImage: null}, {RandCropImage: {size: 32}}]}"
)
SCALES = "{name: MultiScaleSampler, scales: [[192, 160], 256], first_bs: 8}"


def test_samplers_and_datasets_by_name_survive_the_way_through_yaml(write):
    overrides = [
        f"DataLoader.Train.dataset={CIFAR}",
        f"DataLoader.Train.sampler={SCALES}",
        "Loss.Train=[{CELoss: {weight: 1, class_weights: balanced}}]",
        "Arch.class_num=10",
    ]
    config = load_config(write(MINIMAL), overrides)
    assert config.DataLoader.Train.sampler == dataloader.MultiScaleSamplerConfig([(192, 160), 256], 8)
    assert config.DataLoader.Train.sampler.batch_size == 8
    assert isinstance(config.DataLoader.Train.dataset, dataloader.CifarConfig)
    assert config.DataLoader.Train.dataset.class_num == 10
    assert load_config(write(dump_config(config), "dumped.yaml")) == config
    # Without a name it is an ordinary sampler of an ordinary list, as before.
    plain = load_config(write(MINIMAL), ["DataLoader.Train.sampler.size_schedule=192_280"]).DataLoader.Train
    assert plain.sampler == dataloader.SamplerConfig(8, size_schedule="192_280")
    assert type(plain.dataset) is dataloader.DatasetConfig


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("DataLoader.Train.sampler={name: MultiScaleSampler, scales: [224], first_bs: 8, batch_size: 8}",
         "unknown key DataLoader.Train.sampler.batch_size"),
        ("DataLoader.Train.sampler={name: MultiscaleSampler, first_bs: 8}", "did you mean 'MultiScaleSampler'"),
        ("DataLoader.Train.dataset.name=ImagenetDataset", "did you mean 'ImageNetDataset'"),
        ("DataLoader.Train.sampler.name=MultiScaleSampler", "unknown key DataLoader.Train.sampler.batch_size"),
        ("DataLoader.Train.sampler=8", "DataLoader.Train.sampler: expected a mapping"),
        ("Loss.Eval=[{CELoss: {weight: 1, class_weights: balanced}}]", "Loss.Eval: class_weights: balanced is for"),
        ("Loss.Train=[{CELoss: {weight: 1, class_weights: [1, 2]}}]", "has 2 numbers, Arch.class_num is 1000"),
        ("Loss.Train=[{CELoss: {weight: 1, class_weights: [-1]}}]", "class_weights: expected a list of"),
    ],
)  # fmt: skip
def test_samplers_datasets_and_class_weights_that_are_wrong(write, override, message):
    assert message in fault(write(MINIMAL), override)


def test_classes_are_balanced_once(write):
    twice = [
        "Loss.Train=[{CELoss: {weight: 1, class_weights: balanced}}]",
        "DataLoader.Train.sampler.balanced=true",
    ]
    assert "imbalance twice; keep one of them" in fault(write(MINIMAL), *twice)


def test_a_config_in_python_takes_paths_tuples_and_numbers_of_numpy(tmp_path):
    run = {
        "output_dir": np.str_("./out"),
        "save_inference_dir": Path("inference"),
        "epochs": np.int64(3),
        "eval_during_train": np.bool_(False),
        "image_shape": np.array([3, 32, 48]),
    }
    optimizer = {"name": "Momentum", "lr": {"name": "ConstLR", "learning_rate": np.float32(0.5)}}
    config = load_config({"Arch": {"name": "PPLCNet_x0_25"}, "Global": run, "Optimizer": optimizer})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    again = load_config(tmp_path / "config.yaml").Global
    assert (again.output_dir, again.save_inference_dir, again.epochs) == ("./out", "inference", 3)
    assert (again.eval_during_train, list(again.image_shape)) == (False, [3, 32, 48])
    assert config.Optimizer.lr.learning_rate == 0.5


PRETRAINED, MODEL = "Arch.pretrained=first", "Global.pretrained_model=last"


@pytest.mark.parametrize(
    ("in_file", "options", "expected"),
    [
        (("true", "null"), [MODEL], (None, "last", False)),  # so that nothing is fetched
        (("true", "null"), [PRETRAINED], ("first", None, False)),
        (("true", "null"), ["Arch.pretrained=false"], (False, None, False)),
        (("true", "given"), [PRETRAINED], ("first", None, False)),
        (("true", "given"), ["Arch.pretrained=true"], (True, None, True)),
        (("true", "given"), ["Arch.pretrained=false"], (False, "given", False)),
        (("true", "given"), [], (None, "given", False)),
        (("null", "null"), [PRETRAINED, MODEL], (None, "last", False)),
    ],
)
def test_of_two_weights_to_start_from_the_option_counts(write, caplog, in_file, options, expected):
    text = MINIMAL.replace("Arch:\n", f"Arch:\n  pretrained: {in_file[0]}\n  use_ssld: true\n")
    config = load_config(write(f"Global: {{pretrained_model: {in_file[1]}}}\n{text}"), options)
    assert (config.Arch.pretrained, config.Global.pretrained_model, config.Arch.use_ssld) == expected
    same_place = options in ([], [PRETRAINED, MODEL])
    assert caplog.text.count("Arch.pretrained has no effect") == same_place
