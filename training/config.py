"""Everything that determines a training run, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, create_model

from gpsym import CriticalInit, edge_of_chaos
from training.schema import MOST, STRICT, Domain, checked

__all__ = ["ConfigSchema", "RunConfig"]

_Text = Annotated[str, Field(max_length=4096), Domain("a text of <= 4096 characters", "pass a name or a path")]
_Flag = Annotated[bool, Domain("True or False", "pass one of them")]
_Positive = Annotated[int, Field(ge=1, le=MOST), Domain(">= 1", "pass a larger whole number")]
_Count = Annotated[int, Field(ge=0, le=MOST), Domain(">= 0", "pass a larger whole number")]
_Seed = Annotated[int, Field(ge=0, lt=2**32), Domain("in [0, 2^32)", "pass a smaller whole number")]
_Number = Annotated[float, Domain("in (-oo, oo)", "pass a number")]  # `edge_of_chaos` knows which ones it takes
# The largest rate is far inside float32.
_Rate = Annotated[float, Field(gt=0, le=1e30), Domain("in (0, 1e30]", "1e-4 is a fair start")]
_Mixing = Annotated[float, Field(gt=0, le=1), Domain("in (0, 1]", "1 is a network without skips")]
_Momentum = Annotated[float, Field(ge=0, lt=1), Domain("in [0, 1)", "0.9 is usual")]
_Decay = Annotated[float, Field(ge=0), Domain("in [0, oo)", "0 is none")]
_Warmup = Annotated[float, Field(ge=0, le=1), Domain("in [0, 1]", "it is a fraction of all steps")]
_Norm = Annotated[float, Field(gt=0), Domain("in (0, oo)", "leave it out for no clipping")]


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, seeds included.

    data, data_dir    as in `training.data.load`.
    activation, sparsity, slope, q_star
                      the design, as in `gpsym.edge_of_chaos`.
    model, width, depth, alpha
                      the network, as in `training.models.build`.
    input_scale       unit, of mean square 1, or hidden, of that of a hidden layer's inputs, E phi^2 at q*, so that the
                      first layer learns at the pace of the others: `training.optimisation.input_factor`.
    initializer       a file written by `gpsym export`, to take activation and initializer from.
    epochs            passes over the training split.
    batch_size        examples in one forward and backward pass, over all devices.
    accumulate        batches whose gradients one step takes together: a batch of accumulate * batch_size.
    lr                peak learning rate; None tries fractions and multiples of theory's for an epoch each.
    optimizer         sgd, adam or adamw; momentum is that of sgd; weight_decay is decoupled for adamw alone.
    schedule          cosine to zero, or constant; warmup is the fraction of all steps over which the rate first rises.
    clip_norm         largest norm of the gradient of all weights together; None leaves it.
    augment           none, shift or shift-flip, as in `training.augment`.
    precision         32, or bf16 for autocast.
    compile           whether to train with torch.compile.
    device            auto (CUDA, else CPU), cpu or cuda.
    devices           number of processes, one for each device; torchrun's number goes before it.
    strategy          auto (ddp where there are several), ddp or fsdp.
    telemetry         norms of gradients by layer are measured every so many epochs; 0 never.
    tensorboard       whether to write event files as well.
    checkpoint_every  checkpoints are written after each epoch, and within it every so many steps; 0 for no more.
    """

    data: _Text
    activation: _Text
    sparsity: _Number | None = None
    slope: _Number | None = None
    q_star: _Number = 1.0
    width: _Positive = 300
    depth: _Positive = 10
    epochs: _Count = 10
    batch_size: _Positive = 128
    lr: _Rate | None = None
    seed: _Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data_dir: _Text | None = None
    initializer: _Text | None = None
    model: Literal["mlp", "cnn", "transformer"] = "mlp"
    alpha: _Mixing | None = None
    input_scale: Literal["unit", "hidden"] = "unit"
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    momentum: _Momentum = 0.9
    weight_decay: _Decay = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: _Warmup = 0.05
    accumulate: _Positive = 1
    clip_norm: _Norm | None = None
    augment: Literal["none", "shift", "shift-flip"] = "none"
    precision: Literal["32", "bf16"] = "32"
    compile: _Flag = False
    devices: _Positive = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    telemetry: _Count = 0
    tensorboard: _Flag = False
    checkpoint_every: _Count = 0

    def __post_init__(self) -> None:
        checked(ConfigSchema, vars(self), "run")

    @property
    def design(self) -> CriticalInit:
        """The initialization at the edge of chaos that the run starts from."""
        return edge_of_chaos(self.activation, sparsity=self.sparsity, slope=self.slope, q_star=self.q_star)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunConfig:
        """The configuration among the values, such as those of config.json; what they lack takes its default."""
        return RunConfig(**{f.name: values[f.name] for f in fields(RunConfig) if f.name in values})


_HINTS = get_type_hints(RunConfig, include_extras=True)
_FIELDS: dict[str, Any] = {
    f.name: (_HINTS[f.name], ... if f.default is MISSING else f.default) for f in fields(RunConfig)
}
# The declaration above, as pydantic checks it.
ConfigSchema: Any = create_model("ConfigSchema", __config__=STRICT, **_FIELDS)
