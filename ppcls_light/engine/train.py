"""The train loop: one path for every precision, and a contract for resuming.

Learning rate, shuffling, augmentation and dropout are pure functions of (seed, epoch, step, rank). A
checkpoint therefore needs no generator states, and 2N steps equal N steps, a resume, and N more, bit for
bit on CPU, whatever the number of reader processes.
"""

import math
import os

import paddle

from .. import __version__
from ..config import dump_config
from ..errors import ConfigError, UserError
from ..files import write_text
from ..losses import build_loss
from ..metrics import build_metric
from ..optim import build_optimizer, build_schedule, load_optimizer_state, optimizer_state
from ..weights import load_weights
from . import checkpoint
from .build import build_model, build_reader
from .evaluate import evaluate
from .log import LOGGER, Averages, StepTimer, format_values, train_line
from .resume import find_checkpoint, resumed_schedule, schedule_settings
from .runtime import Precision, broadcast_statistics, seed_everything, synchronise_batch_norms
from .signals import StopSignals
from .sinks import open_sink


class Trainer:
    """A training run: `fit()` does all of it, `train_step(batch)` one update.

    Args:
        config: schema.Config with an Optimizer and DataLoader.Train.
        runtime: runtime.Runtime of this process.
        profiler: profiler.Profiler or None.
    """

    def __init__(self, config, runtime, profiler=None):
        if config.Optimizer is None:
            raise ConfigError(
                "the section Optimizer is missing; for example Optimizer: {name: Momentum, lr: {...}}"
            )
        if config.Global.to_static:
            raise ConfigError(
                f"{config.where('Global.to_static')}: Global.to_static: training as a static graph is not available; "
                "leave it out (Paddle gains nothing from it on these networks)"
            )
        if config.Global.use_dali:
            LOGGER.warning(
                "Global.use_dali: there is no DALI here; the ordinary reader gives the same batches"
            )
        self.config, self.runtime, self.profiler = config, runtime, profiler
        seed_everything(config.Global.seed)
        self.reader = build_reader(config, "Train", runtime)
        self.eval_reader = build_reader(config, "Eval", runtime) if config.Global.eval_during_train else None
        self.model = build_model(config)
        if config.Arch.use_sync_bn:
            self.model = synchronise_batch_norms(self.model, runtime)
        self.steps_per_epoch = len(self.reader.loader)
        self.schedule = build_schedule(config.Optimizer.lr, config.Global.epochs, self.steps_per_epoch)
        self.optimizer = build_optimizer(config.Optimizer, self.model)
        self.criterion = build_loss(config.Loss.Train)
        mixes = bool(config.DataLoader.Train.dataset.batch_transform_ops)
        # Mixed labels have no top-k, so PaddleClas leaves the metric out there, too.
        self.metrics = [] if mixes else config.Metric.Train
        self.precision = Precision(config.AMP, runtime.device)
        self.step = self.epoch = self.position = 0
        self.best, self.evaluated = None, True
        resumed = find_checkpoint(config.Global, runtime)
        if resumed is not None:
            self.schedule = resumed_schedule(resumed, config, self.steps_per_epoch)
            load_weights(self.model, resumed.weights, source=resumed.prefix)
        self.network, self.optimizer = self.precision.decorate(self.model, self.optimizer)
        if resumed is not None:
            self._continue_from(resumed)
        if runtime.world_size > 1:
            self.network = paddle.DataParallel(self.network)

    def fit(self):
        """Train to `Global.epochs`, evaluating and saving as configured. Ctrl-C and SIGTERM save `latest` first."""
        settings = self.config.Global
        if self.epoch >= settings.epochs and self.evaluated:
            LOGGER.info(
                "nothing to do: the checkpoint has all %d epochs; raise Global.epochs to go on", self.epoch
            )
            return
        if self.runtime.is_main:
            write_text(os.path.join(settings.output_dir, "config.yaml"), dump_config(self.config))
        self.sink = open_sink(settings.use_visualdl, settings.output_dir, self.runtime)
        with StopSignals() as stop, self.sink:
            if not self.evaluated:
                self._end_of_epoch()
            while self.epoch < settings.epochs:
                self.train_epoch(stop)
                if stop.signal is not None:
                    self.save("latest")
                    LOGGER.info(
                        "stopped at step %d; the same command with Global.checkpoints=auto goes on", self.step
                    )
                    raise KeyboardInterrupt
                self.epoch, self.position, self.evaluated = self.epoch + 1, 0, False
                self._end_of_epoch()

    def train_epoch(self, stop):
        """Run the rest of the current epoch from `self.position`; return early once `stop.signal` is set."""
        if self.position == self.steps_per_epoch:
            return  # the checkpoint was made after the epoch's last step
        self.network.train()
        settings = self.config.Global
        averages, accuracy, timer = Averages(), build_metric(self.metrics), StepTimer()
        total_steps = settings.epochs * self.steps_per_epoch
        for batch in self.reader.loader.epoch(self.epoch, start=self.position):
            timer.data_ready()
            # By number, not by counting: a batch without a readable image is never seen here.
            self.position = batch.number
            self.step = self.epoch * self.steps_per_epoch + batch.number
            logits, labels, losses = self.train_step(batch)
            averages.update(losses, len(batch.indices))
            if self.metrics:
                accuracy.update(logits, labels)
            timer.step_done(len(batch.indices))
            if self.position % settings.print_batch_step == 0:
                values = {**accuracy.compute(), **averages.means()}
                lr, shown = self.optimizer.get_lr(), (self.epoch + 1, settings.epochs)
                LOGGER.info(
                    train_line(
                        *shown,
                        self.position,
                        self.steps_per_epoch,
                        self.schedule.name,
                        lr,
                        values,
                        timer,
                        total_steps - self.step,
                    )
                )
                self.sink.scalars("train", {**values, "lr": lr}, self.step)
            self.step += 1
            self.position += 1
            if self.profiler is not None:
                self.profiler.step()
            if stop.signal is not None:
                return
        values = {**accuracy.compute(), **averages.means()}
        LOGGER.info("[Train][Epoch %d/%d][Avg]%s", self.epoch + 1, settings.epochs, format_values(values))

    def train_step(self, batch):
        """Do one update; return (logits, labels, {loss name: float}). Raises UserError on a non-finite loss."""
        seed_everything(self.config.Global.seed, self.runtime.rank, self.step)
        self.optimizer.set_lr(self.schedule(self.step))
        labels = paddle.to_tensor(batch.labels)
        with self.precision.autocast():
            logits = self.network(paddle.to_tensor(batch.images))
            loss, parts = self.criterion(logits.astype("float32"), labels)
        losses = {name: float(part) for name, part in parts.items()}
        if not math.isfinite(losses["loss"]):
            raise self._non_finite(losses, batch)
        self.precision.backward(loss)
        self.precision.step(self.optimizer)
        self.optimizer.clear_grad()
        return logits.detach(), labels, losses

    def evaluate(self, max_batches=None):
        """Score the network on DataLoader.Eval; returns the means, see `evaluate.evaluate`."""
        broadcast_statistics(self.model, self.runtime)
        return evaluate(self.model, self.eval_reader, self.config, self.runtime, self.epoch, max_batches)

    def save(self, name):
        """Write the checkpoint set `Global.output_dir/name.*` on the main process."""
        if not self.runtime.is_main:
            return
        states = {
            "epoch": self.epoch,
            "position": self.position,
            "step": self.step,
            "metric": self.best if self.best is not None else 0.0,
            "best": self.best,
            "evaluated": self.evaluated,
            "schedule": schedule_settings(self.config, self.steps_per_epoch),
            "scaler": self.precision.scaler.state_dict(),
            "class_names": self.reader.class_names,
            "arch": self.config.Arch.name,
            "class_num": self.config.Arch.class_num,
            "versions": {"ppcls_light": __version__, "paddle": paddle.__version__},
        }
        prefix = os.path.join(self.config.Global.output_dir, name)
        weights = {key: value.numpy() for key, value in self.model.state_dict().items()}
        checkpoint.save(prefix, weights, optimizer_state(self.optimizer, self.model), states)
        LOGGER.info("Already save model in %s", prefix)

    def _end_of_epoch(self):
        """Save and evaluate; a run that dies meanwhile resumes with this, and no epoch is lost or unscored."""
        settings = self.config.Global
        evaluates = self.eval_reader is not None and self.epoch > settings.start_eval_epoch
        evaluates = evaluates and self.epoch % settings.eval_interval == 0
        self.evaluated = not evaluates
        if self.epoch % settings.save_interval == 0:
            self.save(f"epoch_{self.epoch}")
        elif evaluates:
            self.save("latest")
        if evaluates:
            result = self.evaluate()
            self.evaluated = True
            self.sink.scalars("eval", result, self.step)
            metric = result[f"top{self.config.Metric.Eval[0].ks()[0]}"]
            if self.best is None or metric >= self.best:
                self.best = metric
                self.save("best_model")
            LOGGER.info("[Eval][Epoch %d][best metric: %s]", self.epoch, self.best)
        self.save("latest")

    def _continue_from(self, found):
        """Restore what belongs to an update: called after `decorate`, which changes the optimizer's tensors."""
        load_optimizer_state(self.optimizer, self.model, found.optimizer)
        self.precision.scaler.load_state_dict(found.states["scaler"])
        for name in ("epoch", "position", "step"):
            setattr(self, name, found.states[name])
        self.best, self.evaluated = found.states.get("best"), found.states.get("evaluated", True)
        LOGGER.info(
            "Finish load checkpoints from %s (epoch %d, step %d)", found.prefix, self.epoch, self.step
        )

    def _non_finite(self, losses, batch):
        bad = next(name for name, value in losses.items() if not math.isfinite(value))
        files = [self.reader.images.name(int(index)) for index in batch.indices]
        shown = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        return UserError(
            f"{bad} is {losses[bad]} at step {self.step} (epoch {self.epoch + 1}, rank {self.runtime.rank}) before the "
            f"update; lower Optimizer.lr.learning_rate or set Optimizer.clip_grad; images: {shown}"
        )
