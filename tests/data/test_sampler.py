import numpy as np
import pytest

from ppcls_light.data import BatchSampler
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
