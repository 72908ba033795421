"""Confident learning against cleanlab 2.9.0 and the paper's equations."""

import numpy as np
import pytest

from ppcls_light.report.label_errors import confident_joint, estimated_joint, suspected_errors


def answers(seed, count=120, class_num=4):
    """Return labels, every tenth of them wrong, and probabilities; RandomState's numbers never change."""
    rng = np.random.RandomState(seed)
    true = rng.randint(class_num, size=count)
    exponentials = np.exp(rng.normal(size=(count, class_num)) + 3 * np.eye(class_num)[true])
    labels = true.copy()
    labels[::10] = (labels[::10] + 1) % class_num
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


# cleanlab.count.compute_confident_joint(calibrate=False), cleanlab.filter.find_label_issues(filter_by="both",
# min_examples_per_class=0)
CLEANLABS = {
    0: (
        [[22, 0, 0, 2], [2, 15, 0, 0], [0, 3, 15, 0], [0, 0, 3, 25]],
        [0, 8, 10, 20, 30, 40, 46, 50, 60, 80, 90, 100, 110],
    ),
    1: (
        [[18, 0, 0, 2], [2, 22, 0, 0], [0, 2, 17, 0], [0, 0, 3, 26]],
        [0, 10, 20, 30, 40, 50, 60, 80, 90, 110],
    ),
    3: (
        [[18, 0, 0, 1], [4, 21, 0, 0], [0, 3, 18, 0], [0, 0, 3, 19]],
        [0, 10, 20, 30, 40, 50, 60, 70, 72, 80, 90, 100],
    ),
}


@pytest.mark.parametrize("seed", CLEANLABS)
def test_the_suspects_are_cleanlabs(seed):
    labels, probabilities = answers(seed)
    joint, suspects = CLEANLABS[seed]
    assert confident_joint(labels, probabilities).tolist() == joint
    found = suspected_errors(labels, probabilities)
    assert sorted(found.indices.tolist()) == suspects
    own = probabilities[found.indices, labels[found.indices]]
    np.testing.assert_allclose(found.margin, own - probabilities[found.indices].max(axis=1))
    assert (np.diff(found.margin) >= 0).all()


def test_the_joint_is_that_of_the_equations():
    """Equations 1 to 3, image by image, with classes that few reach, and one without images."""
    rng = np.random.default_rng(0)
    labels, logits = rng.choice([0, 1, 3, 4], 300), rng.normal(size=(300, 5))
    logits[:, 2] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    thresholds = {label: probabilities[labels == label, label].mean() for label in (0, 1, 3, 4)}
    expected = np.zeros((5, 5), int)
    for label, row in zip(labels, probabilities):
        reached = [other for other, least in thresholds.items() if row[other] >= least]
        if reached:
            expected[label, max(reached, key=lambda other: row[other])] += 1
    joint = confident_joint(labels, probabilities)
    assert joint.tolist() == expected.tolist()
    assert joint.sum() < len(labels)
    estimated = estimated_joint(labels, joint)
    assert estimated.sum(axis=1).tolist() == pytest.approx(np.bincount(labels, minlength=5).tolist())
    np.testing.assert_allclose(estimated[3] * expected[3].sum(), expected[3] * (labels == 3).sum())


def test_right_labels_are_not_suspected():
    labels = np.arange(40) % 4
    probabilities = 0.9 * np.eye(4)[labels] + 0.025
    assert len(suspected_errors(labels, probabilities).indices) == 0
    one = labels.copy()
    one[7] = 0  # its image is of class 3
    assert suspected_errors(one, probabilities).indices.tolist() == [7]


def test_a_single_image_of_a_class_harms_nothing():
    found = suspected_errors(np.array([0]), np.array([[0.2, 0.8]]))
    assert len(found.indices) == 0
