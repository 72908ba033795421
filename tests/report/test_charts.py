"""Charts of an evaluation: all that they show is in their legends."""

import numpy as np

from ppcls_light.data.image_list import read_image_list
from ppcls_light.report.charts import draw_precision_recall
from ppcls_light.report.evaluation import Evaluation


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend(tmp_path):
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    images = read_image_list(tmp_path / "list.txt", tmp_path, check_files=False)
    evaluation = Evaluation(images, np.eye(2), np.arange(2), ["_background", "yes"])
    (axes,) = draw_precision_recall(evaluation.names, evaluation.curves, evaluation.average_precision).axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["1.00 _background", "1.00 yes"]
