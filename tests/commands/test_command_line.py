"""`ppcls-light` itself: its help, its errors, and what it does not import."""

import subprocess
import sys

import pytest

import ppcls_light
from ppcls_light import cli, commands
from ppcls_light.base.hints import TOOLS
from ppcls_light.commands import dispatch

NAMES = [*dispatch.COMMANDS, *dispatch.FURTHER]
SLOW = ("cv2", "numpy", "paddle", "PIL", "yaml")


@pytest.fixture
def run(capsys):
    """A function that runs `ppcls-light` in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        try:
            commands.main(list(map(str, arguments)))
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    return call


def test_help_lists_every_command_with_its_summary(run):
    code, out, _ = run("--help")
    assert code == 0
    assert (code, out) == run()[:2]
    rows = [line.split(None, 1) for line in out.splitlines() if line.startswith("  ")]
    assert [name for name, _ in rows] == NAMES
    for _, text in rows:
        assert text[0].isupper()
        assert not text.endswith(".")


def test_version(run):
    assert run("--version") == (0, f"ppcls_light {ppcls_light.__version__}\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(name, run):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert out.startswith(f"usage: ppcls-light {name} ")
    assert "%(" not in out


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_the_same_command(name, root, monkeypatch, capsys):
    """The help of both differs in the name of the program alone."""

    def words(text):
        return (
            text.replace(f"python {TOOLS[name]}", "PROGRAM").replace(f"ppcls-light {name}", "PROGRAM").split()
        )

    with pytest.raises(SystemExit):
        commands.main([name, "--help"])
    own = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [TOOLS[name], "--help"])
    with pytest.raises(SystemExit):
        commands.run_tool(name)
    assert words(capsys.readouterr().out) == words(own)
    assert f'run_tool("{name}")' in (root / TOOLS[name]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("trian", "did you mean 'train'?"),
        ("xyz", "the commands are train, eval"),
        ("--trian", "did you mean 'train'?"),
    ],
)
def test_an_unknown_command_is_one_line(name, fix, run):
    code, out, err = run(name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: ppcls-light has no command '{name}'; {fix}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_help_needs_nothing_slow(arguments, root):
    code = f"""
import sys
from ppcls_light import cli, commands
try:
    commands.main({arguments!r} + ["--help"])
except SystemExit:
    pass
print(sorted(set({SLOW!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_the_module_of_the_chosen_command_is_imported(root):
    code = (
        "import sys; from ppcls_light.commands import dispatch; dispatch.command_parser('eval', 'eval')\n"
        "print(*[name for name in sys.modules if name.startswith('ppcls_light.commands.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ppcls_light.commands.dispatch", "ppcls_light.commands.eval"]


def test_python_m(root):
    done = subprocess.run(
        [sys.executable, "-m", "ppcls_light", "eval", "nowhere"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere: not the folder of a training")
    assert done.stderr.count("\n") == 1


def test_a_config_and_the_folder_of_a_training_exclude_each_other(run, config_file, tmp_path):
    for arguments in ((), (tmp_path, "-c", config_file)):
        code, _, err = run("export", *arguments)
        assert code == 2
        assert (
            err
            == "error: give a config by -c FILE, or the folder of a training in front of all options, one of the two\n"
        )


def test_the_folder_of_a_training_is_short_for_its_config(run, config_file, tmp_path):
    folder = tmp_path / "moved: elsewhere"
    folder.mkdir()
    config_file.rename(folder / "config.yaml")
    code, out, _ = run("eval", folder, "--print-config", "-o", "Global.seed=7")
    assert code == 0
    long = [f"Global.output_dir='{folder}'", "Global.checkpoints=auto", "Global.seed=7"]
    assert run("eval", "-c", folder / "config.yaml", "-o", *long, "--print-config") == (0, out, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "--reprot"], "unrecognized arguments: --reprot; did you mean '--report'?"),
        (["serve", "--port", "x"], "argument --port: invalid number of at least 0 value: 'x'"),
        (["find-lr"], "the following arguments are required: -c/--config"),
        (["similar", "query", "--topk", "0"], "argument --topk: expected a whole number >= 1, got '0'"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, said, run):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    prog = " ".join(["ppcls-light", *(word for word in arguments[:2] if word.isalpha() or "-lr" in word)])
    assert err == f"error: {prog}: {said}\n"


def test_a_training_stands_for_its_exported_folder(run, config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config_file.rename(tmp_path / "config.yaml")
    for command in ("serve", "predict"):
        code, _, err = run(command, tmp_path, *(["a.jpg"] if command == "predict" else []))
        assert code == 2
        assert err.startswith(f"error: {tmp_path}: this training is not exported yet; ")
        assert err.endswith(f" export {tmp_path}\n")
    (tmp_path / "inference").mkdir()
    assert cli.exported(str(tmp_path)) == str(tmp_path / "inference")
    assert cli.exported("elsewhere") == "elsewhere"


def test_the_data_of_a_training_are_checked_by_its_config(run, config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config_file.rename(tmp_path / "config.yaml")
    code, out, _ = run("check", tmp_path)
    assert code == 0
    assert out.startswith("37 images in 3 classes")
    assert (tmp_path / "check_data/index.html").is_file()  # a training that moved is where its config is
