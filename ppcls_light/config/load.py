"""`load_config`: YAML files and `-o` overrides into the validated config of a training."""

from __future__ import annotations

from typing import Iterable, Union

from ..base.files import StrPath
from ..errors import ConfigError, warn_once
from ..registry import MODELS
from . import schema
from .bind import signature
from .moved import settled
from .sections import Plain, bound, tree_of
from .tree import Node, message
from .types import plain

ConfigLike = Union[schema.Config, Plain]


def load_config(source: StrPath | Plain, overrides: Iterable[str] = ()) -> schema.Config:
    """Read a training config; `config.where("Global.epochs")` says where a value was written.

    `source` is a YAML file, PaddleClas' own or one of this project, or its sections as a dict. `overrides` are
    `Section.key=value` texts, applied in order after the file and its bases.

    Raises ConfigError: one line with file:line, the dotted path, what was expected and an example.
    """
    return bound(schema.Config, tree_of(source), overrides, _settle)


def load_run(path: StrPath, overrides: Iterable[str] = ()) -> schema.Config:
    """Like `load_config`, for the YAML file in the folder of a run, also if it was moved or copied; see `settled`."""
    return bound(schema.Config, settled(path), overrides, _settle)


def _settle(tree: Node) -> None:
    """Change older spellings, and leave out what other keys take the place of."""
    _move_class_num(tree)
    _move_ml_decoder(tree)
    _leave_out_fold(tree)
    _choose_length(tree)
    _choose_weights(tree)


def checked(config: ConfigLike) -> schema.Config:
    """Return `config` validated: one loaded from a file as it is, a dict or a `Config` made in Python after checks.

    Raises ConfigError: one line with the dotted path, what was expected and an example.
    """
    if isinstance(config, schema.Config):
        return config if config.tree is not None else load_config(plain(config))
    return load_config(config)


def overridden(config: ConfigLike, overrides: Iterable[str]) -> schema.Config:
    """Return `config` validated, with `Section.key=value` texts applied in order; see `checked` and `load_config`.

    A changed `Config` forgets in which lines of its file the values stand.
    """
    overrides = list(overrides)
    if not overrides:
        return checked(config)
    return load_config(plain(config) if isinstance(config, schema.Config) else config, overrides)


def _move_class_num(tree: Node) -> None:
    """Read `Global.class_num`, PaddleClas' older spelling of `Arch.class_num`."""
    sections = [tree.value.get(name, Node(None, "")).value for name in ("Global", "Arch")]
    if not all(isinstance(section, dict) for section in sections):
        return
    old, new = (section.get("class_num") for section in sections)
    if old is None:
        return
    if new is not None and new.value != old.value:
        raise ConfigError(
            message(old.where, f"Global.class_num {old.plain()} is not Arch.class_num {new.plain()}")
            + f"{f' ({new.where})' if new.where else ''}; keep Arch.class_num"
        )
    sections[1]["class_num"] = sections[0].pop("class_num")


def _move_ml_decoder(tree: Node) -> None:
    """Read `Arch.use_ml_decoder` and the section MLDecoder, PaddleClas' spelling of `Arch.ml_decoder`."""
    options, arch = tree.value.get("MLDecoder"), tree.value.get("Arch", Node(None, "")).value
    wanted = arch.pop("use_ml_decoder", None) if isinstance(arch, dict) else None
    if wanted is not None and wanted.value not in (True, False, None):
        raise ConfigError(message(wanted.where, "Arch.use_ml_decoder is true or false"))
    if options is not None and not (wanted and wanted.value):
        raise ConfigError(
            message(
                options.where, "MLDecoder is the head of Arch.use_ml_decoder: true; add that, or leave it out"
            )
        )
    if wanted is None or not wanted.value:
        return
    if arch.get("ml_decoder", Node(None, "")).value is not None:
        raise ConfigError(
            message(
                arch["ml_decoder"].where,
                "Arch.ml_decoder and Arch.use_ml_decoder are two spellings; keep one, the sizes of the latter are "
                "in the section MLDecoder",
            )
        )
    name = arch.get("name", Node(None, ""))
    if name.value in MODELS.names() and "ml_decoder" not in signature(MODELS.get(name.value))[0]:
        raise ConfigError(
            message(
                wanted.where,
                f"Arch.use_ml_decoder: {name.value} has no such head, PP-LCNet has; leave it out",
            )
        )
    arch["ml_decoder"] = Node({}, wanted.where) if options is None or options.value is None else options
    tree.value.pop("MLDecoder", None)


def _leave_out_fold(tree: Node) -> None:
    """Leave out `Global.fold`, of earlier versions: the `config.yaml` of every run of theirs has it."""
    section = tree.value.get("Global", Node(None, "")).value
    if isinstance(section, dict) and "fold" in section:
        where = section.pop("fold").where
        warn_once(message(where, "Global.fold does nothing any more, the export takes all steps; delete it"))


def _choose_length(tree: Node) -> None:
    """Leave out `Global.epochs` or `Global.minutes` where both are given: the one that is not an option."""
    section = tree.value.get("Global", Node(None, "")).value
    if not isinstance(section, dict) or not {"epochs", "minutes"} <= set(section):
        return
    epochs, minutes = section["epochs"], section["minutes"]
    if minutes.value is None or epochs.value is None:
        del section["minutes" if minutes.value is None else "epochs"]
        return
    if _is_option(epochs) == _is_option(minutes):
        raise ConfigError(
            message(minutes.where, f"Global.minutes {minutes.plain()} and Global.epochs {epochs.plain()}")
            + f"{f' ({epochs.where})' if epochs.where else ''} are both given; keep one, or write null for the other"
        )
    del section["minutes" if _is_option(epochs) else "epochs"]


def _choose_weights(tree: Node) -> None:
    """Leave out `Arch.pretrained` or `Global.pretrained_model`, each of which brings all weights: that of no option.

    Of two in the same place `Global.pretrained_model` counts, as in PaddleClas, which loads it last. A file's
    `use_ssld`, which chooses among published weights, goes with the `pretrained` that it is for.
    """
    arch, settings = (tree.value.get(name, Node(None, "")).value for name in ("Arch", "Global"))
    if not isinstance(arch, dict) or not isinstance(settings, dict):
        return
    none = Node(None, "")
    own, whole, ssld = (
        arch.get("pretrained", none),
        settings.get("pretrained_model", none),
        arch.get("use_ssld"),
    )
    if _is_option(own) and own.value is not True and ssld and not _is_option(ssld):
        del arch["use_ssld"]
    if not (own.value and whole.value):
        return
    if _is_option(own) and not _is_option(whole):
        del settings["pretrained_model"]
        return
    if _is_option(own) == _is_option(whole):
        warn_once(
            message(own.where, "Arch.pretrained has no effect, Global.pretrained_model brings all weights")
            + "; leave one of them out"
        )
    del arch["pretrained"]
    arch.pop("use_ssld", None)


def _is_option(node: Node) -> bool:
    return node.where.startswith("-o ")
