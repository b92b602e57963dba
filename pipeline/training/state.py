"""All that changes while training: taken into a checkpoint, and put back."""

from typing import Any

import torch
from accelerate import Accelerator

from pipeline.training.checkpoint import Checkpoint
from pipeline.training.meter import Meter
from pipeline.training.optimizer import inner, optimizer_state, restore_optimizer
from pipeline.training.trainable import Learned

Row = dict[str, float]


class State:
    """Learned weights, their average, the optimizer, and the curve so far."""

    def __init__(self, learned: Learned, optimizer: Any, accelerator: Accelerator, meter: Meter, decay: float | None):
        self.learned, self.optimizer, self.accelerator, self.meter = learned, optimizer, accelerator, meter
        self.decay = decay
        self.mean = [parameter.detach().clone() for parameter in learned.parameters] if decay else []
        self.rows: list[Row] = []
        self.validation: float | None = None

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Move the averaged weights after optimizer step `step`; a young average follows faster."""
        if self.decay:
            rate = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.mean, [parameter.detach() for parameter in self.learned.parameters], rate)

    @torch.no_grad()
    def use_average(self) -> None:
        """Put the averaged weights, where there are any, in the place of the last ones."""
        for parameter, mean in zip(self.learned.parameters, self.mean, strict=bool(self.decay)):
            parameter.copy_(mean)

    def candidate(self) -> dict[str, dict[str, torch.Tensor]]:
        """Copies of what is learned, averaged where the run averages, by module."""
        parameters = self.learned.parameters
        last = [parameter.detach().clone() for parameter in parameters] if self.decay else []
        self.use_average()
        found = {
            name: {key: tensor.detach().clone() for key, tensor in _learned(module).items()}
            for name, module in self.learned.modules.items()
        }
        with torch.no_grad():
            for parameter, value in zip(parameters, last, strict=bool(self.decay)):
                parameter.copy_(value)
        return found

    def log(self, step: int) -> Row:
        """Close a row of the curve."""
        groups = inner(self.optimizer).param_groups
        rates = {"learning_rate": float(groups[0]["lr"])}
        rates |= {f"learning_rate_{group['name']}": float(group["lr"]) for group in groups[1:]}
        row = self.meter.row(step, rates)
        if self.validation is not None:
            row["validation_loss"] = self.validation
        self.rows.append(row)
        return row

    def take(self, step: int) -> Checkpoint:
        """A checkpoint after `step` steps; frozen weights stay out of it."""
        tensors = {name: _learned(module) for name, module in self.learned.modules.items()}
        tensors["optimizer"], plain = optimizer_state(inner(self.optimizer))
        if self.decay:
            tensors["average"] = {str(index): mean for index, mean in enumerate(self.mean)}
        values = {"optimizer": plain, "rows": self.rows, "validation": self.validation, "meter": self.meter.take()}
        if self.accelerator.scaler is not None:
            values["scaler"] = self.accelerator.scaler.state_dict()
        return Checkpoint(step, tensors, values)

    def restore(self, checkpoint: Checkpoint | None, device: torch.device) -> int:
        """Put a checkpoint back (None: nothing to do) and tell how many steps are done."""
        if checkpoint is None:
            return 0
        tensors, values = checkpoint.tensors, checkpoint.values
        for name, module in self.learned.modules.items():
            module.load_state_dict(tensors[name], strict=False)
            module.to(device)
        restore_optimizer(inner(self.optimizer), tensors["optimizer"], values["optimizer"])
        if self.decay:
            self.mean = [tensors["average"][str(index)].to(device) for index in range(len(self.mean))]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(values["scaler"])
        self.rows, self.validation = values["rows"], values["validation"]
        self.meter.restore(values["meter"])
        print(f"going on from step {checkpoint.step}")
        return checkpoint.step


def _learned(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
