import numpy as np
import pytest

from ppcls_light.data.mix import (
    CutmixOperator,
    FmixOperator,
    MixupCutmixHybrid,
    MixupOperator,
    OpSampler,
    build_batch_transforms,
)
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


# FmixOperator


@pytest.mark.parametrize("share", [0.0, 0.013, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("max_soft", [0.0, 0.2])
def test_the_mask_of_fmix_has_the_mean_it_is_asked_for(share, max_soft):
    mask = FmixOperator(max_soft=max_soft).mask((24, 40), share, np.random.default_rng(0))
    assert mask.shape == (24, 40)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask.mean() == pytest.approx(share, abs=0.5 / mask.size + 1e-6)
    between = np.mean((mask > 0) & (mask < 1))
    assert between == pytest.approx(2 * min(max_soft, share, 1 - share), abs=2 / mask.size)


def test_the_contours_of_fmix_get_smoother_with_the_decay_power():
    def border(decay_power):  # number of neighbours on different sides
        rng = np.random.default_rng(1)
        masks = [FmixOperator(decay_power=decay_power).mask((32, 32), 0.5, rng) for _ in range(50)]
        return np.mean([np.abs(np.diff(mask, axis=axis)).sum() for mask in masks for axis in (0, 1)])

    white = 32 * 31 / 2  # independent pixels: half of all neighbours
    assert border(0.0) == pytest.approx(white, rel=0.05)
    # The least that halves a square is one straight border of 32 pixels, seen along one of the two axes.
    assert 16 <= border(3.0) < border(1.5) < 0.9 * white
    assert border(3.0) < 0.2 * white


@pytest.mark.parametrize("seed", range(5))
def test_fmix_labels_are_the_visible_areas(batch, seed):
    images, labels = batch
    mixed, soft = FmixOperator()(images, labels, np.random.default_rng(seed))
    order = np.random.default_rng(seed).permutation(N)
    assert mixed.dtype == soft.dtype == np.float32
    for i in range(N):
        own = 1.0 if order[i] == i else (mixed[i] == i).mean()
        assert np.isin(mixed[i], [i, order[i]]).all()
        np.testing.assert_allclose(soft[i], own * labels[i] + (1 - own) * labels[order[i]], atol=1e-6)


def test_fmix_draws_its_share_from_beta_or_reformulated():
    images, labels = np.zeros((2, 1, 8, 8), np.float32), np.eye(2, dtype=np.float32)

    def mean_share(**options):
        rng, op = np.random.default_rng(0), FmixOperator(alpha=1.0, decay_power=0.0, **options)
        drawn = [op(images, labels, rng)[1] for _ in range(4000)]
        # Where the two are exchanged, the share of the first label is the share of the mask.
        return np.mean([soft[0, 0] for soft in drawn if soft[0, 0] != 1 or soft[0, 1] != 0])

    assert mean_share() == pytest.approx(1 / 2, abs=0.03)  # mean of Beta(1, 1)
    assert mean_share(reformulate=True) == pytest.approx(2 / 3, abs=0.03)  # of Beta(2, 1)


# MixupCutmixHybrid


def hybrid(**options):
    return MixupCutmixHybrid(**{"label_smoothing": 0.0, **options})


@pytest.mark.parametrize("count", [7, 8])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("kind", ["mixup", "cutmix", "minmax"])
def test_the_hybrid_mixes_image_and_label_alike_with_the_mirrored_place(count, mode, kind):
    values = np.arange(1, count + 1, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (count, 3, 16, 24)).copy()
    labels = np.eye(count, dtype=np.float32)
    options = {
        "mixup": {"mixup_alpha": 0.8},
        "cutmix": {"mixup_alpha": 0.0, "cutmix_alpha": 1.0},
        "minmax": {"mixup_alpha": 0.0, "cutmix_minmax": (0.3, 0.8)},
    }[kind]
    shares = []
    for seed in range(6):
        mixed, soft = hybrid(mode=mode, **options)(images, labels, np.random.default_rng(seed))
        assert mixed.dtype == soft.dtype == np.float32
        # The mean over the picture is what the label says, for pasted and for blended images.
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft @ values, rtol=1e-4)
        np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
        assert not soft[~(np.eye(count) + np.eye(count)[::-1]).astype(bool)].any()
        shares.append(soft.diagonal().copy())
        if kind != "mixup":
            assert np.isin(mixed, np.stack([values, values[::-1]])[:, :, None, None, None]).all()
        if kind == "minmax":
            inside = np.delete(1 - shares[-1], count // 2) if count % 2 else 1 - shares[-1]
            assert (inside >= 0.3**2 - 0.05).all()
            assert (inside <= 0.8**2).all()
    shares = np.delete(np.stack(shares), count // 2, axis=1) if count % 2 else np.stack(shares)
    mirrored = np.allclose(shares, shares[:, ::-1])
    one_draw = np.allclose(shares, shares[:, :1])
    assert (one_draw, mirrored) == {"batch": (True, True), "pair": (False, True), "elem": (False, False)}[
        mode
    ]


def test_the_hybrid_follows_its_probabilities():
    images = np.broadcast_to(np.arange(2, dtype=np.float32)[:, None, None, None], (2, 1, 32, 32)).copy()
    labels, rng = np.eye(2, dtype=np.float32), np.random.default_rng(0)
    op = hybrid(mixup_alpha=1.0, cutmix_alpha=1.0, prob=0.8, switch_prob=0.25)
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(2000):
        mixed, _ = op(images, labels, rng)
        pasted = np.isin(mixed, [0, 1]).all()
        kinds["none" if np.array_equal(mixed, images) else "cutmix" if pasted else "mixup"] += 1
    # 2000 draws: three standard deviations are at most 0.034; a box of no pixel is no change.
    assert kinds["mixup"] / 2000 == pytest.approx(0.8 * 0.75, abs=0.034)
    assert kinds["cutmix"] / 2000 == pytest.approx(0.8 * 0.25, abs=0.04)


def test_the_hybrid_may_keep_the_lambda_of_a_clipped_box():
    images, labels = np.zeros((2, 1, 16, 16), np.float32), np.eye(2, dtype=np.float32)
    images[1] = 1
    op = hybrid(mixup_alpha=0.0, cutmix_alpha=1.0, correct_lam=False)
    drawn = [op(images, labels, np.random.default_rng(seed)) for seed in range(200)]
    shares = np.array([soft[0, 0] for _, soft in drawn])
    visible = np.array([1 - mixed[0].mean() for mixed, _ in drawn])
    assert (visible >= shares - 1e-6).all(), "a clipped box shows more of the image than lambda"
    assert (visible > shares + 0.05).mean() > 0.3
    assert shares.mean() == pytest.approx(0.5, abs=0.08)  # Beta(1, 1)


def test_the_hybrid_smooths_the_mixed_labels():
    images, labels = np.zeros((4, 1, 8, 8), np.float32), np.eye(4, dtype=np.float32)
    plain = hybrid(mixup_alpha=1.0)(images, labels, np.random.default_rng(2))[1]
    smooth = MixupCutmixHybrid()(images, labels, np.random.default_rng(2))[1]  # 0.1, as PaddleClas
    np.testing.assert_allclose(smooth, 0.9 * plain + 0.1 / 4, atol=1e-6)


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
        ([("OpSampler", {"MixupOperator": {"prob": float("nan")}})], "at most 1; got nan"),
        ([("OpSampler", {})], "at most 1"),
        ([("FmixOperator", {"max_soft": 0.6})], "max_soft: expected a number >= 0 and <= 0.5"),
        ([("MixupCutmixHybrid", {"mixup_alpha": 0})], "both 0; leave the op out"),
        ([("MixupCutmixHybrid", {"mode": "element"})], "mode: expected one of batch, pair, elem"),
        ([("MixupCutmixHybrid", {"cutmix_minmax": [0.8, 0.2]})], r"a range \[low, high\]; got \[0.8, 0.2\]"),
        ([("MixupCutmixHybrid", {"num_classes": 4})], "num_classes 4 is not Arch.class_num 5; leave"),
        (
            [("OpSampler", {"MixupCutmixHybrid": {"num_classes": 4, "prob": 0.5}})],
            "num_classes 4 is not Arch.class_num 5",
        ),
    ],
)
def test_wrong_parameters(ops, reason):
    with pytest.raises(ConfigError, match=reason):
        build_batch_transforms(ops, K)


TAGS = np.array([[1, 0, -1], [0, 1, 1], [1, 1, 0], [0, -1, 1]], np.float32)


@pytest.mark.parametrize(
    "op",
    [
        ("MixupOperator", {}),
        ("CutmixOperator", {"alpha": 1.0}),
        ("FmixOperator", {}),
        ("MixupCutmixHybrid", {"mode": "elem", "label_smoothing": 0.0}),
        ("MixupCutmixHybrid", {"cutmix_minmax": [0.2, 0.8], "mode": "pair", "label_smoothing": 0.0}),
        ("OpSampler", {"MixupOperator": {"prob": 0.5}, "CutmixOperator": {"prob": 0.5}}),
    ],
    ids=lambda op: op[0],
)
@pytest.mark.parametrize("seed", range(3))
def test_tags_are_mixed_as_images_are_and_known_only_where_both_are(op, seed):
    """Channel k of an image is its tag k where that is known: the mean of the mixed channel is the mixed tag."""
    images = np.broadcast_to(np.maximum(TAGS, 0)[:, :, None, None], (4, 3, 16, 16)).astype(np.float32)
    marks = np.broadcast_to((TAGS < 0).astype(np.float32)[:, :, None, None], images.shape)
    mix = build_batch_transforms([op], 3, multilabel=True)
    mixed, tags = mix(images, TAGS, np.random.default_rng(seed))
    seen, _ = mix(marks, TAGS, np.random.default_rng(seed))  # the shares of the images whose tag is not known
    unknown = seen.mean(axis=(2, 3)) > 0
    assert tags.dtype == np.float32
    assert np.array_equal(tags < 0, unknown)
    assert np.all(tags[unknown] == -1)
    np.testing.assert_allclose(tags[~unknown], mixed.mean(axis=(2, 3))[~unknown], atol=1e-5)


def test_smoothed_tags_come_nearer_to_one_half():
    op = ("MixupCutmixHybrid", {"label_smoothing": 0.2, "prob": 0.0})
    images = np.zeros((4, 3, 4, 4), np.float32)
    _, tags = build_batch_transforms([op], 3, multilabel=True)(images, TAGS, np.random.default_rng(0))
    np.testing.assert_allclose(
        tags, [[0.9, 0.1, -1], [0.1, 0.9, 0.9], [0.9, 0.9, 0.1], [0.1, -1, 0.9]], rtol=1e-6
    )
    sampler = ("OpSampler", {"MixupCutmixHybrid": {**op[1], "prob": 1.0}})
    _, tags = build_batch_transforms([sampler], 3, multilabel=True)(
        images, np.ones((4, 3), np.float32), np.random.default_rng(0)
    )
    np.testing.assert_allclose(tags, 0.9, rtol=1e-6)
