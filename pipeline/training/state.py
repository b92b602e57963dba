"""The state of a training run, saved to and loaded from checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from pipeline.errors import UserError
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.meter import Meter
from pipeline.training.optimizer import load_optimizer_state, optimizer_state, unwrap
from pipeline.training.trainable import Trainable

Row = dict[str, float]


class StateError(UserError):
    """Weights that were saved are not those of the model that they are loaded into."""


class State:
    """Trainable weights, their exponential moving average (with `decay`), the optimizer, and the curve so far."""

    def __init__(
        self, trainable: Trainable, optimizer: Any, accelerator: Accelerator, meter: Meter, decay: float | None
    ):
        self.trainable, self.optimizer, self.accelerator, self.meter = trainable, optimizer, accelerator, meter
        self.decay = decay
        self.ema = [parameter.detach().clone() for parameter in trainable.parameters] if decay else []
        self.rows: list[Row] = []
        self.validation: float | None = None  # the loss on held-out photos, until a row has it
        self.timed_steps, self.seconds = 0, 0.0  # of the process that trained last, up to its last row
        self.device = accelerator.device.type  # of that process

    @torch.no_grad()
    def update_ema(self, step: int) -> None:
        """Update the moving average after optimizer step `step`; in early steps it follows faster (warm-up)."""
        if self.decay:
            rate = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.ema, [parameter.detach() for parameter in self.trainable.parameters], rate)

    @torch.no_grad()
    def apply_ema(self) -> None:
        """Copy the moving average, if there is one, into the parameters."""
        for parameter, mean in zip(self.trainable.parameters, self.ema, strict=bool(self.decay)):
            parameter.copy_(mean)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the context the parameters are what an export would hold: the moving average, if there is one."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        """Let parameters and moving average change places, without copies."""
        for index, (parameter, mean) in enumerate(zip(self.trainable.parameters, self.ema, strict=bool(self.decay))):
            parameter.data, self.ema[index] = mean, parameter.data

    def exported_weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """The weights that an export of this step would hold, by module: the moving average if there is one.

        The tensors are the live ones, not copies: write them before the next step.
        """
        averaged = dict(zip(map(id, self.trainable.parameters), self.ema, strict=bool(self.decay)))
        return {
            name: {key: averaged.get(id(parameter), parameter) for key, parameter in _trainable_weights(module).items()}
            for name, module in self.trainable.modules.items()
        }

    def log(self, step: int) -> Row:
        """Close a row of the curve, add it to `rows` and return it.

        It has the loss on held-out photos where that was measured since the last row; if more than once, the last one.
        """
        groups = unwrap(self.optimizer).param_groups
        rates = {"learning_rate": float(groups[0]["lr"])}
        rates |= {f"learning_rate_{group['name']}": float(group["lr"]) for group in groups[1:]}
        row = self.meter.close_row(step, rates)
        if self.validation is not None:
            row["validation_loss"], self.validation = self.validation, None
        self.rows.append(row)
        return row

    def to_checkpoint(self, step: int) -> Checkpoint:
        """A checkpoint after `step` steps, without frozen weights."""
        tensors = {name: _trainable_weights(module) for name, module in self.trainable.modules.items()}
        tensors["optimizer"], plain = optimizer_state(unwrap(self.optimizer))
        if self.decay:
            tensors["average"] = {str(index): mean for index, mean in enumerate(self.ema)}
        meter = self.meter.state_dict()
        values: dict[str, Any] = {"optimizer": plain, "rows": self.rows, "validation": self.validation, "meter": meter}
        values |= {"time": [self.timed_steps, self.seconds], "device": self.device}
        if self.accelerator.scaler is not None:
            values["scaler"] = self.accelerator.scaler.state_dict()
        return Checkpoint(step, tensors, values)

    def load_checkpoint(self, checkpoint: Checkpoint | None, device: torch.device, remedy: str) -> int:
        """Load a checkpoint (None: keep the initial state) and return the number of finished steps.

        Args:
            remedy: see `load_weights`.

        Raises:
            StateError: its weights are not those of this model.
        """
        if checkpoint is None:
            return 0
        tensors, values = checkpoint.tensors, checkpoint.values
        for name, module in self.trainable.modules.items():
            load_weights(module, tensors.get(name, {}), f"the checkpoint of step {checkpoint.step}, {name}", remedy)
            module.to(device)
        # a finished run's checkpoint has no states: no step follows it
        load_optimizer_state(unwrap(self.optimizer), tensors.get("optimizer", {}), values["optimizer"])
        if self.decay:
            self.ema = [tensors["average"][str(index)].to(device) for index in range(len(self.ema))]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(values["scaler"])
        self.rows, self.validation = values["rows"], values["validation"]
        (self.timed_steps, self.seconds), self.device = values["time"], values["device"]
        self.meter.load_state_dict(values["meter"])
        print(f"resuming from the checkpoint of step {checkpoint.step}")
        return checkpoint.step


def load_weights(module: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str, remedy: str) -> None:
    """Load the trainable weights of `module`, all of them; `source` says where `tensors` are from, and `remedy` what
    helps beside the versions that wrote them.

    Versions of transformers name a text encoder's weights with and without `text_model.`; that does not matter here.

    Raises:
        StateError: names or shapes are not those of the module's trainable weights.
    """
    wanted = _trainable_weights(module)
    names = {_bare(name): name for name in wanted}
    found = {names.get(_bare(name), name): tensor for name, tensor in tensors.items()}
    wrong = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    for names_of, problem in (
        (found.keys() - wanted.keys(), "the model has no"),
        (wanted.keys() - found.keys(), "it lacks"),
        (wrong, "of another shape is"),
    ):
        if names_of:
            raise StateError(
                f"{source}: the weights are not those of the model here: {problem} {min(names_of)} "
                f"({len(names_of)} of {len(found)}). Other versions of diffusers, transformers or peft wrote them: "
                f"install those again, or {remedy}"
            )
    module.load_state_dict(found, strict=False)


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def _trainable_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
