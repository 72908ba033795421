"""Positions against a run that is counted batch by batch."""

import pytest

from ppcls_light.engine.position import Position

EPOCHS = 3


def enumerated(batches, update_freq):
    """Return (epoch, batch, step, step in the epoch, batches of the step, whether it is the step's last)."""
    rows, step = [], 0
    for epoch in range(EPOCHS):
        left, in_epoch = list(range(batches)), 0
        while left:
            taken, left = left[:update_freq], left[update_freq:]
            rows += [(epoch, batch, step, in_epoch, len(taken), batch == taken[-1]) for batch in taken]
            step, in_epoch = step + 1, in_epoch + 1
    return rows, step


def row(at):
    return at.epoch, at.batch, at.step, at.step_in_epoch, at.batches_of_step, at.ends_step


@pytest.mark.parametrize("update_freq", [1, 2, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("batches", [1, 2, 7, 8, 9])
def test_every_batch_of_a_run(batches, update_freq):
    rows, steps = enumerated(batches, update_freq)
    at = Position(batches, update_freq)
    assert at.steps_per_epoch * EPOCHS == steps
    for number, expected in enumerate(rows):
        assert row(at) == expected
        assert at.batches_before == number
        assert row(Position(batches, update_freq).at(*expected[:2])) == expected  # wherever it is entered
        at = at.next()
    assert (at.epoch, at.batch, at.step) == (EPOCHS, 0, steps)


@pytest.mark.parametrize(("batches", "update_freq"), [(7, 1), (7, 2), (9, 4), (2, 5)])
def test_a_run_resumed_after_any_step_has_the_batches_that_are_left(batches, update_freq):
    """A checkpoint keeps the epoch and the steps done in it."""
    rows, _ = enumerated(batches, update_freq)
    for number, (epoch, _, _, in_epoch, _, ends_step) in enumerate(rows[:-1]):
        if not ends_step:
            continue
        at, seen = Position(batches, update_freq).at(epoch, (in_epoch + 1) * update_freq), []
        while at.epoch < EPOCHS:
            seen.append(row(at))
            at = at.next()
        assert seen == rows[number + 1 :]
