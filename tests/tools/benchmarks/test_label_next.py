"""Simulated labelling: what is drawn, and what is chosen."""

import numpy as np
import pytest

from ppcls_light.errors import DataError
from ppcls_light.prediction.neighbours import Index
from tools.benchmarks import label_next


@pytest.fixture
def index(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    rows = 2 * np.eye(3, 40)[labels] + rng.normal(size=(240, 40))
    names = [f"{'abc'[label]}/{place}.png" for place, label in enumerate(labels)]
    index = Index(np.float32(rows), names, str(tmp_path), "network")
    index.write(str(tmp_path / "index.npz"))
    return index


def test_no_image_is_in_two_parts(index):
    _, labels = index.classes()
    known, rest, test = label_next.split(labels, 5, np.random.default_rng(0))
    assert sorted(np.concatenate([known, rest, test]).tolist()) == list(range(240))
    assert np.bincount(labels[known]).tolist() == [5, 5, 5]
    with pytest.raises(DataError, match="--labelled 90: a class has fewer"):
        label_next.split(labels, 90, np.random.default_rng(0))


def test_each_case_chooses_what_it_says():
    rng = np.random.default_rng(0)
    probabilities, embeddings = rng.dirichlet(np.ones(4), 90), rng.normal(size=(90, 5))
    best = np.sort(probabilities, axis=1)
    order = np.argsort(best[:, -1] - best[:, -2])
    chosen = {case: label_next.choose(case, probabilities, embeddings, 8, rng) for case in label_next.CASES}
    assert len(chosen["without"]) == 0
    assert chosen["margin"].tolist() == order[:8].tolist()
    assert len(set(chosen["random"].tolist())) == len(set(chosen["chosen"].tolist())) == 8
    assert set(chosen["chosen"]) <= set(order[:80])


def test_labels_help_and_the_table_says_by_how_much(index, tmp_path, monkeypatch, capsys):
    file = tmp_path / "rows.csv"
    options = ["--index", tmp_path / "index.npz", "--labelled", 2, "--count", 40, "--seeds", 4, "--csv", file]
    monkeypatch.setattr("sys.argv", ["label_next.py", *map(str, options)])
    label_next.main()
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert table[0][0] == "| 4 seeds"
    means = {row[0].strip("| "): float(row[4].split()[0]) for row in table[2:]}
    assert means["random"] == 0
    assert means["without"] < 0
    header, *rows = file.read_text().splitlines()
    assert header == "seed,without,random,margin,chosen"
    assert len(rows) == 4
