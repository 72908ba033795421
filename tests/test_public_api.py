"""Public names of the package: there, listed, annotated, and understood by a user's type checker."""

import ast
import importlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ppcls_light
from ppcls_light import Predictor, Run, config, data, export, jobs

NAMES = {
    *(
        "Config",
        "Predictor",
        "Run",
        "UserError",
        "create_model",
        "embed",
        "explain",
        "jobs",
        "list_models",
        "list_pretrained",
        "load",
        "load_config",
        "predict",
        "sample_data",
        "train",
    )
}
ROOT = Path(ppcls_light.__file__).parents[1]


FUNCTIONS = [
    *(ppcls_light.create_model, ppcls_light.list_models, ppcls_light.list_pretrained),
    *(ppcls_light.sample_data, ppcls_light.load_config, ppcls_light.Config.where),
    *(Predictor.__init__, Predictor.predict, Predictor.iter_predict, Predictor.clone),
    *(ppcls_light.train, Run.__init__, Run.resume, Run.evaluate, Run.report, Run.export, Run.plot),
    *(ppcls_light.load, ppcls_light.predict, ppcls_light.embed, ppcls_light.explain),
    *(Run.load, Run.predict, Run.embed, Run.explain),
    *(jobs.train, jobs.evaluate, jobs.infer, jobs.export, jobs.prune, jobs.dry_run, jobs.fit_teacher),
]


def test_dir_lists_the_names_and_each_is_there():
    assert (
        {name for name in dir(ppcls_light) if not name.startswith("_")} == NAMES == set(ppcls_light.__all__)
    )
    for name in (*NAMES, "__version__", "__doc__"):
        assert name in dir(ppcls_light)
        assert getattr(ppcls_light, name)
    assert ppcls_light.jobs is jobs
    assert ppcls_light.Config is config.schema.Config


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'ppcls_light' has no attribute 'no_such_name'$"):
        _ = ppcls_light.no_such_name
    with pytest.raises(ImportError):
        from ppcls_light.data import no_such_name  # noqa: F401


@pytest.mark.parametrize("package", [data, export])
def test_names_of_parts_are_there(package):
    assert {name for name in dir(package) if not name.startswith("_")} == set(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith(package.__name__)


def test_type_checkers_are_told_of_the_names_that_are_loaded_on_first_use():
    """The imports under TYPE_CHECKING are of the same objects from the same modules."""
    (block,) = [node for node in ast.parse(inspect.getsource(ppcls_light)).body if isinstance(node, ast.If)]
    told = {}
    for node in block.body:
        (alias,) = node.names
        assert alias.asname == alias.name  # else it is not a re-export
        told[alias.name] = f"ppcls_light.{node.module}" if node.module else "ppcls_light"
    assert sorted(told) == sorted(ppcls_light.__all__)
    for name, module in told.items():
        assert getattr(importlib.import_module(module), name) is getattr(ppcls_light, name)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_signatures_are_annotated(function):
    signature = inspect.signature(function)
    bare = {name for name, given in signature.parameters.items() if given.annotation is given.empty}
    assert bare <= {"self"}
    assert signature.return_annotation is not signature.empty


def mypy(folder, code):
    """Return the output of `mypy --strict` on a user's script, without what it says of the package itself."""
    pytest.importorskip("mypy")
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--show-error-codes",
               "--config-file", ROOT / "pyproject.toml", "--cache-dir", folder / "cache", script]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_strictly_typed_script_passes_and_its_mistakes_are_found(tmp_path):
    right = """\
        from pathlib import Path
        from typing import Dict, List

        import ppcls_light
        from ppcls_light import Config, Predictor, Run, UserError
        from ppcls_light import create_model, embed, explain, jobs, list_models, load, load_config, predict, train

        names: List[str] = list_models("PPLCNet*")
        config: Config = load_config(Path("config.yaml"), ["Global.epochs=3"])
        epochs: int = config.Global.epochs
        line: str = config.where("Global.epochs")
        same: Config = ppcls_light.load_config({"Arch": {"name": names[0], "class_num": 10}})
        jobs.train(config)
        jobs.train({"Arch": {"name": names[0]}})
        run: Run = train("config.yaml", ["Global.seed=1"], epochs=3)
        photos: Run = ppcls_light.train(Path("photos"), minutes=10)
        best: float = run.metrics["best"]["top1"]
        exported: Predictor = Run(Path("output")).resume().export(onnx=True)
        loaded: Predictor = load(run.weights, batch_size=8)
        first: int = predict(loaded, Path("a.jpg"))[0]["class_ids"][0]
        vectors: int = embed(run, ["a.jpg"]).shape[1]
        for explanation in explain("inference", ["a.jpg"], label=first):
            explanation.picture.save(f"{explanation.label_name}.png")
        page: str = run.report() if run.finished else run.folder
        scores: Dict[str, float] = jobs.evaluate(config, predictions="rows.jsonl")
        model = create_model(names[0], class_num=10)
        predictor: Predictor = Predictor("inference", batch_size=4, engine="auto")
        rows = predictor.predict(["a.jpg", Path("b.jpg")])
        print(rows[0]["class_ids"], predictor.engine_options.precision)
        try:
            jobs.export(config)
        except UserError as error:
            print(error.exit_code + 1, str(error))
        """
    assert mypy(tmp_path, right).startswith("Success")
    wrong = """\
        import ppcls_light
        from ppcls_light import jobs

        ppcls_light.create_model(5)
        ppcls_light.list_models(pattern=None)
        ppcls_light.load_config("config.yaml").Global.no_such_key
        ppcls_light.no_such_name
        jobs.train("config.yaml")
        ppcls_light.Predictor("inference", "cpu")
        ppcls_light.train(5)
        ppcls_light.Run("output").weights()
        ppcls_light.explain("inference", "a.jpg", "layercam")
        """
    errors = [line for line in mypy(tmp_path, wrong).splitlines() if " error: " in line]
    assert [int(line.split(":")[1]) for line in errors] == [4, 5, 6, 7, 8, 9, 10, 11, 12]
