"""Sizes, class balance and everything random, from YAML through the reader and the trainer."""

import io
import logging
import os
import runpy
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.readers import build_reader
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import ConfigError

CPU = Runtime("cpu")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
cifar = runpy.run_path(str(Path(__file__).resolve().parents[1] / "data" / "cifar_writer.py"))

EVERYTHING = [
    "DataLoader.Train.dataset.name=MultiScaleDataset",
    "DataLoader.Train.dataset.transform_ops=[{DecodeImage: null}, {RandCropImage: {size: 32}}, "
    "{RandFlipImage: {flip_code: 1}}, {TimmAutoAugment: {config_str: rand-m7-mstd0.5-inc1}}, "
    "{ColorJitter: {brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1}}, "
    "{NormalizeImage: {scale: 1.0/255.0, order: ''}}, {RandomErasing: {EPSILON: 0.9, mode: pixel}}]",
    "DataLoader.Train.dataset.batch_transform_ops=[{OpSampler: {MixupOperator: {alpha: 0.4, prob: 0.3}, "
    "CutmixOperator: {alpha: 1.0, prob: 0.3}, FmixOperator: {prob: 0.2}, MixupCutmixHybrid: "
    "{cutmix_alpha: 1.0, mode: elem, label_smoothing: 0.0, prob: 0.2}}}]",
    "DataLoader.Train.sampler={name: MultiScaleSampler, scales: [32, 48, 64], first_bs: 8, divided_factor: 16, "
    "balanced: true}",
    "Loss.Train=[{CELoss: {weight: 1.0, epsilon: 0.1, class_weights: [1.0, 0.5, 1.5]}}]",
]


def bits(config, epoch, start=0, runtime=CPU):
    loader = build_reader(config, "Train", runtime).loader
    with loader:
        return [
            (batch.number, batch.images.shape, batch.images.tobytes(), batch.labels.tobytes())
            for batch in loader.epoch(epoch, start)
        ]


def test_everything_random_repeats_to_the_bit_for_seed_rank_and_any_workers(config_file):
    config = load_config(config_file, EVERYTHING)
    first = bits(config, 1)
    assert len({shape[2:] for _, shape, _, _ in first}) > 1
    assert bits(config, 1) == first
    assert bits(config, 1, start=2) == first[2:]
    workers = load_config(config_file, [*EVERYTHING, "DataLoader.Train.loader.num_workers=2"])
    assert bits(workers, 1) == first
    assert bits(workers, 1, start=2) == first[2:]
    other_seed = load_config(config_file, [*EVERYTHING, "Global.seed=1"])
    assert bits(config, 0) != first != bits(other_seed, 1)
    ranks = [bits(config, 1, runtime=Runtime("cpu", rank, 2)) for rank in range(2)]
    assert ranks[0] != ranks[1]
    assert [step[:2] for step in ranks[0]] == [step[:2] for step in ranks[1]], (
        "sizes and batches are not equal"
    )
    assert ranks[1] == bits(config, 1, runtime=Runtime("cpu", 1, 2))


def train(config_file, output_dir, *overrides, stop_at=None):
    """Train 2 epochs, or until SIGTERM in batch number `stop_at`; return the weights of `latest`."""
    overrides = [*EVERYTHING, "Global.epochs=2", f"Global.output_dir={output_dir}", *overrides]
    run = Trainer(load_config(config_file, overrides), CPU)
    if stop_at is None:
        run.fit()
    else:
        step, seen = run.train_step, []

        def train_step(batch):
            seen.append(batch)
            if len(seen) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(batch)

        run.train_step = train_step
        with pytest.raises(KeyboardInterrupt):
            run.fit()
    return checkpoint.load(os.path.join(output_dir, "latest")).weights


@pytest.mark.slow
def test_a_resume_inside_an_epoch_with_everything_random_is_exact(config_file, tmp_path):
    whole = train(config_file, tmp_path / "whole", "DataLoader.Train.loader.num_workers=2")
    steps = len(build_reader(load_config(config_file, EVERYTHING), "Train", CPU).loader)
    train(config_file, tmp_path / "parts", stop_at=steps + 2)
    parts = train(config_file, tmp_path / "parts", "Global.checkpoints=auto")
    assert whole.keys() == parts.keys()
    for key in whole:
        assert np.array_equal(whole[key], parts[key]), key


# size_schedule


def sized(config_file, sampler, ops="{RandCropImage: {size: 32}}"):
    ops = f"[{{DecodeImage: null}}, {ops}, {{NormalizeImage: {{order: ''}}}}]"
    return load_config(
        config_file,
        [f"DataLoader.Train.dataset.transform_ops={ops}", f"DataLoader.Train.sampler={sampler}"],
    )


def test_the_authors_config_switches_its_size_at_epoch_280(photos):
    paths = [f"DataLoader.{split}.dataset.image_root={photos}" for split in ("Train", "Eval")]
    paths += [f"DataLoader.Train.dataset.cls_label_path={photos}/train_list.txt"]
    paths += [f"DataLoader.Eval.dataset.cls_label_path={photos}/val_list.txt"]
    small = [
        "Arch.class_num=3",
        "DataLoader.Train.sampler.batch_size=2",
        "DataLoader.Train.loader.num_workers=0",
    ]
    config = load_config(CONFIGS / "fasternet/FasterNet_T1.yaml", [*paths, *small])
    loader = build_reader(config, "Train", CPU).loader
    shapes = {epoch: next(loader.epoch(epoch)).images.shape for epoch in (0, 279, 280, 299)}
    assert shapes == {
        0: (2, 3, 192, 192),
        279: (2, 3, 192, 192),
        280: (2, 3, 224, 224),
        299: (2, 3, 224, 224),
    }
    evaluation = build_reader(config, "Eval", CPU).loader
    assert next(evaluation.epoch(0)).images.shape[2:] == (224, 224)


def test_a_schedule_that_the_run_never_leaves_is_said_once(config_file, caplog):
    config = sized(config_file, "{batch_size: 4, size_schedule: 24_4}")
    with caplog.at_level(logging.WARNING):
        build_reader(config, "Train", CPU)
    (line,) = [record.getMessage() for record in caplog.records if "size_schedule" in record.getMessage()]
    assert "all 4 epochs are at 24 pixels" in line


MULTI = "{name: MultiScaleSampler, scales: [32], first_bs: 4"


@pytest.mark.parametrize(
    ("sampler", "ops", "message"),
    [
        (
            "{batch_size: 4, size_schedule: 24_2}",
            "{ResizeImage: {size: 32}}",
            "size_schedule .* use RandCropImage",
        ),
        (MULTI + "}", "{ResizeImage: {size: 32}}", "scales .* use RandCropImage"),
        (
            MULTI + "}",
            "{RandCropImage: {size: 32}}, {CropImage: {size: 32}}",
            "but CropImage in .* leave it out",
        ),
        (
            MULTI + ", divided_factor: 64}",
            "{RandCropImage: {size: 32}}",
            "at least divided_factor, 64 pixels",
        ),
        ("{batch_size: 4, size_schedule: 24-2}", "{RandCropImage: {size: 32}}", "'24-2' is no size schedule"),
    ],
)
def test_sizes_that_do_not_fit_the_transforms(config_file, sampler, ops, message):
    with pytest.raises(ConfigError, match=f"DataLoader.Train.sampler: .*{message}"):
        build_reader(sized(config_file, sampler, ops), "Train", CPU)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("{batch_size: 4, drop_last: true}", "write drop_last: false"),
        ("{batch_size: 4, balanced: true}", "write balanced: false"),
        ("{batch_size: 4, size_schedule: 24_2}", "size_schedule is for training"),
        (MULTI + "}", "write is_training: false"),
    ],
)
def test_samplers_that_cannot_evaluate(config_file, sampler, message):
    config = load_config(config_file, [f"DataLoader.Eval.sampler={sampler}"])
    with pytest.raises(ConfigError, match=f"DataLoader.Eval.sampler: .*{message}"):
        build_reader(config, "Eval", CPU)


def test_a_multi_scale_sampler_that_does_not_train_is_an_ordinary_one(config_file):
    sampler = MULTI.replace("32", "64, 32") + ", is_training: false}"
    config = load_config(
        config_file, [f"DataLoader.{split}.sampler={sampler}" for split in ("Train", "Eval")]
    )
    for split, shape in (("Train", (4, 3, 32, 32)), ("Eval", (4, 3, 32, 32))):
        batch = next(build_reader(config, split, CPU).loader.epoch(0))
        assert batch.images.shape == shape
        assert batch.indices.tolist() == [0, 1, 2, 3]


def test_smoothing_twice_is_said(config_file, caplog):
    mix = "DataLoader.Train.dataset.batch_transform_ops=[{MixupCutmixHybrid: {cutmix_alpha: 1.0}}]"
    with caplog.at_level(logging.WARNING):
        build_reader(load_config(config_file, [mix]), "Train", CPU)
    assert [r for r in caplog.records if "label_smoothing 0.1 and CELoss.epsilon 0.1" in r.getMessage()]


# CIFAR-10


def cifar_overrides(source):
    dataset = f"{{name: Cifar10, data_file: {source}, transform_ops: "
    crop, resize = "{RandCropImage: {size: 32}}", "{ResizeImage: {size: 32}}"
    ops = "[{DecodeImage: null}, %s, {NormalizeImage: {scale: 1.0/255.0, order: ''}}]}"
    return [
        f"DataLoader.Train.dataset={dataset}{ops % crop}",
        f"DataLoader.Eval.dataset={dataset}{ops % resize}",
        "Arch.class_num=10",
        "Infer.PostProcess.class_id_map_file=null",
    ]


def test_training_on_the_official_tarball_from_yaml(config_file, tmp_path):
    files = cifar["official"]("cifar-10", np.random.default_rng(0))
    source = cifar["pack"](tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    run = Trainer(load_config(config_file, [*cifar_overrides(source), "Global.epochs=1"]), CPU)
    run.fit()
    assert run.position.step == 35 // 4
    assert len(run.eval_reader.images) == 4
    states = checkpoint.load(tmp_path / "output/best_model").states
    assert states["class_names"] == cifar["CLASSES"]
    with pytest.raises(ConfigError, match=r": 10 classes .* use -o Arch\.class_num=10"):
        build_reader(load_config(config_file, cifar_overrides(source)[:2]), "Train", CPU)


def test_the_folder_of_jpegs_gives_cifar_10_too(config_file, shared, tmp_path):
    with zipfile.ZipFile(shared / "data/cifar10_jpg_train1000x10_test1000x10.zip") as archive:
        for split in ("train", "test"):
            for name in [name for name in archive.namelist() if name.startswith(f"{split}/")][::500]:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    dataset = "{image_root: %s, transform_ops: [{DecodeImage: null}, {NormalizeImage: {order: ''}}]}"
    overrides = [
        f"DataLoader.Train.dataset={dataset % (tmp_path / 'train')}",
        f"DataLoader.Eval.dataset={dataset % (tmp_path / 'test')}",
        "Arch.class_num=10",
        "Infer.PostProcess.class_id_map_file=null",
    ]
    config = load_config(config_file, overrides)
    names = None
    for split in ("Train", "Eval"):
        reader = build_reader(config, split, CPU, names)
        names = reader.class_names
        assert list(reader.class_names) == cifar["CLASSES"]
        assert sorted(set(reader.images.labels.tolist())) == list(range(10))
        with Image.open(io.BytesIO(reader.loader.dataset.read(0))) as image:
            assert image.size == (32, 32)
