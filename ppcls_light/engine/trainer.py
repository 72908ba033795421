"""Training loop: `Trainer` with the train step, evaluation, saving and exact resuming.

A step is one update of the weights, made from the mean gradient of `Global.update_freq` batches; the last of
an epoch is made from those that are left. Learning rate, shuffling, augmentation, dropout and the decay of the
EMA are pure functions of (seed, epoch, step, rank). Checkpoints are made between steps; they therefore need no
generator states, and 2N steps equal N steps, a resume, and N more, bit for bit on CPU, whatever the number of
reader processes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import os
import zlib
from typing import Any, ContextManager

import paddle
from paddle import nn

from ..base.files import write_text
from ..base.run_folder import RUN_CONFIG
from ..config import Config, dump_config
from ..config.bind import located
from ..config.global_section import GlobalConfig
from ..data.loader import Batch
from ..models.distillation import logits_of
from ..optim import ExponentialMovingAverage, build_optimizer, build_schedule, optimizer_state, set_factors
from ..weights import load_weights, write_weights
from . import checkpoint
from .averages import FiniteAverages
from .distributed import (
    CollectiveStopSignals,
    Runtime,
    average_gradients,
    broadcast_statistics,
    gather,
    mean_over_ranks,
    raise_on_all_ranks,
    require_same,
    seed_everything,
    synchronise_batch_norms,
)
from .evaluate import evaluate
from .freezing import Freezing
from .global_batch import scaled_learning_rate
from .log import LOGGER, StepTimer, each_epoch, log_to
from .losses import build_loss, weigh_classes
from .metrics import Metrics, warn_of_trivial
from .network import StaticGraph, build_model, choose_operators, student_weights
from .output_folder import make_room
from .position import Position
from .precision import Precision
from .preprocessing import check_pixels, check_sizes
from .profiler import Profiler
from .readers import Reader, build_reader, check_classes, resumed_names
from .recorder import Recorder
from .resume import find_checkpoint, order_settings, require_same_order, resumed_schedule
from .states import restore, states_of
from .teachers import Teachers
from .time_spent import TimeSpent

# Batches between two reads of the losses where lines are further apart: unread ones take memory, and neither a loss
# that is not finite nor a signal to one of several ranks should wait for the end of an epoch.
READ_EVERY = 100


class Stopped(KeyboardInterrupt):
    """End of a run by `signal`, once the step is finished and `latest` in `folder` has it."""

    def __init__(self, folder: str, signal: int | None) -> None:
        super().__init__()
        self.folder, self.signal = folder, signal


class Trainer:
    """Training run: `fit()` does all of it, `train_step(batch)` one batch."""

    def __init__(self, config: Config, runtime: Runtime, profiler: Profiler | None = None) -> None:
        optimizer = config.optimizer()
        if config.Global.use_dali:
            LOGGER.warning(
                "Global.use_dali: there is no DALI here; the ordinary reader gives the same batches"
            )
        self.config, self.runtime, self.profiler = config, runtime, profiler
        self._on_cpu = runtime.device == "cpu"
        choose_operators(config.Global, runtime)
        seed_everything(config.Global.seed)
        resumed = find_checkpoint(config.Global, runtime)
        self.resumed_from = None if resumed is None else resumed.prefix
        self.spent = TimeSpent(config.Global, None if resumed is None else resumed.states)
        self._build_readers(resumed)
        self.teachers = Teachers(config, self.reader, runtime)
        sizes = self.teachers.embedding_sizes
        self.model = build_model(config, None, resumed is not None, self.class_names, sizes)
        if config.Arch.use_sync_bn:
            self.model = synchronise_batch_norms(self.model, runtime)
        self.freezing = Freezing(config, self.model, resumes=resumed is not None)
        self._build_schedule(resumed)
        self._set_factors()
        self.optimizer = build_optimizer(optimizer, self.model)
        self._build_losses()
        self.precision = Precision(config.AMP, runtime.device)
        self.best: float | None = None
        self.evaluations_since_best, self.evaluated = 0, True
        if resumed is not None:
            load_weights(self.model, resumed.trained, source=resumed.prefix)
        # Copies made before `decorate`, which may make the weights half precision.
        self.ema = ExponentialMovingAverage(self.model, config.EMA.decay) if config.EMA else None
        self.float32 = copy.deepcopy(self.model) if self.precision.scores_in_float32 else None
        self.network, self.optimizer = self.precision.decorate(self.model, self.optimizer)
        if resumed is not None:
            restore(self, resumed)  # after `decorate`, which changes the optimizer's tensors
        self.freezing.release()  # DataParallel exchanges the gradients of what learns when it is made
        if config.Global.to_static:
            self.network = StaticGraph(self.network)
        if runtime.world_size > 1:
            self.network = paddle.DataParallel(self.network)
        self.recorder = Recorder(config, runtime, self.position.batches_per_epoch, self.schedule.name)

    def _build_readers(self, resumed: checkpoint.Checkpoint | None) -> None:
        """Build the readers of both splits; they and the checkpoint must agree on classes and images."""
        config, runtime = self.config, self.runtime
        self.reader = build_reader(config, "Train", runtime)
        self.eval_reader: Reader | None = None
        self.class_names = self.reader.class_names
        if resumed is not None:
            self.class_names = resumed_names(config, resumed, self.reader)
        if config.Global.eval_during_train:
            self.eval_reader = build_reader(config, "Eval", runtime, self.class_names)
        check_classes(config, self.reader, self.eval_reader)
        check_pixels(config)
        check_sizes(config, self.reader)
        for split, reader in (("Train", self.reader), ("Eval", self.eval_reader)):
            if reader is not None:
                contents = len(reader.images), zlib.crc32(reader.images.labels.tobytes())
                name = f"DataLoader.{split}.dataset: (number of images, checksum of their labels)"
                require_same(contents, runtime, name)

    def _build_schedule(self, resumed: checkpoint.Checkpoint | None) -> None:
        settings, batches = self.config.Global, len(self.reader.loader)
        self.position = Position(batches, settings.update_freq)  # of the batch that comes next
        if settings.update_freq > batches:
            LOGGER.warning(
                "Global.update_freq %d: an epoch has %d batches, so its one update is made from fewer; lower it",
                *(settings.update_freq, batches),
            )
        if self.eval_reader is not None and not settings.evaluates():
            LOGGER.warning(
                f"none of {settings.epochs} epochs ends in an evaluation, so there will be no best_model; lower "
                f"Global.start_eval_epoch {settings.start_eval_epoch} or eval_interval {settings.eval_interval}"
            )
        self.lr = scaled_learning_rate(self.config, self.runtime)
        self.order = order_settings(self.config, self.runtime, len(self.reader.images))
        if resumed is None:
            self.schedule = build_schedule(self.lr, settings.epochs, self.position.steps_per_epoch)
        else:
            require_same_order(resumed, self.order)
            self.schedule = resumed_schedule(resumed, settings, self.lr, self.position.steps_per_epoch)

    def _set_factors(self) -> None:
        for name in self.config.Arch.learning:
            with located(self.config.where("Optimizer.lr.stage_factors"), "Optimizer.lr.stage_factors"):
                set_factors(self.schedule.lr, getattr(self.model, name) if name else self.model)

    def _build_losses(self) -> None:
        config, arch = self.config, self.config.Arch
        losses = weigh_classes(
            config.Loss.of("Train"), self.reader.images.known_labels, arch.network.class_num
        )
        shares = self.reader.images.tag_shares
        self.criterion = build_loss(losses, arch.infer_model_name, arch.teachers, shares)
        if self.eval_reader is not None:
            build_loss(config.Loss.of("Eval"), arch.infer_model_name)  # its errors are raised before an epoch
        # Mixed labels have no top-k, so PaddleClas leaves the metric out there, too.
        mixes = config.reader("Train").dataset.batch_transform_ops
        self.metrics = [] if mixes else config.Metric.of("Train")
        scored = [] if self.eval_reader is None else config.Metric.of("Eval")
        warn_of_trivial([*self.metrics, *scored], arch.network.class_num)
        self.losses = FiniteAverages(self.reader.images.name, self.runtime)

    def fit(self) -> None:
        """Train to `Global.epochs`, evaluating and saving as configured. Ctrl-C and SIGTERM save `latest` first.

        Raises:
            Stopped: one of these came.
            ConfigError: see `output_folder.make_room`. The folder is the caller's: see `output_folder.claimed`.
        """
        settings = self.config.Global
        if self.position.epoch >= settings.epochs and self.evaluated:
            epochs = self.position.epoch
            LOGGER.info(
                "nothing to do: the checkpoint has all %d epochs; raise Global.epochs to go on", epochs
            )
            return
        self._begin(settings)
        stop = CollectiveStopSignals()
        with stop, self.recorder.files(self.position, self.evaluated, self.model):
            if not self.evaluated:
                self._end_of_epoch()
            while self.position.epoch < settings.epochs and not self._stops_early():
                if self.train_epoch(stop):
                    self.save("latest")
                    step = self.position.step
                    LOGGER.info(
                        "stopped at step %d; the same command with Global.checkpoints=auto goes on", step
                    )
                    raise Stopped(settings.output_dir, stop.signal)
                self._end_of_epoch()
        self.spent.report()

    def _begin(self, settings: GlobalConfig) -> None:
        """Make room for the run in its folder, and let its log and config.yaml begin there."""
        folder = settings.output_dir
        gather(None, self.runtime)  # all have read the weights that they start from, which may be moved now
        with raise_on_all_ranks(self.runtime):
            if self.runtime.is_main:
                moved = make_room(settings, self.resumed_from)
                log_to(os.path.join(folder, "train.log"))
                # `overwrite` is about one start, not for those who use the file; `epochs` is what minutes led to.
                kept = dataclasses.replace(settings, overwrite=False, minutes=None)
                own = dataclasses.replace(self.config, Global=kept)
                write_text(os.path.join(folder, RUN_CONFIG), dump_config(own, moved))
        if not gather(os.path.isfile(os.path.join(folder, "best_model.pdparams")), self.runtime)[0]:
            self.best = None  # of a model that is elsewhere

    def train_epoch(self, stop: CollectiveStopSignals) -> bool:
        """Run the rest of the current epoch.

        Return whether `stop` asks to end the run now, on all ranks alike.
        """
        self.model.train()
        start, stops, every = self.position, False, self.config.Global.save_steps
        self.losses = FiniteAverages(self.reader.images.name, self.runtime)
        metrics, timer = Metrics(self.metrics), StepTimer()

        def means() -> dict[str, float]:
            return mean_over_ranks({**metrics.running(), **self.losses.means()}, self.runtime)

        for batch in self.reader.loader.epoch(start.epoch, start.batch):
            timer.data_ready()
            at = start.at(start.epoch, batch.number)
            self.recorder.batch(batch.images)
            logits, labels, _ = self.train_step(batch)
            if metrics:
                metrics.update(logits, labels)
            prints = self.recorder.prints(at)
            reads = prints or at.batch % READ_EVERY == 0
            # A step reads nothing else from the device, but for the check of the losses on CPU and a loss scale.
            values = means() if reads else {}
            timer.step_done(len(batch.indices))
            lr, skipped = self.optimizer.get_lr(), self.precision.skipped
            self.recorder.train_step(at, lr, values if prints else None, timer, skipped)
            if self.profiler is not None:
                self.profiler.step()
            if reads or self._on_cpu or self.runtime.world_size == 1:
                stops = stop.reached(self.runtime)
            if at.ends_step and self.position.epoch == start.epoch:
                if every is not None and self.position.step % every == 0:
                    self.save("latest")
                if stops:
                    return True
        self._go_to(start.at(start.epoch, start.batches_per_epoch))
        self.evaluated = False
        self.recorder.train_epoch(start.epoch, means(), self.model)
        return stop.reached(self.runtime)

    def train_step(self, batch: Batch) -> tuple[paddle.Tensor, paddle.Tensor, dict[str, paddle.Tensor]]:
        """Add the gradients of a batch, and update the weights when it is the last of its step.

        Returns (logits, labels, {loss name: scalar tensor}). On CPU a loss that is not finite raises UserError
        before the update; elsewhere `self.losses.check()` does, which waits for the device.
        """
        at = self.position.at(self.position.epoch, batch.number)
        self._go_to(at)
        self.freezing.set(at.epoch)
        # By batch, not by step: each of a step's batches has its own dropout.
        seed_everything(self.config.Global.seed, self.runtime.rank, at.batches_before)
        self.optimizer.set_lr(self.schedule(at.step))
        labels = paddle.to_tensor(batch.labels)
        with self._gradients_exchanged(at.ends_step):
            with self.precision.autocast():
                outputs = self.network(paddle.to_tensor(batch.images))
                if self.teachers:
                    outputs = {**outputs, **self.teachers(batch)}
                loss, losses = self.criterion(outputs, labels)
            self.losses.add(losses, at, batch.indices)
            if self._on_cpu:
                self.losses.check()
            self.precision.backward(loss / at.batches_of_step)
        if at.ends_step:
            if self._averages_gradients:
                average_gradients(self.model, self.runtime)
            if self.precision.step(self.optimizer) and self.ema is not None:
                self.ema.update(self.model, self.optimizer, at.step - self.precision.skipped)
            self.optimizer.clear_grad(set_to_zero=False)
        self.position = at.next()
        own = outputs[self.model.infer_model_name] if isinstance(outputs, dict) else outputs
        return logits_of(own).detach(), labels, losses

    def evaluate(self, max_batches: int | None = None) -> dict[str, float]:
        """Score `scored_model()` on DataLoader.Eval; return the means, see `evaluate.evaluate`."""
        model, reader, epoch, timer = self.scored_model(), self.eval_reader, self.position.epoch, StepTimer()
        assert reader is not None
        broadcast_statistics(model, self.runtime)
        with self.precision.evaluation():
            result = evaluate(model, reader, self.config, self.runtime, epoch, max_batches, timer=timer)
        self.recorder.evaluation(epoch, result, timer)
        return result

    def scored_model(self) -> nn.Layer:
        """Return the network that is evaluated: with the averaged weights when there is an EMA."""
        if self.ema is not None:
            return self.ema.model
        if self.float32 is None:
            return self.model
        self.float32.set_state_dict(self.model.state_dict())
        return self.float32

    def save(self, name: str) -> None:
        """Write the checkpoint set `Global.output_dir/name.*` on the main process; all call it.

        Raises:
            UserError: a loss was not finite.
        """
        self.losses.check()
        self.freezing.set(self.position.epoch)  # the optimizer's state is that of what learns
        if not self.runtime.is_main:
            return
        states = states_of(self)
        prefix = os.path.join(self.config.Global.output_dir, name)
        weights = raw = {key: value.numpy() for key, value in self.model.state_dict().items()}
        if self.ema is not None:
            weights = {key: value.numpy() for key, value in self.ema.model.state_dict().items()}
        optimizer = optimizer_state(self.optimizer, self.model)
        checkpoint.save(prefix, weights, optimizer, states, raw=raw if self.ema is not None else None)
        if self.config.Arch.teachers:
            write_weights(f"{prefix}_student.pdparams", student_weights(self.config.Arch, weights))
        LOGGER.info("Already save model in %s", prefix, extra=each_epoch("save"))

    def _end_of_epoch(self) -> None:
        """Save and evaluate at the end of an epoch; on resume an interrupted evaluation is repeated."""
        settings, epoch = self.config.Global, self.position.epoch
        evaluates = self.eval_reader is not None and settings.evaluates_after(epoch)
        self.evaluated = not evaluates
        if epoch % settings.save_interval == 0:
            self.save(f"epoch_{epoch}")
        elif evaluates:
            self.save("latest")
        if evaluates:
            result = self.evaluate()
            self.evaluated = True
            metric = result[self.config.Metric.best]
            finite = all(map(math.isfinite, result.values()))
            if not finite:
                LOGGER.warning(
                    "the evaluation after epoch %d is no number, and no best model: %s", epoch, result
                )
            better = finite and (self.best is None or metric > self.best)
            self.evaluations_since_best = 0 if better else self.evaluations_since_best + 1
            if better or (finite and metric == self.best):
                self.best = metric
                self.save("best_model")
            LOGGER.info("[Eval][Epoch %d][best metric: %s]", epoch, self.best, extra=each_epoch("best"))
        self.save("latest")
        self.recorder.end_of_epoch(epoch)

    def _stops_early(self) -> bool:
        """Return whether the metric has not risen for `Global.early_stop` evaluations, and log it."""
        patience = self.config.Global.early_stop
        if patience is None or self.evaluations_since_best < patience:
            return False
        LOGGER.info(
            "Global.early_stop: %d evaluations in a row were no better than %s; stopping after epoch %d of %d",
            *(self.evaluations_since_best, self.best, self.position.epoch, self.config.Global.epochs),
        )
        return True

    def _go_to(self, at: Position) -> None:
        """Set the position to `at`, and clear the gradients of a step whose last batch was never read."""
        if at.step != self.position.step:  # the batch that would have ended the last step was one of those
            self.optimizer.clear_grad(set_to_zero=False)
        self.position = at

    @property
    def _averages_gradients(self) -> bool:
        """True where the gradients of all processes are averaged by `average_gradients`, not by DataParallel.

        On CPU that dies of a lost process before Python could say so, and has nothing to gain by exchanging gradients
        while others are still computed. It waits for all gradients that it was made for, also those of frozen parts.
        """
        return self.runtime.world_size > 1 and (self._on_cpu or self.freezing.is_temporary)

    def _gradients_exchanged(self, wanted: bool) -> ContextManager[Any]:
        """Return a context in which a backward pass averages the gradients of all processes only if `wanted`."""
        if self.runtime.world_size == 1 or (wanted and not self._averages_gradients):
            return contextlib.nullcontext()
        return self.network.no_sync()
