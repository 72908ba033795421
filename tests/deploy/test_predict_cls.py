import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
import yaml

from ppcls_light.data import find_images
from ppcls_light.errors import ConfigError, DataError, UserError
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.deploy import predictor_from_config, read_deploy_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "python" / "predict_cls.py"
CONFIG = ROOT / "deploy" / "configs" / "inference_cls.yaml"

# PaddleClas' own keys and value kinds; paths are filled in by the tests
PADDLECLAS_YAML = """\
Global:
  infer_imgs: "{images}"
  inference_model_dir: "{model}"
  batch_size: 1
  use_gpu: False
  enable_mkldnn: False
  cpu_num_threads: 10
  enable_benchmark: True
  use_fp16: False
  ir_optim: True
  use_tensorrt: False
  gpu_mem: 8000
  enable_profile: False
PreProcess:
  transform_ops:
    - ResizeImage:
        resize_short: 40
    - CropImage:
        size: 32
    - NormalizeImage:
        scale: 0.00392157
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]
        order: ''
    - ToCHWImage:
PostProcess:
  name: Topk
  topk: 2
  class_id_map_file: "{labels}"
"""


def predict_cls(*arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_rows_from_any_folder_in_paddleclas_format(model, images, tmp_path):
    done = predict_cls(
        "-c",
        CONFIG,
        "-o",
        f"Global.inference_model_dir={os.path.relpath(model, tmp_path)}",
        "Global.infer_imgs=my photos",
        "-o",
        "Global.batch_size=2",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    expected = []
    for row in Predictor(model).predict([images / "a.jpg", images / "b.JPG", images / "sub" / "c.bmp"]):
        scores = ", ".join(f"{score:.2f}" for score in row["scores"])
        expected.append(
            f"{os.path.basename(row['file_name'])}:\tclass id(s): {row['class_ids']}, score(s): [{scores}], "
            f"label_name(s): {row['label_names']}"
        )
    assert done.stdout.splitlines() == expected
    assert re.fullmatch(
        r"a\.jpg:\tclass id\(s\): \[\d, \d\], score\(s\): \[\d\.\d\d, \d\.\d\d\], label_name\(s\): \['.*', '.*'\]",
        expected[0],
    )


def test_a_bad_image_is_reported_and_costs_no_other(model, images, tmp_path):
    (images / "aa.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    (images / "notes.txt").write_text("no image")
    options = [f"Global.inference_model_dir={model}", "Global.batch_size=8", "-v"]
    done = predict_cls("-c", CONFIG, "-o", f"Global.infer_imgs={images}", "-o", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["a.jpg", "b.JPG", "c.bmp"]
    assert f"error: {images / 'aa.jpg'}: " in done.stderr
    assert "1 of 4 images could not be classified" in done.stderr
    assert done.stderr.count(f"{images}: left out 1 file that is no image (.txt; notes.txt)\n") == 1
    done = predict_cls("-o", f"Global.infer_imgs={images / 'aa.jpg'}", *options[:2], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("good", "said"),
    [
        (2, r"^2 images in \d+\.\d\d s, [\d.]+ images/s, 1 failed$"),
        (0, r"^0 images in \d+\.\d\d s, 1 failed$"),
    ],
)
def test_an_image_that_fails_is_no_image_a_second(model, images, tmp_path, good, said):
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "x.png").write_bytes(b"no picture")
    for number in range(good):
        shutil.copy(images / "a.jpg", folder / f"{number}.jpg")
    overrides = [
        f"Global.inference_model_dir={model}",
        f"Global.infer_imgs={folder}",
        "Global.enable_benchmark=true",
    ]
    done = predict_cls("-o", *overrides, cwd=tmp_path)
    assert [line for line in done.stderr.splitlines() if re.search(said, line)], done.stderr


def user_error(model, images, tmp_path, *overrides):
    done = predict_cls(
        "-o", f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}", *overrides, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_a_device_that_is_not_built_is_one_line(model, images, tmp_path):
    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle is built for GPUs")
    assert "built for the CPU" in user_error(model, images, tmp_path, "Global.use_gpu=true")


def test_a_wrong_key_is_one_line_with_the_nearest(model, images, tmp_path):
    message = user_error(model, images, tmp_path, "Global.enable_mkldn=true")
    assert "unknown key Global.enable_mkldn; did you mean 'enable_mkldnn'?" in message


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"Global.inference_model_dir is not set; add -o"):
        read_deploy_config(CONFIG)
    with pytest.raises(ConfigError, match=r"inference_cls.yaml:\d+: Global.infer_imgs is not set; add -o"):
        read_deploy_config(CONFIG, ["Global.inference_model_dir=x"])
    config = read_deploy_config(CONFIG, ["Global.inference_model_dir=x", "Global.infer_imgs=absent.jpg"])
    with pytest.raises(DataError, match=r"absent\.jpg"):
        find_images(config.Global.infer_imgs)
    with pytest.raises(ConfigError, match="x: no such folder"):
        predictor_from_config(config)


def test_paddleclas_own_yaml(model, images, tmp_path):
    labels, path = tmp_path / "labels.txt", tmp_path / "paddleclas.yaml"
    labels.write_text("0 blobs\n1 rings\n2 dots and dashes\n")
    path.write_text(PADDLECLAS_YAML.format(images=images, model=model, labels=labels))
    config = read_deploy_config(path)
    predictor = predictor_from_config(config)
    assert not predictor.engine_options.onednn
    assert predictor.engine_options.cpu_threads == 10
    row = predictor.predict(find_images(config.Global.infer_imgs))[0]
    assert row["label_names"] == [["blobs", "rings", "dots and dashes"][index] for index in row["class_ids"]]
    assert len(row["class_ids"]) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "0 rings\n1 blobs\n2 dots and dashes\n",
            "label 0 is 'blobs' in the first and 'rings' in the second",
        ),
        ('{"rings": 0, "blobs": 1, "dots and dashes": 2}', "label 0 is 'blobs' in the first and 'rings'"),
        ("0 blobs\n1 rings\n2 stripes\n", "only the first has dots and dashes; only the second has stripes"),
        ("0 blobs\n", "only the first has rings, dots and dashes"),
    ],
)
def test_a_label_map_of_other_classes_than_the_folders_is_refused(model, images, tmp_path, text, words):
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    run = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}"]
    config = read_deploy_config(CONFIG, [*run, f"PostProcess.class_id_map_file={labels}"])
    with pytest.raises(UserError) as error:
        predictor_from_config(config)
    assert f"inference.yml and {labels} name" in str(error.value)
    assert words in str(error.value)


def test_a_folder_without_names_takes_any_and_counts_them(model, images, tmp_path):
    folder = shutil.copytree(model, tmp_path / "unnamed")
    described = yaml.safe_load((folder / "inference.yml").read_text())
    del described["PostProcess"]["Topk"]["label_list"]
    (folder / "inference.yml").write_text(yaml.safe_dump(described))
    run = [f"Global.inference_model_dir={folder}", f"Global.infer_imgs={images}"]
    config = read_deploy_config(CONFIG, [*run, "PostProcess.label_list=[x, y, z]"])
    (row,) = predictor_from_config(config).predict(images / "a.jpg")
    assert row["label_names"] == [["x", "y", "z"][index] for index in row["class_ids"]]
    config = read_deploy_config(CONFIG, [*run, "PostProcess.label_list=[x]"])
    with pytest.raises(ConfigError, match=r"label_list: 1 class names, but the network has 3 classes"):
        predictor_from_config(config)


@pytest.mark.parametrize("own", [False, True])
def test_paddleclas_list_of_imagenet_is_the_packages_for_its_folders(model, images, tmp_path, caplog, own):
    """Not for a folder exported here without names (own): whether its classes are ImageNet's is not known."""
    caplog.set_level(logging.INFO)
    folder = shutil.copytree(model, tmp_path / "unnamed")
    described = yaml.safe_load((folder / "inference.yml").read_text())
    if not own:
        del described["ppcls_light"]
    del described["PostProcess"]["Topk"]["label_list"]
    (folder / "inference.yml").write_text(yaml.safe_dump(described))
    path = "../ppcls/utils/imagenet1k_label_list.txt"
    run = [f"Global.inference_model_dir={folder}", f"Global.infer_imgs={images}"]
    config = read_deploy_config(CONFIG, [*run, f"PostProcess.class_id_map_file={path}"])
    if own:
        with pytest.raises(DataError, match=r"imagenet1k_label_list\.txt: cannot be read"):
            predictor_from_config(config)
        return
    with pytest.raises(ConfigError, match="label list: 1000 class names, but the network has 3 classes"):
        predictor_from_config(config).predict(images / "a.jpg")
    assert f"{path} is not there; the package has the same names" in caplog.text


@pytest.mark.parametrize(
    "overrides",
    [
        ["PostProcess.topk=1", "PostProcess.label_list=[blobs, rings, dots and dashes]"],
        [
            "PostProcess.main_indicator=Topk",
            "PostProcess.Topk={topk: 1, label_list: [blobs, rings, dots and dashes]}",
        ],
        [
            "PostProcess.topk=3",
            "PostProcess.label_list=[blobs, rings, dots and dashes]",
            "PostProcess.Topk.topk=1",
        ],
    ],
)
def test_both_spellings_of_topk(model, images, overrides):
    paths = [f"Global.inference_model_dir={model}", f"Global.infer_imgs={images}"]
    predictor = predictor_from_config(read_deploy_config(CONFIG, [*paths, *overrides]))
    row = predictor.predict([images / "a.jpg"])[0]
    assert row["label_names"] == [["blobs", "rings", "dots and dashes"][index] for index in row["class_ids"]]
    assert len(row["class_ids"]) == 1
