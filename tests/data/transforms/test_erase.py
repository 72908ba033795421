import numpy as np
import pytest
from PIL import Image

from ppcls_light.config.bind import bind
from ppcls_light.config.tree import read_tree
from ppcls_light.data.transforms.erase import Cutout, GridMask, HideAndSeek, RandomErasing
from ppcls_light.errors import ConfigError

WHITE = np.full((60, 80, 3), 255, np.uint8)


def erased(op, seed, image=WHITE):
    """Return which pixels of a white image an op changes, as bools (H, W)."""
    return (op(image, np.random.default_rng(seed)) != image).any(axis=2)


def rectangle(mask):
    """Return (left, top, width, height) of the one full rectangle in `mask`; None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert mask.sum() == len(rows) * len(columns)
    assert (len(rows), len(columns)) == (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    return int(columns[0]), int(rows[0]), len(columns), len(rows)


def test_erased_rectangles_have_the_paper_s_distribution():
    op, rng = RandomErasing(EPSILON=1, sl=0.02, sh=0.3, r1=0.5), np.random.default_rng(0)
    boxes = np.array([op.box(800, 600, rng) for _ in range(20000)])
    left, top, width, height = boxes.T
    area, aspect = width * height / (800 * 600), height / width
    # sqrt(0.3 * 600 * 800 * 2) = 537 < 600: everything fits, so that both are exactly uniform.
    assert [area.min(), area.mean(), area.max()] == pytest.approx([0.02, 0.16, 0.3], abs=0.003)
    assert np.quantile(area, [0.25, 0.75]) == pytest.approx([0.09, 0.23], abs=0.005)
    assert [aspect.min(), aspect.mean(), aspect.max()] == pytest.approx([0.5, 1.25, 2], abs=0.02)
    assert (left / (800 - width)).mean() == pytest.approx(0.5, abs=0.01)
    assert (top / (600 - height)).mean() == pytest.approx(0.5, abs=0.01)
    assert (left + width <= 800).all()
    assert (top + height <= 600).all()
    assert left.min() == 0
    op = RandomErasing(EPSILON=1, sl=0.02, sh=0.3, r1=0.5, use_log_aspect=True)
    boxes = np.array([op.box(800, 600, rng) for _ in range(20000)])
    assert np.log(boxes[:, 3] / boxes[:, 2]).mean() == pytest.approx(0, abs=0.01)


def test_random_erasing_probability_and_attempts():
    kept = [rectangle(erased(RandomErasing(EPSILON=0.25, sh=1 / 3), seed)) is None for seed in range(800)]
    assert np.mean(kept) == pytest.approx(0.75, abs=0.05)
    never = RandomErasing(
        EPSILON=1, sl=1, sh=1, r1=1, attempt=3
    )  # its rectangle never is smaller than the image
    assert never(WHITE, np.random.default_rng(0)) is WHITE


def test_random_erasing_s_colours():
    normalised = np.full((60, 80, 3), 9, np.float32)
    const = RandomErasing(EPSILON=1, mean=(0.1, 0.2, 0.3))(normalised, np.random.default_rng(0))
    assert const[(const != 9).all(axis=2)] == pytest.approx(
        np.tile([0.1, 0.2, 0.3], ((const != 9).sum() // 3, 1))
    )
    one = RandomErasing(EPSILON=1, mode="rand")(normalised, np.random.default_rng(0))
    assert len(np.unique(one[(one != 9).all(axis=2)], axis=0)) == 1
    values = [RandomErasing(EPSILON=1, mode="rand")(normalised, np.random.default_rng(s)) for s in range(400)]
    colours = np.array([out[(out != 9).all(axis=2)][0] for out in values])
    assert (colours.mean(), colours.std()) == pytest.approx((0, 1), abs=0.1)
    noise = RandomErasing(EPSILON=1, mode="pixel", sl=0.3)(normalised, np.random.default_rng(0))
    noise = noise[(noise != 9).all(axis=2)]
    assert (noise.mean(), noise.std()) == pytest.approx((0, 1), abs=0.05)
    assert noise.dtype == np.float32
    bytes_ = RandomErasing(EPSILON=1, mode="pixel", sl=0.3)(WHITE, np.random.default_rng(0))
    assert bytes_.dtype == np.uint8
    assert bytes_[bytes_ != 255].mean() == pytest.approx(127, abs=4)
    assert bytes_[bytes_ != 255].std() == pytest.approx(256 / 12**0.5, abs=4)
    grey = RandomErasing(EPSILON=1, mean=7)(WHITE, np.random.default_rng(0))
    assert set(np.unique(grey)) == {7, 255}
    clipped = RandomErasing(EPSILON=1, mean=(-5, 127.6, 300))(WHITE, np.random.default_rng(0))
    assert clipped[clipped[..., 0] == 0].tolist() == [[0, 128, 255]] * (clipped[..., 0] == 0).sum()


def test_random_erasing_takes_paddleclas_yaml(tmp_path):
    path = tmp_path / "ops.yaml"
    path.write_text(
        "EPSILON: '0.25'\nsl: 0.02\nsh: 1.0/3.0\nr1: 0.3\nattempt: 10\nuse_log_aspect: True\nmode: pixel\n"
    )
    op = bind(RandomErasing, read_tree(str(path)))
    assert (op.EPSILON, op.sl, op.sh, op.mode) == (0.25, 0.02, pytest.approx(1 / 3), "pixel")
    path.write_text("sh: __import__('os').getcwd()\n")
    with pytest.raises(ConfigError, match=r"ops.yaml:1: sh: expected a number, got .__import__"):
        bind(RandomErasing, read_tree(str(path)))
    with pytest.raises(ConfigError, match=r"sl and sh are a range of areas; got 0.5 to 0.4"):
        RandomErasing(sl=0.5)


@pytest.mark.parametrize(
    "op",
    [
        RandomErasing(EPSILON=1, sl=0.2),
        RandomErasing(EPSILON=1, sl=0.2, mode="pixel"),
        Cutout(length=20),
        Cutout(fill_value="none"),
        HideAndSeek(),
        GridMask(d1=10, d2=30, rotate=45),
    ],
    ids=lambda op: type(op).__name__,
)
def test_both_layouts_and_kinds_are_erased_alike_and_the_input_stays(op):
    rng = np.random.default_rng(1)
    for image in (
        rng.integers(0, 256, (60, 80, 3), dtype=np.uint8),
        rng.normal(size=(60, 80, 3)).astype("f"),
    ):
        before = image.copy()
        for seed in range(6):
            hwc = op(image, np.random.default_rng(seed))
            chw = op(image.transpose(2, 0, 1), np.random.default_rng(seed))
            assert np.array_equal(hwc, chw.transpose(1, 2, 0))
            assert (hwc.dtype, hwc.shape) == (image.dtype, image.shape)
            if image.dtype == np.uint8:
                pil = op(Image.fromarray(image), np.random.default_rng(seed))
                assert isinstance(pil, Image.Image)
                assert np.array_equal(np.asarray(pil), hwc)
        assert np.array_equal(image, before)


def test_a_fourth_channel_of_zeros_stays():
    image = np.ones((4, 60, 80), np.float32)
    image[3] = 0
    for mode in ("const", "rand", "pixel"):
        out = RandomErasing(EPSILON=1, sl=0.2, mode=mode)(image, np.random.default_rng(0))
        assert not out[3].any()
        assert (out[:3] != 1).all(axis=0).sum() > 900


def test_cutout_is_a_clipped_square_with_a_uniform_centre():
    op, hits = Cutout(length=20), np.zeros((60, 80))
    for seed in range(3000):
        mask = erased(op, seed)
        left, top, width, height = rectangle(mask)
        assert width == 20 or left == 0 or left + width == 80
        assert height == 20 or top == 0 or top + height == 60
        assert max(width, height) <= 20
        hits += mask
    assert hits[10:-10, 10:-10].mean() / 3000 == pytest.approx(20 / 60 * 20 / 80, abs=0.004)
    assert hits[0, 0] / 3000 == pytest.approx(11 / 60 * 11 / 80, abs=0.01)


def test_cutout_defaults_holes_and_colours():
    assert (Cutout()(WHITE, np.random.default_rng(0)) == 0).any()
    covered = np.mean([erased(Cutout(n_holes=4, length=20), seed).mean() for seed in range(200)])
    single = np.mean([erased(Cutout(length=20), seed).mean() for seed in range(200)])
    assert covered == pytest.approx(1 - (1 - single) ** 4, abs=0.03)
    assert np.array_equal(
        Cutout(length=20, fill_value=3)(WHITE, np.random.default_rng(0)),
        Cutout(length=20, fill_value=(3, 3, 3))(WHITE, np.random.default_rng(0)),
    )
    coloured = Cutout(length=20, fill_value=(1, 2, 3))(WHITE, np.random.default_rng(0))
    assert (coloured[(coloured != 255).all(axis=2)] == (1, 2, 3)).all()
    for fill in ("none", None):
        colours = {
            Cutout(length=20, fill_value=fill)(WHITE, np.random.default_rng(seed)).min(axis=(0, 1)).tobytes()
            for seed in range(40)
        }
        assert len(colours) > 30


def test_hide_and_seek_hides_whole_cells():
    image, sides = np.full((112, 128, 3), 255, np.uint8), []
    for seed in range(600):
        mask = erased(HideAndSeek(), seed, image)
        # The largest grid that every edge of the hidden parts lies on.
        edges = (np.diff(mask, axis=0).any(axis=1), np.diff(mask, axis=1).any(axis=0))
        places = np.concatenate([np.flatnonzero(edge) + 1 for edge in edges])
        assert len(places) or not mask.any() or mask.all()
        sides.append(next((side for side in (56, 44, 32, 16) if not (places % side).any()), None))
        if not len(places):
            sides[-1] = 0
    assert None not in sides
    for side in (0, 16, 32, 44, 56):
        assert sides.count(side) / 600 == pytest.approx(1 / 5, abs=0.06)
    cells = [erased(HideAndSeek(), seed, image)[::16, ::16].mean() for seed in range(600)]
    assert np.mean(cells) == pytest.approx(4 / 5 * 1 / 2, abs=0.03)


def test_grid_mask_s_pattern():
    op, rng, periods = GridMask(d1=20, d2=40, ratio=0.4), np.random.default_rng(0), set()
    for _ in range(200):
        hidden = op.hidden(200, 240, rng)
        rows, columns = hidden.all(axis=1), hidden.all(axis=0)
        assert np.array_equal(hidden, rows[:, None] | columns)  # bands in both directions, nothing else
        starts = np.flatnonzero(np.diff(rows.astype(int)) == 1)
        period = np.diff(starts)[0]
        assert (np.diff(starts) == period).all()
        assert rows[starts[0] + 1 : starts[0] + 1 + period].sum() == int(0.4 * period + 0.5)
        periods.add(int(period))
    assert periods == set(range(20, 40))


def test_grid_mask_s_modes_rotation_and_probability():
    shapes = {"height": 224, "width": 224}
    share = np.mean([GridMask().hidden(**shapes, rng=np.random.default_rng(s)).mean() for s in range(300)])
    assert share == pytest.approx(0.75, abs=0.03)  # 1 - (1 - ratio) ** 2
    both = [GridMask(mode=mode).hidden(**shapes, rng=np.random.default_rng(3)) for mode in (0, 1)]
    assert np.array_equal(both[0], ~both[1])
    turned = GridMask(d1=30, d2=31, rotate=45).hidden(**shapes, rng=np.random.default_rng(3))
    assert turned.mean() == pytest.approx(0.75, abs=0.02)
    assert not turned.all(axis=1).any()
    kept = np.mean([GridMask(prob=0.3)(WHITE, np.random.default_rng(seed)) is WHITE for seed in range(500)])
    assert kept == pytest.approx(0.7, abs=0.06)
    with pytest.raises(ConfigError, match="the period is drawn from d1 to below d2; got 5 to 5"):
        GridMask(d1=5, d2=5)
