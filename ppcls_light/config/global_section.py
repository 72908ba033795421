"""Schema of the section Global."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

from ..errors import ConfigError
from .types import NonNegativeInt, PositiveFloat, PositiveInt, Range, Spelled
from .values import UnknownScore


@dataclass
class GlobalConfig(Spelled):
    """Run-wide settings; paths are relative to the working directory."""

    # Checkpoints, log, `config.yaml`, `metrics.jsonl`. Two runs at once in one folder are refused, and so is
    # a new run in the folder of another.
    output_dir: str = "./output"
    # `auto` takes a GPU when there is one.
    device: Literal["auto", "cpu", "gpu", "xpu", "npu", "mlu", "ascend", "intel_gpu", "mps"] = "auto"
    epochs: PositiveInt = 100
    # In place of `epochs`: as many as fit, by the time of a batch, an evaluation and a checkpoint on this
    # machine. Decided when a run begins and kept when it is resumed. Of the two the one given by `-o` counts,
    # else both are an error. A warm-up is at most a quarter of the epochs; schedules that count epochs
    # (`Step`, `Piecewise`, `MultiStepDecay`) and `size_schedule` are refused.
    minutes: Optional[PositiveFloat] = None
    # An image has any number of [tags](multilabel.md), each with a probability of its own (sigmoid), in place
    # of one class.
    use_multilabel: bool = False
    update_freq: PositiveInt = 1  # batches whose mean gradient makes one update
    # Weights to start from, or those to evaluate, infer with and export: a file, or as `Arch.pretrained`.
    pretrained_model: Optional[str] = None
    # at first, in which the classifier alone learns, on weights from elsewhere
    head_epochs: NonNegativeInt = 0
    # `pretrained_model` may have other classes: its classifier's rows are kept by the classes'
    # [names](#classes), others start anew; without names a classifier of another class count starts anew.
    # Else it is an error.
    reset_head: bool = False
    # A prefix to continue, with or without suffix, or `auto`: the newest whole one in `output_dir`, else from
    # the beginning; only unreadable ones are an error. Those ahead of it move to `output_dir/previous_N`. In
    # eval, infer and export `auto` is `best_model`, or `latest` if there is none.
    checkpoints: Optional[str] = None
    # Begin a new run where `output_dir` holds one; that one moves to `output_dir/previous_N`, and an export
    # of other weights to `save_inference_dir/previous_N`.
    overwrite: bool = False
    # Needed when the course of the learning rate changed since the checkpoint.
    resume_schedule: Optional[Literal["keep", "new"]] = None
    seed: NonNegativeInt = 0  # of everything random
    print_batch_step: PositiveInt = 10  # batches between two log lines
    save_interval: PositiveInt = 1  # epochs between two `epoch_N` checkpoints
    save_steps: Optional[PositiveInt] = None  # updates between two saves of `latest` within an epoch
    eval_during_train: bool = True
    eval_interval: PositiveInt = 1  # epochs between two evaluations
    start_eval_epoch: NonNegativeInt = 0  # first epoch with an evaluation
    image_shape: Tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 224, 224)  # input of the export
    save_inference_dir: str = "./inference"  # folder of the export
    # `int8`: also int8 graphs, for every engine that keeps its top-1 ([int8](int8.md)), or with `--format` for that
    # format; `fp16`: also a file in half precision of the `--format` ([formats](formats.md)).
    export_precision: Literal["fp32", "fp16", "int8"] = "fp32"
    # The exported graph takes uint8 photos (N, H, W, 3) and prepares them itself
    # ([preprocessing in the graph](deploy.md#preprocessing-in-the-graph)).
    export_preprocess: bool = False
    # At most so many images of DataLoader.Train, or of part of Eval, calibrate int8.
    calibration_images: PositiveInt = 256
    # The exported graph also gives what the classifier takes, as its second output
    # ([embeddings](deploy.md#embeddings)).
    embedding: bool = False
    # The export fits on DataLoader.Eval how sure an answer is, and when an image is of no class; `distance`
    # is to the images of DataLoader.Train ([unknown images](unknown.md)).
    unknown: Optional[UnknownScore] = None
    # share that stays known
    unknown_coverage: Annotated[float, Range(0, 1, low_open=True, high_open=True)] = 0.95
    unknown_by_class: bool = False  # a threshold for each class
    early_stop: Optional[PositiveInt] = None  # evaluations without a better metric that end the run
    use_visualdl: bool = False  # the same as `visualdl` among the loggers
    loggers: List[Literal["visualdl", "tensorboard", "wandb"]] = field(
        default_factory=list
    )  # of numbers and pictures
    log_histograms: bool = False  # of every parameter, after each epoch, to the loggers
    log_ranks: Union[NonNegativeInt, str] = "0"  # processes that log to stdout, for example "0,1"
    print_mem_info: bool = False  # peak memory in the train lines
    # accepted from PaddleClas' `*_ultra.yaml`; the ordinary reader is used, with a warning
    use_dali: bool = False
    to_static: bool = (
        False  # trains the network as a compiled graph, of Paddle's operators as `cpu_ops: false`
    )
    # accepted from PaddleClas; its retrieval is not here
    eval_mode: Literal["classification"] = "classification"
    cpu_ops: bool = True  # train on CPU with the project's operators, built on first use; else with Paddle's

    def __post_init__(self) -> None:
        if self.early_stop is not None and not self.eval_during_train:
            raise ConfigError(
                "early_stop counts evaluations, and there are none; write eval_during_train: true, or early_stop: null"
            )
        if self.log_histograms and not self.all_loggers():
            raise ConfigError("log_histograms draws them in a logger; add for example use_visualdl: true")
        if self.unknown is None and (self.unknown_by_class or self.unknown_coverage != 0.95):
            raise ConfigError(
                "unknown_coverage and unknown_by_class are about unknown; add unknown: energy, or leave them out"
            )
        if self.export_preprocess and self.export_precision == "int8":
            raise ConfigError(
                "export_preprocess: the graph of photos is in fp32; export int8 into another Global.save_inference_dir"
            )
        if self.unknown and self.export_precision == "int8":
            raise ConfigError(
                "export_precision: int8 answers differ from those that unknown is fitted on; export one of the two"
            )
        if not all(rank.strip().isdecimal() for rank in str(self.log_ranks).split(",")):
            raise ConfigError(
                f'log_ranks: numbers of processes, for example "0" or "0,1"; got "{self.log_ranks}"'
            )

    def spelled(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        return {key: value for key, value in fields.items() if key != "epochs" or self.minutes is None}

    def evaluates_after(self, epoch: int) -> bool:
        """Return whether an evaluation follows `epoch`, counted from 1."""
        return self.eval_during_train and epoch >= self.start_eval_epoch and epoch % self.eval_interval == 0

    def evaluates(self) -> bool:
        """Return whether any of `epochs` ends in an evaluation."""
        return any(self.evaluates_after(epoch) for epoch in range(1, self.epochs + 1))

    def logging_ranks(self) -> List[int]:
        """Return `log_ranks` as numbers."""
        return [int(rank) for rank in str(self.log_ranks).split(",")]

    def all_loggers(self) -> List[str]:
        """Return `loggers`, with VisualDL where `use_visualdl` is set, each once."""
        return list(dict.fromkeys([*(["visualdl"] if self.use_visualdl else []), *self.loggers]))

    def of_a_trial(self, **changes: Any) -> "GlobalConfig":
        """Return the settings, with `changes`, of some steps that measure a training: from its beginning, without logs.

        All learns that will at last, not the head alone.
        """
        no_logs: Dict[str, Any] = {"use_visualdl": False, "loggers": [], "log_histograms": False}
        return replace(self, checkpoints=None, head_epochs=0, **no_logs, **changes)
