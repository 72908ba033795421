"""Charts of an evaluation: all that they show is in their legends."""

import numpy as np

from ppcls_light.base.operating_points import operating_points
from ppcls_light.data.image_list import read_image_list
from ppcls_light.report.charts import draw_precision_recall
from ppcls_light.report.evaluation import Evaluation
from ppcls_light.report.thresholds import TwoClasses
from ppcls_light.report.two_classes import draw_roc


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend(tmp_path):
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    images = read_image_list(tmp_path / "list.txt", tmp_path, check_files=False)
    evaluation = Evaluation(images, np.eye(2), np.arange(2), ["_background", "yes"])
    (axes,) = draw_precision_recall(evaluation.names, evaluation.curves, evaluation.average_precision).axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["1.00 _background", "1.00 yes"]


def test_the_roc_curve_shows_rates_below_a_percent():
    positive, scores = (
        np.repeat([True, False], [4, 1000]),
        np.append([0.9, 0.8, 0.7, 0.2], np.linspace(0, 0.75, 1000)),
    )
    two = TwoClasses("shoes", operating_points(positive, scores), 0.65)
    (axes,) = draw_roc(two).axes
    curve, _, mark = (list(zip(*line.get_data())) for line in axes.get_lines())
    assert curve[:2] == [(0.0005, 0.0), (0.0005, 0.25)]  # where no negative image is taken
    assert mark == [(0.134, 0.75)]
    assert axes.get_xlim() == (0.0005, 1)
    assert axes.get_xticks().tolist() == [0.001, 0.01, 0.1, 1]
