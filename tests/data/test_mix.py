import numpy as np
import pytest

from ppcls_light.data.mix import CutmixOperator, MixupOperator, OpSampler, build_batch_transforms
from ppcls_light.errors import ConfigError

N, K = 8, 5


@pytest.fixture
def batch():
    """Image i is constant i; its label is i % K."""
    images = np.broadcast_to(np.arange(N, dtype=np.float32)[:, None, None, None], (N, 3, 16, 24)).copy()
    return images, np.eye(K, dtype=np.float32)[np.arange(N) % K]


@pytest.mark.parametrize("seed", range(5))
def test_mixup_mixes_images_and_labels_alike(batch, seed):
    images, labels = batch
    mixed, soft = MixupOperator(alpha=0.4)(images, labels, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    order, share = rng.permutation(N), rng.beta(0.4, 0.4)
    expected = share * np.arange(N) + (1 - share) * order
    assert mixed.dtype == soft.dtype == np.float32
    np.testing.assert_allclose(
        mixed, np.broadcast_to(expected[:, None, None, None], mixed.shape), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        soft @ np.arange(K), share * (np.arange(N) % K) + (1 - share) * (order % K), atol=1e-5
    )


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_labels_are_the_visible_areas(batch, seed):
    images, labels = batch
    before = images.copy()
    mixed, soft = CutmixOperator(alpha=1.0)(images, labels, np.random.default_rng(seed))
    assert np.array_equal(images, before), "the caller's images were changed"
    order = np.random.default_rng(seed).permutation(N)
    for i in range(N):
        pasted = mixed[i] != i
        area = pasted[0].mean() if order[i] != i else 0
        assert np.all(mixed[i][pasted] == order[i])
        rows, columns = np.nonzero(pasted[0])
        if len(rows):
            assert pasted[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all(), (
                "not a box"
            )
        expected = (1 - area) * labels[i] + area * labels[order[i]]
        np.testing.assert_allclose(soft[i], expected, atol=1e-6)


def test_cutmix_mean_share_is_one_half_before_clipping():
    # lambda ~ Beta(1, 1): E[1 - lambda] = 1/2; boxes lose area only at the borders.
    images, labels = np.zeros((2, 1, 64, 64), np.float32), np.eye(2, dtype=np.float32)
    images[1] = 1
    rng = np.random.default_rng(0)
    shares = [CutmixOperator(alpha=1.0)(images, labels, rng)[0][0].mean() for _ in range(2000)]
    # Half of the draws pair each image with itself; of the rest E[area] = E[(E over centre of clipped side)^2]
    # = integral over s of (s - s^2/4)^2 with s the relative side and density 2 s on (0, 1), by numbers:
    side = np.sqrt(np.random.default_rng(1).random((100000, 1)))
    centre = np.random.default_rng(2).random((100000, 2))
    clipped = np.minimum(1, centre + side / 2) - np.maximum(0, centre - side / 2)
    assert np.mean(shares) == pytest.approx(clipped.prod(1).mean() / 2, abs=0.02)


def test_op_sampler_follows_its_probabilities(batch):
    op = OpSampler(MixupOperator={"alpha": 1.0, "prob": 0.5}, CutmixOperator={"alpha": 1.0, "prob": 0.2})
    rng = np.random.default_rng(0)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(1000):
        mixed, _ = op(*batch, rng)
        if np.array_equal(mixed, batch[0]):
            kinds["none"] += 1
        else:
            kinds["mixup" if (mixed == mixed[:, :1, :1, :1]).all() else "cutmix"] += 1
    # 1000 draws: three standard deviations are at most 0.047; a tiny cutmix box is no change.
    assert kinds["mixup"] / 1000 == pytest.approx(0.5, abs=0.05)
    assert 0.12 < kinds["cutmix"] / 1000 < 0.25
    assert 0.25 < kinds["none"] / 1000 < 0.38


def test_build_makes_labels_soft():
    transforms = build_batch_transforms([("OpSampler", {"MixupOperator": {"alpha": 0.3, "prob": 0.0}})], K)
    images = np.zeros((3, 3, 4, 4), np.float32)
    mixed, soft = transforms(images, np.array([0, 4, 2]), np.random.default_rng(0))
    assert np.array_equal(mixed, images)
    assert soft.dtype == np.float32
    assert np.array_equal(soft, np.eye(K)[[0, 4, 2]])
    assert build_batch_transforms(None, K) is None
    assert build_batch_transforms([], K) is None


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([("MixupOp", {})], "unknown batch transform 'MixupOp'; did you mean 'MixupOperator'"),
        ([("MixupOperator", {"alpha": 0})], "alpha: expected a number > 0"),
        ([("MixupOperator", {"alfa": 1})], "unknown key alfa; did you mean 'alpha'"),
        ([("OpSampler", {"MixupOperator": {"alpha": 1}})], "MixupOperator needs its prob"),
        ([("OpSampler", {"MixupOperator": {"alfa": 1, "prob": 0.5}})], "did you mean 'alpha'"),
        (
            [("OpSampler", {"MixupOperator": {"prob": 0.6}, "CutmixOperator": {"prob": 0.6}})],
            "at most 1; got 1.2",
        ),
        ([("OpSampler", {"MixupOperator": {"prob": -0.1}})], "at most 1"),
        ([("OpSampler", {})], "at most 1"),
    ],
)
def test_wrong_parameters(ops, reason):
    with pytest.raises(ConfigError, match=reason):
        build_batch_transforms(ops, K)
