"""`train_photos`: from a folder of photos to a trained, scored and exported network, with its page."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import time
from typing import Callable, Iterator

from .. import jobs
from ..base.figures import check_matplotlib
from ..base.files import StrPath, require_writable, set_aside, write_text
from ..base.hints import command
from ..base.run_folder import RUN_CONFIG
from ..check.splits import Splits
from ..config import Config, load_config, load_run, relocate_config, relocate_run
from ..config.global_section import GlobalConfig
from ..config.tree import dump_yaml
from ..data.folder_names import SPLITS, printable
from ..data.image_list import read_image_list
from ..data.scan import CONFIG_FILE
from ..engine import distributed
from ..engine.log import brief, setup_logging
from ..engine.output_folder import claimed, require_room
from ..errors import ConfigError, UserError
from ..ops.build import BuildError, existing
from .choose import Start, Wishes, choose, start_of
from .data import checked_lists, read_photos, require_folder, shares_of
from .recipe import sections_of
from .summary import Made, next_commands, summary

Say = Callable[[str], object]
_TRAINED = ["Global.checkpoints=auto"]
_print = functools.partial(print, flush=True)  # in step with the lines of the log


def train_photos(
    folder: str,
    *,
    minutes: float = 10,
    out: str | None = None,
    network: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    split: str = "0.8/0.1/0.1",
    seed: int = 0,
    weights: StrPath | None = None,
    scratch: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    say: Say = _print,
) -> str:
    """Train, score and export a network for the photos of `folder`, one folder per class; return the output folder.

    Nothing is written into `folder`. What was chosen is in photos.yaml of the output folder, with which a training
    (`jobs.train`, tools/train.py) gives the same weights. docs/own-photos.md has the choices and the files.

    Args:
        folder: of class folders, or of train, val and test folders (or lists) of them.
        minutes: in which the training ends, at the speed that is measured before it; evaluation and export follow.
        out: output folder; None: output/NAME, with the name of `folder`.
        network, size, epochs, batch_size: by default what fits into the minutes; with `epochs` these do not count.
            `size` is in pixels.
        split: shares of the photos to learn, to choose the best epoch, and held out to score.
        seed: of the split and the training.
        weights: to start from, a file, an address or the name of a published training; None: of ImageNet, or random
            ones where they cannot be had. scratch: random ones.
        resume: go on with the training in `out`, or with what follows it, as photos.yaml there says.
        overwrite: move the run that is in `out` to previous_N in it.
        say: called with each line for the user.

    Raises:
        DataError: there is no such folder, or too few photos or classes in it.
        ConfigError: a setting cannot be; one epoch takes longer than the minutes; `out` holds a run, or is in `folder`.
        WeightsError: the weights that were asked for cannot be had, or do not fit the network.
        KeyboardInterrupt: by Ctrl-C, after the state of the training was saved.
    """
    weights = os.fspath(weights) if isinstance(weights, os.PathLike) else weights
    wishes = Wishes(minutes, network, size, epochs, batch_size, weights, scratch, seed).checked()
    shares = shares_of(split)
    folder = os.fspath(folder)
    require_folder(folder)
    if out is not None and not os.fspath(out):
        raise ConfigError("--out is empty; give a folder, or leave it out")
    _require_one_process(folder, split)
    elsewhere = "" if out is None else f" --out {shlex.quote(os.fspath(out))}"
    again = f"{command('train')} {shlex.quote(folder)}{elsewhere} --resume"
    out = os.fspath(out or os.path.join("output", os.path.basename(os.path.abspath(folder)) or "photos"))
    with brief():
        setup_logging()
        if lacking := _lacks_for_page():
            say(f"NOTE: there will be no page; {lacking}")
        options: list[str] = []
        if resume and overwrite:
            raise ConfigError("--resume goes on, and --overwrite begins anew; give one of them")
        if resume and os.path.isfile(os.path.join(out, CONFIG_FILE)):
            _require_same(folder, out, wishes)
            relocate_run(os.path.join(out, CONFIG_FILE))
            options = _TRAINED
        else:
            _require_room(folder, out, overwrite, resume)
            _prepare(folder, out, wishes, shares, overwrite, say)
        file = os.path.join(out, CONFIG_FILE)
        try:
            jobs.train(load_config(file, options))
        except KeyboardInterrupt:
            if os.path.isfile(os.path.join(out, "latest.pdparams")):
                say(f"stopped; the training so far is saved in {out}. To go on:\n  {again}")
            raise
        with _nothing_lost(out, again):
            made = _finished(folder, out, load_config(file, _TRAINED), again, say)
    for line in (*summary(made), *next_commands(made, folder)):
        say(line)
    return out


def _require_one_process(folder: str, split: str) -> None:
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        raise ConfigError(
            "photos alone are trained by one process; make a config of them and launch the training with that: "
            f"{command('lists')} {shlex.quote(folder)} --split {split}"
        )


def photos_of(out: str) -> str | None:
    """Return the folder of photos that the training in the output folder `out` is of, None for one of a config."""
    file = os.path.join(out, CONFIG_FILE)
    if not (os.path.isfile(file) and os.path.isdir(os.path.join(out, "lists"))):
        return None
    return getattr(load_run(file).reader("Train").dataset, "image_root", None)


def _require_room(folder: str, out: str, overwrite: bool, resume: bool) -> None:
    """Raise ConfigError where `out` is in the folder of photos, or holds a run that may not be moved."""
    inside = os.path.join(os.path.realpath(folder), "")
    if os.path.join(os.path.realpath(out), "").startswith(inside):
        raise ConfigError(
            f"{out} is in the folder of the photos, where it would be a class; give another folder by --out"
        )
    try:
        require_room(GlobalConfig(output_dir=out, overwrite=overwrite))
    except ConfigError:
        if resume:
            raise ConfigError(
                f"{out} holds a run without a {CONFIG_FILE}, so photos alone did not begin it; go on with it by "
                f"{command('train')} -c {shlex.quote(os.path.join(out, 'config.yaml'))} -o Global.checkpoints=auto"
            ) from None
        raise ConfigError(
            f"{out} holds a run; go on with it by --resume, train elsewhere by --out FOLDER, or have it moved to "
            f"{os.path.join(out, 'previous_N')} by --overwrite"
        ) from None


def _prepare(folder: str, out: str, wishes: Wishes, shares: list[float], overwrite: bool, say: Say) -> None:
    """Check the photos, decide on the training, and write its lists and its config into `out`."""
    began = time.monotonic()
    splits = read_photos(folder, shares, wishes.seed)
    require_writable(os.path.join(out, CONFIG_FILE), ConfigError)
    with claimed(GlobalConfig(output_dir=out, overwrite=overwrite), distributed.Runtime("cpu")):
        _choose_for(splits, folder, out, wishes, overwrite, began, say)


def _choose_for(
    splits: Splits, folder: str, out: str, wishes: Wishes, overwrite: bool, began: float, say: Say
) -> None:
    """Write lists and config into `out`, which no other run may change meanwhile, for the photos of `splits`."""
    start = start_of(wishes, say)
    if overwrite:
        start = _moved(out, start, say)
    lists = checked_lists(splits, folder, out, say)
    absolute = os.path.abspath(out)

    def seconds() -> float:
        return 60 * wishes.minutes - (time.monotonic() - began)

    if _compiles():
        say("compiling operators for this processor, once; it takes a minute or two")
    choice = choose(wishes, start, lists, absolute, seconds, say)
    sections = sections_of(start.recipe, lists, choice, absolute)
    file = os.path.join(out, CONFIG_FILE)
    head = (
        f"# Chosen by ppcls-light train for the photos of {printable(os.path.abspath(folder))}.\n"
        "# Training with this file and Global.overwrite=true gives the same weights again, to the bit on one machine.\n"
    )
    write_text(file, head + dump_yaml(sections), ConfigError, keep=True)
    say(
        f"training: {choice.network} at {choice.size} pixels, {choice.epochs} epochs of {lists.images:,} photos in "
        f"batches of {choice.batch_size}; {file} has it all"
    )


def _compiles() -> bool:
    """Return whether the training begins with the compiler, which is silent: on CPUs, before the first one."""
    with contextlib.suppress(BuildError):
        return distributed.start("auto").device == "cpu" and existing() is None
    return False


def _moved(out: str, start: Start, say: Say) -> Start:
    """Move all that is in `out` to previous_N, but for the exported model, which may be served; return where to start.

    The configs that moved name the lists and checkpoints beside them.
    """
    stays = re.compile(r"previous_\d+|inference|\..*")
    names = [name for name in os.listdir(out) if not stays.fullmatch(name)]
    if not names:
        return start
    # The checkpoints last: until they are gone the folder holds a run, whatever happens.
    target = os.path.abspath(
        set_aside(out, sorted(names, key=lambda name: (".pd" in name, name)), ConfigError)
    )
    absolute = os.path.abspath(out)
    files = [os.path.join(place, name) for place, _, names in os.walk(target) for name in names]
    places = {absolute: target, **{absolute + path[len(target) :]: path for path in files}}
    places.update({os.path.splitext(before)[0]: os.path.splitext(now)[0] for before, now in places.items()})
    for name in (CONFIG_FILE, RUN_CONFIG):
        if os.path.isfile(os.path.join(target, name)):
            relocate_config(os.path.join(target, name), places)
    say(f"what was in {out} is in {target} now")
    return start._replace(given=places.get(start.given or "", start.given))


def _require_same(folder: str, out: str, wishes: Wishes) -> None:
    """Raise ConfigError where the run in `out` is of other photos, or settings are given that it already has."""
    file = os.path.join(out, CONFIG_FILE)
    given = [name for name, value in wishes._asdict().items() if value != Wishes._field_defaults[name]]
    if given:
        raise ConfigError(
            f"--resume goes on as {file} says; leave --{given[0].replace('_', '-')} out, or begin anew by --overwrite"
        )
    root = photos_of(out)
    if root is None:
        raise ConfigError(
            f"{os.path.join(out, 'lists')} is gone, or {file} names no folder of photos; put it back, or begin anew by "
            "--overwrite"
        )
    if os.path.realpath(root) != os.path.realpath(folder):
        raise ConfigError(f"{out} is of the photos in {root}; give that folder, or another one by --out")


def _lacks_for_page() -> str:
    """Return the message of what must be installed for the page, "" where all is there."""
    try:
        check_matplotlib("the page")
    except UserError as problem:
        return str(problem)
    return ""


def _finished(folder: str, out: str, config: Config, again: str, say: Say) -> Made:
    """Export the trained network, score it on the photos held out, and write the page, or tell how to get it."""
    say("exporting, and scoring on the photos held out")
    jobs.export(config)
    lists = {
        name: read_image_list(path, folder, check_files=False)
        for name in SPLITS
        if os.path.isfile(path := os.path.join(out, "lists", f"{name}_list.txt")) or name == "test"
    }
    lacking = _lacks_for_page()
    report = None if lacking else os.path.join(out, "report")
    test = f"DataLoader.Eval.dataset.cls_label_path={os.path.abspath(lists['test'].source)}"
    scored = load_config(os.path.join(out, CONFIG_FILE), [*_TRAINED, test])
    scores = jobs.evaluate(scored, report=report)
    page = os.path.join(report, "report.html") if report else f"none; {lacking}, and then: {again}"
    return Made(out, config, lists, scores["top1"], page)


@contextlib.contextmanager
def _nothing_lost(out: str, again: str) -> Iterator[None]:
    """Add to an error of a late step that the training is there, and the command that goes on from it."""
    try:
        yield
    except UserError as problem:
        first, *details = problem.args
        raise type(problem)(
            f"{first}; the training is saved in {out}; when that is mended: {again}", *details
        ) from None
