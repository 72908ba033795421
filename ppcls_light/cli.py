"""Command-line arguments (`-c`, `-o`) and error handling shared by all tools, compatible with PaddleClas."""

import argparse
import errno
import json
import logging
import os
import shlex
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional, Sequence

from .base import missing
from .base.hints import command
from .base.run_folder import RUN_CONFIG, is_run
from .errors import ConfigError, UserError

if TYPE_CHECKING:
    from typing import Literal

    from .config import Config

_LAUNCHER_SECONDS = 10  # by when the launcher has seen which of its processes failed and has ended the rest


def positive(text: str) -> int:
    """Return `text` as a whole number >= 1; for argparse."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got '{text}'")
    return int(text)


def add_override(parser: argparse.ArgumentParser) -> None:
    """Add `-o Section.key=value ...` to `parser`; `overrides(arguments)` returns them."""
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        nargs="+",
        default=[],
        metavar="Section.key=value",
        help="set one value; the value is a YAML literal; may be repeated and take several pairs",
    )


def overrides(arguments: argparse.Namespace) -> List[str]:
    """Return the `Section.key=value` texts of parsed `arguments`, in order."""
    return [pair for group in arguments.override for pair in group]


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add `-c FILE`, which may be `required`, `-o Section.key=value ...` and `--print-config`; see `parse_config`."""
    parser.add_argument("-c", "--config", required=required, metavar="FILE", help="YAML config")
    add_override(parser)
    parser.add_argument("--print-config", action="store_true", help="print the fully resolved YAML and stop")


def add_config_or_run(parser: argparse.ArgumentParser, meaning: str = "folder of a training") -> None:
    """Add what `add_config` adds, and in place of `-c` the folder of a training; `meaning` begins its help."""
    short_for = "-c RUN/config.yaml -o Global.output_dir=RUN Global.checkpoints=auto"
    parser.add_argument("run", nargs="?", metavar="RUN", help=f"{meaning}; short for {short_for}")
    add_config(parser, required=False)


def exported(folder: str) -> str:
    """Return the exported folder that `folder` is or names, or the one that a training in `folder` was exported to.

    A name is that of a published scenario, see `run.scenarios.model_path`.

    Raises ConfigError: the training is not exported, or what is there was exported from other weights than its best;
    or its config is wrong.
    """
    if not is_run(folder):
        if os.path.isdir(folder):
            return folder
        from .run.scenarios import model_path

        return model_path(folder)
    from .config import load_run

    config = load_run(os.path.join(folder, RUN_CONFIG))
    for place in (os.path.join(folder, "inference"), config.Global.save_inference_dir):
        if os.path.isdir(place):
            if not config.Arch.teachers:  # the export of a student has a part of the weights
                _require_same_weights(folder, place)
            return place
    raise ConfigError(
        f"{folder}: this training is not exported yet; {command('export')} {shlex.quote(folder)}"
    )


def _require_same_weights(run: str, place: str) -> None:
    """Raise ConfigError where the export in `place` is known to be of other weights than the best of `run`."""
    from .bundle.folder import read_bundle, weights_digest
    from .weights import read_weights

    files = (os.path.join(run, f"{name}.pdparams") for name in ("best_model", "latest"))
    best = next(filter(os.path.isfile, files), None)
    if best is not None and read_bundle(place).weights not in ("", weights_digest(read_weights(best))):
        raise ConfigError(
            f"{place}: exported from other weights than {best}; {command('export')} {shlex.quote(run)} exports these, "
            f"or name {place} itself"
        )


def config_parser(description: Optional[str]) -> argparse.ArgumentParser:
    """Return a parser with the arguments of `add_config`, whose help shows `description` as it stands."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config(parser)
    return parser


def parse_config(arguments: argparse.Namespace) -> "Config":
    """Return the checked config that the parsed arguments of `add_config` or `add_config_or_run` ask for.

    With `--print-config` it prints the resolved YAML and ends the process with exit code 0.
    Raises ConfigError: neither a config nor the folder of a training is given, or both; or the config is wrong.
    """
    from .config import dump_config, load_config, load_run

    path, pairs, run = arguments.config, overrides(arguments), getattr(arguments, "run", None)
    if (path is None) == (run is None):
        raise ConfigError(
            "give a config by -c FILE, or the folder of a training in front of all options, one of the two"
        )
    if run is not None:
        if not is_run(run):
            raise ConfigError(
                f"{run}: not the folder of a training, it has no {RUN_CONFIG}; name the folder that "
                "Global.output_dir was"
            )
        path = os.path.join(run, RUN_CONFIG)
        pairs = [f"Global.output_dir={json.dumps(run)}", "Global.checkpoints=auto", *pairs]
    config = (load_config if run is None else load_run)(path, pairs)
    if arguments.print_config:
        sys.stdout.write(dump_config(config))
        sys.exit(0)
    return config


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add `--dry-run` to `parser`; see `run_job`."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, do one train step, one eval batch and one export, then stop",
    )


def run_job(
    job: "Literal['train', 'evaluate', 'infer', 'export']",
    arguments: argparse.Namespace,
    options: Mapping[str, Any],
) -> None:
    """Do a job of `jobs`, or `jobs.dry_run` with `--dry-run`, with the config that the `arguments` ask for.

    `options` are {flag: its value}; the values are the arguments of `job` after the config.
    """
    given = [flag for flag, value in options.items() if value is not None and value is not False]
    if arguments.dry_run and given:
        raise ConfigError(f"--dry-run keeps nothing that {given[0]} could be about; leave one of them out")
    config = parse_config(arguments)
    from . import jobs

    if arguments.dry_run:
        jobs.dry_run(config)
    else:
        getattr(jobs, job)(config, *options.values())


def log_to_stderr() -> None:
    """Show the package's messages on stderr: what was left out, compared and chosen."""
    logger, handler = logging.getLogger("ppcls_light"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _rank() -> Optional[int]:
    """Return this process' number among those of a `paddle.distributed.launch`, None when it is alone."""
    several = int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1
    return int(os.environ["PADDLE_TRAINER_ID"]) if several else None


def run(main: Callable[[], object], needs: Sequence[str] = missing.NEEDED) -> None:
    """Call `main()` as a tool: a UserError is one line on stderr and exit code 2, Ctrl-C is exit code 130.

    `needs` are packages without which it does not begin; they are looked for, not imported.

    Under `paddle.distributed.launch` the line names the rank. The launcher looks once a second which
    processes have failed, shows the end of the log of the first of them and ends the others, and its own exit
    code is that of the first in the order of the ranks. So that both are about the process that failed, one
    that only lost another waits for its end, and so does one after an error that the first has, too.
    """
    rank = _rank()
    try:
        _run(main, needs, "error: " if rank is None else f"error: rank {rank}: ")
    except SystemExit as stop:
        if rank and stop.code == UserError.exit_code:
            _wait_for_launcher()
        raise


def _wait_for_launcher() -> None:
    # Paddle would answer the launcher's SIGTERM with a C++ traceback, below the line that counts.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_LAUNCHER_SECONDS)


def _end_interrupted(error: BaseException) -> None:
    # Ctrl-C while a compiled package starts: it could not, says pybind11.
    if isinstance(error, ImportError) and not isinstance(error.__cause__, KeyboardInterrupt):
        raise error
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def _run(main: Callable[[], object], needs: Sequence[str], prefix: str) -> None:
    _open_closed_streams()
    # Pillow warns of half the size that it refuses; an image is either read or an error.
    warnings.filterwarnings("ignore", message=".*could be decompression bomb")
    # A file name may hold characters that the terminal cannot show.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        missing.require(needs)
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"{prefix}{error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        missing.leave(error, prefix)
    except RuntimeError as error:
        # Paddle's error when the connection to another process of a launch breaks; there is no other sign.
        if "gloo/transport" not in str(error):
            raise
        line = f"{prefix}another process has ended; its own log says why ({error})"
        print(line, file=sys.stderr, flush=True)
        _wait_for_launcher()
        sys.exit(1)
    except (KeyboardInterrupt, ImportError) as error:
        _end_interrupted(error)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone.
        _drop_output()
        sys.exit(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "standard output or of a file"
        print(
            f"{prefix}the disk of {where} is full ({error.strerror}); make room there",
            file=sys.stderr,
            flush=True,
        )
        _drop_output()
        sys.exit(UserError.exit_code)


def _open_closed_streams() -> None:
    """Open what was closed (`>&-`) of the standard streams on nothing.

    A file that is opened next would otherwise get the number of the stream, and what libraries print.
    """
    for name, mode in (
        ("stdin", "r"),
        ("stdout", "w"),
        ("stderr", "w"),
    ):  # each takes the least number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for the life of the process


def _drop_output() -> None:
    # Python would try once more at exit to write the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
