import numpy as np
import pytest

from ppcls_light.data import BatchSampler, MultiScaleSampler, SizeSchedule
from ppcls_light.errors import ConfigError


def indices(sampler, epoch=0):
    return [plan.indices for plan in sampler.batches(epoch)]


def test_every_sample_once_in_list_order():
    batches = indices(BatchSampler(10, 4))
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(BatchSampler(10, 4)) == 3
    assert [len(batch) for batch in indices(BatchSampler(10, 4, drop_last=True))] == [4, 4]
    assert len(BatchSampler(10, 4, drop_last=True)) == 2


def test_shuffle_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        return np.concatenate(indices(BatchSampler(100, 7, shuffle=True, seed=seed), epoch)).tolist()

    assert sorted(order(1, 0)) == list(range(100))
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*key)) for key in ((1, 0), (1, 1), (2, 0), (2, 1))}) == 4


@pytest.mark.parametrize("length", [23, 24, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_training_shards_are_equally_long_and_wrap(length, shuffle):
    shards = [
        indices(BatchSampler(length, 2, shuffle, seed=3, rank=rank, world_size=4), 5) for rank in range(4)
    ]
    assert {len(shard) for shard in shards} == {len(BatchSampler(length, 2, shuffle, rank=1, world_size=4))}
    assert len({tuple(len(batch) for batch in shard) for shard in shards}) == 1
    # One step of all ranks sees what one process with four times the batch size would.
    alone = np.concatenate(indices(BatchSampler(length, 8, shuffle, seed=3), 5))
    together = np.concatenate([np.stack(step, axis=1).ravel() for step in zip(*shards)])
    assert together[:length].tolist() == alone.tolist()
    padding = len(together) - length
    assert padding < 4
    assert together[length:].tolist() == (alone.tolist() * 4)[:padding]


@pytest.mark.parametrize("length", [1, 9, 10, 11])
def test_evaluation_shards_have_every_sample_once(length):
    samplers = [BatchSampler(length, 3, rank=rank, world_size=4, pad=False) for rank in range(4)]
    shards = [indices(sampler) for sampler in samplers]
    assert [len(shard) for shard in shards] == [len(sampler) for sampler in samplers]
    assert sorted(int(i) for shard in shards for batch in shard for i in batch) == list(range(length))


def test_drop_last_that_leaves_nothing():
    with pytest.raises(ConfigError, match=r"24 images on 1 process.* batch of 32; lower sampler\.batch_size"):
        BatchSampler(24, 32, drop_last=True)


# balanced


LABELS = np.repeat([0, 3, 5], [50, 8, 3])  # classes 1, 2 and 4 do not occur


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_balanced_epochs_have_every_class_equally_often_over_all_ranks(world_size):
    samplers = [
        BatchSampler(len(LABELS), 5, seed=3, rank=rank, world_size=world_size, balance=LABELS)
        for rank in range(world_size)
    ]
    shards = [np.concatenate(indices(sampler, 7)) for sampler in samplers]
    assert len({len(shard) for shard in shards}) == 1
    drawn = np.concatenate(shards)
    values, counts = np.unique(LABELS[drawn], return_counts=True)
    assert values.tolist() == [0, 3, 5]
    assert len(set(counts)) == 1
    assert 0 <= len(drawn) - len(LABELS) < 3 * world_size
    # Of a rare class no image comes twice more often than another; of a frequent one none comes twice.
    for label in values:
        often = np.bincount(drawn, minlength=len(LABELS))[label == LABELS]
        assert often.max() - often.min() <= 1
    # Each round, the global batch of as many samples as classes, has one of each.
    order = np.stack(shards, axis=1).ravel()
    assert (np.sort(LABELS[order].reshape(-1, 3), axis=1) == [0, 3, 5]).all()


def test_balanced_epochs_differ_and_repeat():
    def drawn(seed, epoch):
        return np.concatenate(indices(BatchSampler(61, 5, seed=seed, balance=LABELS), epoch)).tolist()

    assert drawn(1, 4) == drawn(1, 4)
    assert len({tuple(drawn(*key)) for key in ((1, 0), (1, 1), (2, 0))}) == 3
    # A class with more images than its share has others in other epochs: in the end all of them.
    assert {i for epoch in range(20) for i in drawn(1, epoch)} == set(range(61))


# size_schedule


def test_the_schedule_of_the_authors_of_fasternet_switches_at_epoch_280():
    # cfg/fasternet_t1.yaml: "image_size 192 before epoch 280", counted from 0 as Lightning's current_epoch is.
    sampler = BatchSampler(10, 4, size_schedule=SizeSchedule.parse("192_280"))
    assert {plan.size for epoch in (0, 279) for plan in sampler.batches(epoch)} == {(192, 192)}
    assert {plan.size for epoch in (280, 299) for plan in sampler.batches(epoch)} == {None}


@pytest.mark.parametrize(
    "text", ["192", "192_", "_280", "192_280_3", "0_280", "192-280", "192_0", "a_b", "9" * 5000 + "_1"]
)
def test_no_size_schedule(text):
    with pytest.raises(ConfigError, match=rf"'{text}' is no size schedule; write SIZE_EPOCH, .* 192_280"):
        SizeSchedule.parse(text)


# MultiScaleSampler


def multi_scale(length=1000, **options):
    return MultiScaleSampler(length, **{"scales": [160, 192, 224, 288, 320], "first_bs": 50, **options})


def test_batches_of_several_sizes_have_equally_many_pixels():
    # PaddleClas' PPLCNetV2 scales; its batch sizes are int(first_bs * 160 * 160 / (w * h)), at least 1.
    expected = {(160, 160): 50, (192, 192): 34, (224, 224): 25, (288, 288): 15, (320, 320): 12}
    seen = {}
    for epoch in range(3):
        for plan in multi_scale().batches(epoch):
            seen.setdefault(plan.size, set()).add(len(plan.indices))
    assert seen == {size: {count} for size, count in expected.items()}
    small = multi_scale(first_bs=1, scales=[64, (100, 130)]).batches(0)
    assert {plan.size for plan in small} == {(64, 64), (96, 128)}  # [width, height], down to multiples of 32
    assert {len(plan.indices) for plan in small} == {1}


def test_every_epoch_has_the_same_batches_in_another_order_and_every_sample():
    sampler = multi_scale(seed=5)
    epochs = [sampler.batches(epoch) for epoch in range(4)]
    assert {len(plans) for plans in epochs} == {len(sampler)}
    assert len({tuple(sorted(plan.size for plan in plans)) for plans in epochs}) == 1
    assert len({tuple(plan.size for plan in plans) for plans in epochs}) == 4
    for plans in epochs:
        drawn = np.concatenate([plan.indices for plan in plans])
        assert set(drawn.tolist()) == set(range(1000))
        assert len(drawn) - 1000 < 50  # the last batch is filled up
    again = multi_scale(seed=5).batches(2)
    assert all(np.array_equal(a.indices, b.indices) and a.size == b.size for a, b in zip(again, epochs[2]))
    assert [plan.size for plan in multi_scale(seed=6).batches(2)] != [plan.size for plan in again]


def test_without_shuffling_the_samples_keep_their_order():
    drawn = np.concatenate([plan.indices for plan in multi_scale(shuffle=False).batches(3)])
    assert drawn[:1000].tolist() == list(range(1000))


@pytest.mark.parametrize("balance", [None, np.arange(1001) % 7 % 3])
def test_a_step_has_one_size_on_every_rank_and_all_ranks_equally_many_steps(balance):
    ranks = [multi_scale(1001, rank=rank, world_size=4, balance=balance) for rank in range(4)]
    plans = [sampler.batches(2) for sampler in ranks]
    assert {len(own) for own in plans} == {len(sampler) for sampler in ranks} == {len(plans[0])}
    for step in zip(*plans):
        assert len({plan.size for plan in step}) == 1
        assert len({len(plan.indices) for plan in step}) == 1
    drawn = {int(i) for own in plans for plan in own for i in plan.indices}
    if balance is None:
        assert drawn == set(range(1001))
    else:
        every = np.concatenate([plan.indices for own in plans for plan in own])
        counts = np.bincount(balance[every])
        assert counts.max() - counts.min() <= 2  # the last batch is filled up


@pytest.mark.parametrize("scales", [[], [224, 31], [(224, 16)]])
def test_scales_that_cannot_be(scales):
    with pytest.raises(
        ConfigError, match=r"at least divided_factor, 32 pixels; for example scales: \[160, 192"
    ):
        multi_scale(scales=scales)
