"""The YAML files of configs/: each loads, is named after its network, and holds the authors' recipe."""

from pathlib import Path

import pytest
import yaml

from ppcls_light import jobs
from ppcls_light.config import dataloader, load_config, losses, optim, schema
from ppcls_light.config.arch import ArchConfig
from ppcls_light.models import published, variant
from ppcls_light.weights.scenarios import list_scenarios

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "_base_")
SCENARIOS = [path for path in FILES if path.parent.name == "pulc"]
VARIANTS = [path for path in FILES if path.parent.name != "quick_start" and path not in SCENARIOS]
TORCH_AMP = schema.AMPConfig(level="O1", scale_loss=65536.0, use_dynamic_loss_scaling=True)
JITTER = {"ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}}


def by_name(path):
    return path.relative_to(CONFIGS).as_posix()


@pytest.mark.parametrize("path", FILES, ids=by_name)
def test_every_config_loads_on_any_device_and_says_how_to_run_it(path):
    assert load_config(path).Global.device == "auto"
    header = path.read_text(encoding="utf-8").split("\nGlobal:")[0]
    assert any(word in header for word in ("top-1", "mAP", "make_list")) or path in SCENARIOS
    assert "#     " in header


@pytest.mark.parametrize("path", SCENARIOS, ids=by_name)
def test_a_scenarios_config_says_what_its_weights_reached_and_where_results_go(path):
    row = next(row for row in list_scenarios() if row.config == path.stem)
    config = load_config(path)
    text = path.read_text(encoding="utf-8")
    assert f"# Published: {row.value:g} % {row.metric}" in text
    assert f"tools/train.py -c configs/{by_name(path)}" in text
    assert config.Global.output_dir == f"./output/{path.stem}"
    assert config.Arch.weights in (True, "ssld")


@pytest.mark.parametrize("name", ["person_exists", "clarity_assessment", "person_attribute"])
def test_a_scenario_of_each_kind_trains_and_is_exported(name, photos):
    """In a dry run; every kind of labels and answers is that of one of these."""
    pairs = [line.split() for line in (photos / "train_list.txt").read_text().splitlines()]
    (photos / "paths.txt").write_text("".join(f"{path}\n" for path, _ in pairs))
    config = load_config(CONFIGS / "pulc" / f"{name}.yaml")
    repeated = config.Arch.class_num if config.multilabel else 1
    labels = [",".join([str(int(label) % 2)] * repeated) for _, label in pairs]
    (photos / "labels.txt").write_text("".join(f"{path}\t{own}\n" for (path, _), own in zip(pairs, labels)))
    places = [f"Global.output_dir={photos}/output", "Arch.pretrained=false", "Global.device=cpu"]
    for split in ("Train", "Eval"):
        section = f"DataLoader.{split}"
        makes_labels = hasattr(getattr(config.DataLoader, split).dataset, "label_key")
        key, file = ("sample_list_path", "paths.txt") if makes_labels else ("cls_label_path", "labels.txt")
        places += [
            f"{section}.dataset.image_root={photos}",
            f"{section}.dataset.{key}={photos}/{file}",
            f"{section}.sampler.batch_size=2",
            f"{section}.loader={{num_workers: 0}}",
        ]
    jobs.dry_run(load_config(CONFIGS / "pulc" / f"{name}.yaml", places))


def test_every_published_network_has_a_config_named_after_it_in_its_familys_folder():
    expected = {(variant(name).func.__name__.lower(), name) for name in published()}
    assert {(path.parent.name, path.stem) for path in VARIANTS} == expected


@pytest.mark.parametrize("path", VARIANTS, ids=by_name)
def test_a_variant_is_its_network_and_holds_only_what_differs(path):
    config = load_config(path)
    assert config.Arch == ArchConfig(path.stem)
    assert config.Global.output_dir == f"./output/{path.stem}"
    assert f"tools/train.py -c configs/{by_name(path)}" in path.read_text(encoding="utf-8")
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = load_config(CONFIGS / "_base_" / f"{path.parent.name}.yaml", ["Arch.name=PPLCNet_x0_25"])
    for section in set(own) - {"_base_", "Arch"}:
        assert getattr(base, section) != getattr(config, section)


@pytest.mark.parametrize(
    ("name", "coeff", "augment"),
    [
        ("PPLCNet_x0_25", 3e-5, False),
        ("PPLCNet_x0_35", 3e-5, False),
        ("PPLCNet_x0_5", 3e-5, False),
        ("PPLCNet_x0_75", 3e-5, False),
        ("PPLCNet_x1_0", 3e-5, False),
        ("PPLCNet_x1_5", 4e-5, False),
        ("PPLCNet_x2_0", 4e-5, False),
        ("PPLCNet_x2_5", 4e-5, True),
    ],
)
def test_recipe_of_pplcnet(name, coeff, augment):
    config = load_config(CONFIGS / "pplcnet" / f"{name}.yaml")
    assert config.Global.epochs == 360
    assert config.Optimizer == optim.Momentum(
        lr=optim.Cosine(learning_rate=0.8, warmup_epoch=5, base_batch_size=4 * 512),
        regularizer=optim.Regularizer("L2", coeff),
    )
    assert config.DataLoader.Train.sampler == dataloader.SamplerConfig(512, shuffle=True)
    names = [op.name for op in config.DataLoader.Train.dataset.transform_ops]
    assert names == [
        "DecodeImage",
        "RandCropImage",
        "RandFlipImage",
        *["AutoAugment"] * augment,
        "NormalizeImage",
    ]
    evaluation = dict(config.DataLoader.Eval.dataset.transform_ops)
    assert evaluation["ResizeImage"] == {"resize_short": 256}
    assert evaluation["CropImage"] == {"size": 224}
    assert evaluation["NormalizeImage"]["scale"] == 1 / 255
    assert config.Loss.Train == [losses.CELoss(1.0, 0.1)]


@pytest.mark.parametrize(
    ("name", "weight_decay", "magnitude", "mixup", "clip", "learning_rate", "batch"),
    [
        ("FasterNet_T0", 0.005, None, 0.05, None, 0.004, 512),
        ("FasterNet_T1", 0.01, 3, 0.1, None, 0.004, 512),
        ("FasterNet_T2", 0.02, 5, 0.1, None, 0.004, 512),
        ("FasterNet_S", 0.03, 7, 0.3, None, 0.004, 512),
        ("FasterNet_M", 0.05, 7, 0.5, 1.0, 0.002, 256),
        ("FasterNet_L", 0.05, 7, 0.7, 0.01, 0.002, 256),
    ],
)
def test_recipe_of_fasternet(name, weight_decay, magnitude, mixup, clip, learning_rate, batch):
    config = load_config(CONFIGS / "fasternet" / f"{name}.yaml")
    assert config.Global.epochs == 300
    assert config.Optimizer == optim.AdamW(
        lr=optim.Cosine(
            learning_rate=learning_rate,
            warmup_epoch=20,
            warmup_start_lr=1e-6,
            eta_min=1e-5,
            by_epoch=True,
            base_batch_size=8 * batch,
        ),
        weight_decay=weight_decay,
        clip_grad=clip,
    )
    train = config.DataLoader.Train
    assert train.sampler == dataloader.SamplerConfig(
        batch, drop_last=True, shuffle=True, size_schedule="192_280"
    )
    assert config.AMP == TORCH_AMP
    expected = None if magnitude is None else {"config_str": f"rand-m{magnitude}-mstd0.5-inc1"}
    assert dict(train.dataset.transform_ops).get("TimmAutoAugment") == expected
    assert train.dataset.batch_transform_ops[0].params == {
        "MixupOperator": {"alpha": mixup, "prob": 0.5},
        "CutmixOperator": {"alpha": 1.0, "prob": 0.5},
    }
    evaluation = dict(config.DataLoader.Eval.dataset.transform_ops)
    assert evaluation["ResizeImage"] == {"resize_short": 248, "interpolation": "bicubic", "backend": "pil"}
    assert evaluation["CropImage"] == {"size": 224}


@pytest.mark.parametrize(
    ("name", "rand_augment", "mixing"),
    [
        ("EdgeNeXt_XX_Small", False, False),
        ("EdgeNeXt_X_Small", False, False),
        ("EdgeNeXt_Small", True, False),
        ("EdgeNeXt_Base", True, True),
        ("EdgeNeXt_XX_Small_BN_HS", False, False),
        ("EdgeNeXt_X_Small_BN_HS", False, False),
        ("EdgeNeXt_Small_BN_HS", True, False),
    ],
)
def test_recipe_of_edgenext(name, rand_augment, mixing):
    config = load_config(CONFIGS / "edgenext" / f"{name}.yaml")
    assert config.Global.epochs == 300
    assert config.Global.image_shape == (3, 256, 256)
    assert config.Optimizer == optim.AdamW(
        lr=optim.Cosine(learning_rate=0.006, warmup_epoch=20, eta_min=1e-6, base_batch_size=4096),
        weight_decay=0.05,
        one_dim_param_no_weight_decay=True,
    )
    train = config.DataLoader.Train
    assert train.sampler == dataloader.MultiScaleSamplerConfig([256, 160, 192, 288, 320], first_bs=256)
    assert 8 * train.sampler.batch_size * config.Global.update_freq == config.Optimizer.lr.base_batch_size
    assert config.EMA.decay == 0.9995
    assert config.AMP == TORCH_AMP
    augment = {"TimmAutoAugment": {"config_str": "rand-m9-mstd0.5-inc1"}} if rand_augment else JITTER
    ops = dict(train.dataset.transform_ops)
    assert {name: ops[name] for name in ops if name in ("TimmAutoAugment", "ColorJitter")} == augment
    assert bool(train.dataset.batch_transform_ops) == mixing
    evaluation = dict(config.DataLoader.Eval.dataset.transform_ops)
    assert evaluation["ResizeImage"] == {"resize_short": 292, "interpolation": "bicubic", "backend": "pil"}
    assert evaluation["CropImage"] == {"size": 256}
    assert config.Loss.Train == [losses.CELoss(1.0, 0.1)]


@pytest.mark.parametrize(
    ("name", "coeff", "warmup"),
    [
        ("MicroNet_M0", 3e-5, 0),
        ("MicroNet_M1", 3e-5, 0),
        ("MicroNet_M2", 3e-5, 0),
        ("MicroNet_M3", 4e-5, 5),
    ],
)
def test_recipe_of_micronet(name, coeff, warmup):
    config = load_config(CONFIGS / "micronet" / f"{name}.yaml")
    assert config.Global.epochs == 600
    assert config.Optimizer == optim.Momentum(
        lr=optim.Cosine(learning_rate=0.2, warmup_epoch=warmup, base_batch_size=4 * 128),
        regularizer=optim.Regularizer("L2", coeff),
    )
    assert config.DataLoader.Train.sampler == dataloader.SamplerConfig(128, shuffle=True)
    assert config.Loss.Train == [losses.CELoss(1.0)]
    ops = config.DataLoader.Train.dataset.transform_ops
    assert [op.name for op in ops] == ["DecodeImage", "RandCropImage", "RandFlipImage", "NormalizeImage"]
    evaluation = dict(config.DataLoader.Eval.dataset.transform_ops)
    assert evaluation["ResizeImage"] == {"resize_short": 256, "interpolation": "bilinear", "backend": "pil"}
    assert evaluation["CropImage"] == {"size": 224}
