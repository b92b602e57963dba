"""What a method trains: the full U-Net, LoRA layers or the token alone, each with its own learning rate."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.base.components import Parts
from pipeline.errors import UserError
from pipeline.params import Train
from pipeline.training.optimizer import parameter_group
from pipeline.training.randomness import seed_at
from pipeline.training.token import ExtendedEmbedding, add_token

TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


class TargetError(UserError):
    """`train.lora.targets` name no layers of the U-Net that LoRA layers can be added to."""


@dataclass
class Trainable:
    """The parameters that training changes.

    `groups` are the optimizer's parameter groups, `modules` the modules whose trainable parameters a checkpoint holds.
    `trains_text_encoder`: known words change their meaning, so hidden states of captions cannot be cached.
    """

    groups: list[dict[str, Any]] = field(default_factory=list)
    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    token: ExtendedEmbedding | None = None
    trains_text_encoder: bool = False

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.groups for parameter in group["params"]]


def select_trainable(parts: Parts, token: str, params: Train) -> Trainable:
    """Freeze everything, then unfreeze what `params.method` trains; new LoRA layers are initialised from the run's
    seed.

    Raises:
        TargetError: `lora.targets` do not fit the U-Net.
        TokenError: the placeholder token cannot be learned on this base.
    """
    found = Trainable()
    unet, text_encoder = parts.unet.requires_grad_(False), parts.text_encoder.requires_grad_(False)
    text_encoder.eval()
    if params.method == "dreambooth":
        unet.requires_grad_(True)
        found.modules["unet"] = unet
    elif params.method == "dreambooth-lora":
        if problems := target_problems(unet, params.lora.targets):
            raise TargetError(problems[0])
        _add_lora(unet, params, params.lora.targets, "unet")
        found.modules["unet"] = unet
    if "unet" in found.modules:
        group = parameter_group("unet", _trainable_parameters(unet), params.learning_rate, params.weight_decay)
        found.groups.append(group)
    if params.text_encoder.learn and params.method != "textual-inversion":
        if params.method == "dreambooth":
            table = text_encoder.get_input_embeddings().weight
            for parameter in text_encoder.parameters():
                parameter.requires_grad_(parameter is not table)
        else:
            _add_lora(text_encoder, params, TEXT_TARGETS, "text_encoder")
        rate, parameters = params.text_encoder.learning_rate, _trainable_parameters(text_encoder)
        found.groups.append(parameter_group("text_encoder", parameters, rate, params.weight_decay))
        found.modules["text_encoder"] = text_encoder
        found.trains_text_encoder = True
    if params.token.learn:
        settings = params.token
        found.token = add_token(parts.tokenizer, text_encoder, token, settings.start_from, settings.vectors)
        stop = None if settings.stop_after is None else round(settings.stop_after * params.steps)
        found.groups.append(parameter_group("token", [found.token.rows], settings.learning_rate, 0.0, stop))
        if "text_encoder" not in found.modules:
            found.modules["token"] = found.token
    return found


def target_problems(unet: torch.nn.Module, targets: Sequence[str]) -> list[str]:
    """What is wrong with the targets of LoRA layers, each the end of the names of layers: sentences."""
    problems = []
    for target in targets:
        named = [module for name, module in unet.named_modules() if f".{name}".endswith(f".{target}")]
        layers = [isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in named]
        if not any(layers):
            problems.append(
                f"train.lora.targets: no linear or convolution layer of the U-Net ends in '{target}'; usual ones are "
                "to_q, to_k, to_v, to_out.0"
            )
        elif not all(layers):
            other = type(named[layers.index(False)]).__name__
            problems.append(
                f"train.lora.targets: '{target}' ends the names of other parts of the U-Net, too ({other}); write more "
                "of the name of the layers that are meant"
            )
    return problems


def _trainable_parameters(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _add_lora(module: Any, params: Train, targets: Any, name: str) -> None:
    from peft import LoraConfig

    settings = params.lora
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_dora=settings.dora,
        init_lora_weights="gaussian",
        target_modules=list(targets),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_at(params.seed, "lora", name))
        module.add_adapter(config)


@contextmanager
def without_adapters(unet: Any) -> Iterator[None]:
    """Switch a U-Net's LoRA layers off."""
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()
