"""Reads of the device while training; on CPU, whose tensors an accelerator's run has here."""

import json

import numpy as np
import paddle
import pytest

from ppcls_light.config import load_config
from ppcls_light.engine import checkpoint
from ppcls_light.engine import trainer as trainer_module
from ppcls_light.engine.distributed import Runtime
from ppcls_light.engine.trainer import Trainer
from ppcls_light.errors import UserError

READS = (
    "numpy",
    "item",
    "tolist",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__array__",
    "__format__",
)


def trainer(config_file, *overrides, device="gpu"):
    settings = ["Global.cpu_ops=false", *overrides]  # which would be the CPU's alone
    return Trainer(load_config(config_file, settings), Runtime(device))


def on_batch(run, change):
    """Let `change(batch)` stand for each batch that `run` trains on."""
    original = run.reader.loader.epoch
    run.reader.loader.epoch = lambda *place: map(change, original(*place))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["Loss.Train=[{CELoss: {weight: 1.0}}]", "Metric.Train=[]"],
        ["Loss.Train=[{CELoss: {weight: 1.0, class_weights: balanced}}]"],
        ["Global.update_freq=2", "EMA={decay: 0.6}", "Optimizer.clip_grad=1.0"],
        ["Optimizer.clip_norm=1.0"],
        ["DataLoader.Train.dataset.batch_transform_ops=[{MixupOperator: {alpha: 0.2}}]"],
        ["Optimizer={name: AdamW, lr: {name: Cosine, learning_rate: 0.002}}"],
    ],
)
def test_a_step_reads_from_the_device_only_when_it_prints(config_file, monkeypatch, overrides):
    reads, by_batch = [], []

    def counted(read):
        def function(tensor, *arguments, **options):
            reads.append(read)
            return read(tensor, *arguments, **options)

        return function

    for name in READS:
        monkeypatch.setattr(paddle.Tensor, name, counted(getattr(paddle.Tensor, name)))

    def note(batch):
        by_batch.append(len(reads))
        return batch

    run = trainer(config_file, "Global.epochs=1", "Global.print_batch_step=3", *overrides)
    on_batch(run, note)
    run.fit()
    assert len(by_batch) == 6
    # Batches 0 and 3 have a line; what comes after the last batch is the end of the epoch.
    assert [later > earlier for earlier, later in zip(by_batch, by_batch[1:])] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_the_run_is_the_one_that_waits_for_every_loss(config_file, tmp_path):
    results = []
    for device in ("cpu", "gpu"):
        run = trainer(config_file, f"Global.output_dir={tmp_path}/{device}", "Global.epochs=2", device=device)
        run.fit()
        lines = (tmp_path / device / "metrics.jsonl").read_text().splitlines()
        rows = [
            {key: row[key] for key in ("split", "step", "values", "lr")} for row in map(json.loads, lines)
        ]
        results.append((checkpoint.load(tmp_path / device / "latest").weights, rows))
    (expected, expected_rows), (actual, actual_rows) = results
    assert actual_rows == expected_rows
    assert len(actual_rows) == 2 * (2 + 1 + 1)
    assert not [key for key in expected if not np.array_equal(actual[key], expected[key])]


@pytest.mark.parametrize(
    ("overrides", "poisoned", "noticed"),
    [
        ([], 1, 4),  # at the line of batch 3
        (["Global.save_steps=1"], 1, 2),  # before a save
        ([], 5, 6),  # at the end of the epoch
        (["Global.update_freq=4", "Global.print_batch_step=100"], 2, 6),
    ],
)
def test_a_loss_that_is_noticed_later_is_in_no_checkpoint(
    config_file, tmp_path, overrides, poisoned, noticed
):
    run = trainer(config_file, "Global.print_batch_step=3", *overrides)
    names, seen = [], []

    def poison(batch):
        seen.append(batch.number)
        if batch.number != poisoned:
            return batch
        names.extend(run.reader.images.name(int(index)) for index in batch.indices)
        return batch._replace(images=np.full_like(batch.images, np.nan))

    on_batch(run, poison)
    with pytest.raises(UserError) as caught:
        run.fit()
    step = poisoned // run.position.update_freq
    message = f"CELoss is nan at step {step} (epoch 1, rank 0) before the update; lower "
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(f"images: {', '.join(names)}")
    assert len(seen) == noticed
    for file in (tmp_path / "output").glob("*.pdparams"):
        assert all(np.isfinite(value).all() for value in checkpoint.load(file).weights.values())


def test_far_from_a_line_the_losses_are_read_too(config_file, monkeypatch, caplog):
    monkeypatch.setattr(trainer_module, "READ_EVERY", 2)
    run, seen = trainer(config_file, "Global.print_batch_step=1000"), []

    def poison(batch):
        seen.append((batch.number, len(run.losses._unread)))
        return batch._replace(images=np.full_like(batch.images, np.nan)) if batch.number == 3 else batch

    on_batch(run, poison)
    with caplog.at_level("INFO", "ppcls_light"), pytest.raises(UserError, match="CELoss is nan at step 3"):
        run.fit()
    assert seen == [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1)]
    assert sum("[Iter: " in record.getMessage() for record in caplog.records) == 1
