"""The plan is a function of the number of photos, the measured speeds and the seconds: no clock runs here."""

import pytest

from ppcls_light.photos.plan import Speed, plan
from ppcls_light.photos.recipe import PRETRAINED, SCRATCH, batch_size_for

LARGE, MIDDLE, SMALL = (
    Speed("PPLCNet_x1_0", 160, 0.02, 1.0),
    Speed("PPLCNet_x1_0", 96, 0.01, 0.5),
    Speed("PPLCNet_x0_5", 96, 0.005, 0.25),
)


@pytest.mark.parametrize(
    ("photos", "seconds", "taken", "epochs", "enough"),
    [
        (100, 600, LARGE, 40, True),  # 3 s an epoch; the recipe wants no more than 40
        (100, 118, LARGE, 39, True),
        (1000, 600, LARGE, 28, True),  # 21 s an epoch, 36 are wanted
        (1000, 380, LARGE, 18, True),  # the half of 36
        (1000, 377, MIDDLE, 35, True),  # 17 of the large one would be too few
        (1000, 100, SMALL, 19, True),
        (1000, 90, SMALL, 17, False),  # none has enough, and the smallest has the most
        (10_000, 600, MIDDLE, 5, True),  # 5 of the 5 wanted, where 201 s an epoch leave 2 of the large one
        (10_000, 51, SMALL, 1, False),
        (10_000, 50, None, 0, False),
        (100, -1, None, 0, False),
    ],
)
def test_the_best_network_with_enough_epochs_is_taken(photos, seconds, taken, epochs, enough):
    made = plan(PRETRAINED, photos, [LARGE, MIDDLE, SMALL], seconds)
    assert (made.epochs, made.enough) == (epochs, enough)
    if taken is not None:
        assert (made.network, made.size) == (taken.network, taken.size)
        assert made.seconds == pytest.approx(epochs * (photos * taken.photo + taken.epoch_end))
        assert made.seconds <= seconds


def test_random_weights_want_more_epochs():
    for photos in (50, 500, 5000, 50_000):
        assert SCRATCH.epochs(photos) > PRETRAINED.epochs(photos) >= 5
    slow = Speed("FasterNet_T0", 96, 0.01, 0.0)
    assert plan(SCRATCH, 1000, [slow], 501).epochs == 50
    assert plan(SCRATCH, 1000, [slow], 5000).epochs == 74


@pytest.mark.parametrize(
    ("images", "batch_size"), [(1, 1), (2, 2), (7, 2), (16, 4), (96, 16), (128, 32), (9000, 32)]
)
def test_an_epoch_has_four_batches_where_that_can_be(images, batch_size):
    assert batch_size_for(images) == batch_size
