"""Engine of this package: a folder's inference.plan in the library `ops.native`, without Paddle."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import List

import numpy as np

from .. import __version__
from ..base.files import checksum
from ..base.hints import command
from ..base.machine import physical_cores
from ..bundle.folder import PARAMS_FILE, PLAN_FILE, Bundle
from ..config.values import Precision
from ..errors import DeviceError, WeightsError
from ..ops.build import BuildError
from ..ops.network import Network, library
from ..ops.plan_header import PlanError, parameters_of
from .engines import check_options, input_error, load_error
from .options import EngineOptions

logger = logging.getLogger(__name__)


class NativeEngine:
    """One network of a plan on the CPU. Python's lock is free while it runs; one thread at a time runs it."""

    def __init__(self, bundle: Bundle, options: EngineOptions):
        check_options(options)
        if bundle.plan_file is None:
            raise DeviceError(
                f"{bundle.folder}: there is no {PLAN_FILE}, which engine native runs; {command('export')} writes one "
                "for a MicroNet in fp32; export it again, or set Global.engine=paddle"
            )
        self.options, self._bundle = options, bundle
        try:
            plan = Path(bundle.plan_file).read_bytes()
            _require_same_export(bundle, plan)
            self._network = Network(plan)
        except (PlanError, OSError) as problem:
            raise load_error(bundle.plan_file, f"engine native {__version__}", problem) from None
        except BuildError as problem:
            raise DeviceError(
                f"engine native has no library here: {problem}; or set Global.engine=paddle"
            ) from None
        if bundle.class_num not in (None, self._network.class_num):
            raise WeightsError(
                f"{bundle.plan_file} is of {self._network.class_num} classes, the export of {bundle.class_num}; copy "
                "the whole folder again, or export the model anew"
            )
        self._threads = options.cpu_threads or physical_cores()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the classes' outputs (N, class_num) for images (N, 3, H, W), float32.

        Raises ConfigError: the network cannot take images of this shape.
        """
        try:
            return self._network.run(images, self._threads)
        except ValueError as error:
            raise input_error(self._bundle.folder, images, error) from error

    def run_all(self, images: np.ndarray) -> List[np.ndarray]:
        """Return [`run`]. Raises DeviceError: the graph has further outputs, which the plan has not."""
        further = " and ".join(self._bundle.further)
        if further:
            raise DeviceError(
                f"{self._bundle.folder}: engine native gives the classes alone, not {further}; set Global.engine=paddle"
            )
        return [self.run(images)]

    def clone(self) -> NativeEngine:
        """Return an engine for another thread; the weights are shared."""
        twin = copy.copy(self)
        twin._network = self._network.clone()
        return twin


def _require_same_export(bundle: Bundle, plan: bytes) -> None:
    """Refuse the plan of other parameters than those that inference.yml lists, or else those beside it."""
    # It lists the plan, too, then, and to read the parameters themselves would take as long as the network itself.
    parameters = bundle.files.get(PARAMS_FILE) or checksum(bundle.params_file, WeightsError)
    if parameters not in ("", parameters_of(plan)):
        raise WeightsError(
            f"{bundle.plan_file} is not of the export beside it: it was made with other parameters; copy the whole "
            "folder again, or export the model anew"
        )


def by_default(bundle: Bundle, options: EngineOptions) -> EngineOptions:
    """Return the options for a folder whose engine nobody chose: native where that can do as asked, else Paddle.

    The log says which of the two runs a network that has a plan, or could have one.
    """
    asks_for_paddle = options.use_tensorrt or not options.ir_optim or options.profile or not options.onednn
    fit = options.device == "cpu" and options.precision == bundle.precision == "fp32" and not asks_for_paddle
    if not fit or not bundle.is_exported:
        return options
    if bundle.plan_file is None:
        if bundle.model_name.startswith("MicroNet"):
            logger.warning(
                "%s: Paddle runs this MicroNet, several times slower than engine native, which needs %s; %s writes it",
                *(bundle.folder, PLAN_FILE, command("export")),
            )
        return options
    if is_for(bundle) and has_library(bundle):
        logger.info("%s: engine native runs this network; Global.engine=paddle is Paddle", bundle.folder)
        return replace(options, engine="native")
    return options


def is_for(bundle: Bundle, precision: Precision = "fp32") -> bool:
    """Return whether the engine gives all that the folder's graph does."""
    return bundle.plan_file is not None and not bundle.further and bundle.precision == precision == "fp32"


def has_library(bundle: Bundle) -> bool:
    """Return whether a folder with a plan can be run here; else a warning has the reason. Builds the library."""
    if bundle.plan_file is None:
        return False
    try:
        library()
    except BuildError as problem:
        logger.warning("%s: engine native has no library: %s", bundle.folder, problem)
        return False
    return True
