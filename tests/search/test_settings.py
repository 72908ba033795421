"""Search files: PaddleClas' keys, and errors that name the line of the file before anything is trained."""

import sys
from pathlib import Path

import pytest

from ppcls_light.base.files import hold
from ppcls_light.config import load_config
from ppcls_light.errors import ConfigError, UserError
from ppcls_light.search import search
from ppcls_light.search.job import slots_of
from ppcls_light.search.settings import read_search

# The keys of PaddleClas' ppcls/configs/PULC/*/search.yaml.
PULC = """
base_config_file: BASE.yaml
distill_config_file: DISTILL.yaml

gpus: 0,1,2,3
output_dir: output/search
search_times: 1
search_dict:
  - search_key: lrs
    replace_config:
      - Optimizer.lr.learning_rate
    search_values: [0.0075, 0.01]
  - search_key: lr_mult_list
    replace_config:
      - Arch.lr_mult_list
    search_values:
      - [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
      - [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
teacher:
  algorithm: "skl-ugi"
  rm_keys:
    - Arch.lr_mult_list
  search_values:
    - ResNet101_vd
    - ResNet50_vd
final_replace:
  Arch.lr_mult_list: Arch.models.1.Student.lr_mult_list
"""


def test_the_keys_of_paddleclas_search_files(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(PULC)
    read, base = read_search(str(path), ["search_times=2", "Global.epochs=1", "output_dir=elsewhere"])
    assert (read.search_times, read.output_dir, base) == (2, "elsewhere", ["Global.epochs=1"])
    assert read.gpu_numbers() == ["0", "1", "2", "3"]
    assert read.method == "stages"
    _, multiples = read.search_dict
    assert multiples.overrides(multiples.search_values[0]) == [
        "Arch.lr_mult_list=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]"
    ]
    assert read.teacher.search_values == ["ResNet101_vd", "ResNet50_vd"]
    assert read.final_replace == {"Arch.lr_mult_list": "Arch.models.1.Student.lr_mult_list"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search_dict.0.search_values=[]", "search_dict.0: search_values is empty"),
        (
            "search_dict.0.search_values=null",
            "search_dict.0: search_values is missing; give a list, or low and high",
        ),
        ("search_dict.0.low=1", "search_dict.0: search_values and bounds exclude each other"),
        (
            "search_dict.0.replace_config=[Global.output_dir]",
            "search_dict.0: replace_config: Global.output_dir is that of each trial",
        ),
        ("search_dict.0.search_key=a/b", "search_dict.0: search_key: 'a/b' names folders"),
        ("search_dict.1.search_key=lrs", "search_dict: lrs is there twice"),
        ("method=random", "trials: method random needs their number; for example trials: 20"),
        ("trials=3", "trials: method stages tries all values; leave it out"),
        ("prune=true", "prune: is for random, tpe and grid"),
        ("gpus=a", "gpus: expected numbers such as 0,1,2,3, got 'a'"),
        ("serach_times=2", "unknown key serach_times; did you mean 'search_times'?"),
        ("teacher={algorithm: udml}", "distill_config_file is missing"),
        ("Global.output_dir=a", "trials have folders of their own in that of the search; use -o output_dir="),
        ("DataLoader.Eval.dataset.cls_label_path=nowhere.txt", "cls_label_path: nowhere.txt is not there"),
        ("Global.eval_during_train=false", "a trial is scored by its evaluations"),
        (
            "Global.start_eval_epoch=5",
            "none of 4 epochs ends in an evaluation; use -o Global.start_eval_epoch=0",
        ),
    ],
)
def test_a_wrong_search_is_one_line(override, said, search_file, tmp_path):
    with pytest.raises(UserError) as caught:
        search(search_file(), [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "Optimizer.lr.lerning_rate",
            0.1,
            "unknown key Optimizer.lr.lerning_rate; did you mean 'learning_rate'?",
        ),
        ("Optimizer.lr.learning_rate", -1, "Optimizer.lr.learning_rate: expected a number > 0, got -1"),
        ("Arch.name", "PPLCNet_x3_0", "unknown model 'PPLCNet_x3_0'; did you mean"),
        (
            "DataLoader.Train.dataset.transform_ops.9.RandomErasing.EPSILON",
            0.1,
            "is a list of 4, which has no '9'",
        ),
    ],
)
def test_each_value_is_tried_on_the_config_before_the_first_trial(key, value, said, search_file, tmp_path):
    other = {"search_key": "other", "replace_config": [key], "search_values": [value]}
    path = search_file(search_dict=[other])
    lines = Path(path).read_text().splitlines()
    line = max(number for number, text in enumerate(lines, 1) if text.strip() == f"- {value}")
    with pytest.raises(ConfigError) as caught:
        search(path)
    assert str(caught.value).startswith(f"{path}:{line}: search_dict.0.search_values.0: -o {key}=")
    assert said in str(caught.value)
    assert not (tmp_path / "search").exists()


def test_bounds_are_tried_with_a_number_between_them(search_file):
    whole = {"search_key": "epochs", "replace_config": ["Global.epochs"], "low": 1, "high": 9}
    with pytest.raises(
        ConfigError, match=r"search_dict\.0\.low: .*Global\.epochs: expected a whole number, got 1\.0"
    ):
        search(search_file(search_dict=[whole], method="random", trials=2))


def test_a_dry_run_checks_and_writes_nothing(run_tool, search_file, tmp_path, capsys):
    run_tool("search", "-c", search_file(), "--dry-run")
    assert "every value of" in capsys.readouterr().out
    assert not (tmp_path / "search").exists()


def test_each_gpu_has_a_trial_at_a_time_and_processors_are_shared_out(search_file, config_file, monkeypatch):
    read, _ = read_search(search_file(gpus="0,2"))
    on_cpu, on_gpu = (load_config(config_file, [f"Global.device={device}"]) for device in ("cpu", "gpu"))
    monkeypatch.setattr("paddle.device.cuda.device_count", lambda: 4)
    monkeypatch.setattr("ppcls_light.search.job.physical_cores", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    one, other = {"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "2"}
    assert slots_of(read, on_gpu) == [one, other]
    assert slots_of(read, on_gpu, 3) == [one, other, one]
    monkeypatch.setenv(
        "CUDA_VISIBLE_DEVICES", "4,5,6,7"
    )  # numbers count among those that may be seen, as the launcher's
    assert slots_of(read, on_gpu, 2) == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}]
    monkeypatch.setattr("ppcls_light.search.job.openmp_threads", lambda: None)
    assert slots_of(read, on_cpu) == [{"OMP_NUM_THREADS": "8"}]
    assert slots_of(read, on_cpu, 3) == 3 * [{"OMP_NUM_THREADS": "2"}]
    monkeypatch.setattr("ppcls_light.search.job.openmp_threads", lambda: 5)  # the user's
    assert slots_of(read, on_cpu, 3) == 3 * [{"OMP_NUM_THREADS": "5"}]
    monkeypatch.setattr("paddle.device.cuda.device_count", lambda: 2)
    with pytest.raises(
        ConfigError, match=r"search\.yaml:\d+: gpus: there is no GPU 2, but 2 of them; -o gpus=0"
    ):
        slots_of(read, on_gpu)


def test_tpe_without_optuna_says_what_to_install(search_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'pip install "ppcls_light\[search\]", or method: random'):
        search(search_file(method="tpe", trials=2))


def test_two_searches_at_once_in_one_folder_are_refused(search_file, tmp_path):
    (tmp_path / "search").mkdir()
    with open(tmp_path / "search/.search.lock", "a") as file:
        if hold(file) is None:
            pytest.skip("this file system has no locks")
        with pytest.raises(
            ConfigError, match=r"another search is at work in .*; wait for it, or -o output_dir=FOLDER"
        ):
            search(search_file())
