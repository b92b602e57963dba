"""`pocket/params.yaml` as types: the sizes, steps and rates of one recipe (`cpu` or `gpu`)."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

HERE = Path(__file__).parent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorldParams(Strict):
    pictures: int
    held_out: int
    toys: int
    toy_share: float  # of the pictures to train on
    seed: int


class TextParams(Strict):
    words: int  # BPE merges on top of the 512 byte symbols
    length: int  # tokens a prompt may have, with start and end
    hidden: int
    layers: int


class VisionParams(Strict):
    hidden: int
    layers: int
    patch: int


class Schedule(Strict):
    steps: int
    batch: int
    rate: float
    parts: int = 1  # batches that make one step, computed side by side on the cores
    optimizer: Literal["adamw", "muon"] = "adamw"


class VaeParams(Schedule):
    channels: list[int]
    latents: int  # channels of a latent
    layers: int
    edge: float  # weight of the edges' absolute error; that of the squared error is 4
    photographs: float  # share of them among the pictures
    kl: float  # weight of the latents' KL divergence
    ema: float


class IdentityParams(Schedule):
    toys: int  # that the encoder learns to name
    held_out: int  # that it is tried on
    views: int  # sides each is drawn from
    pictures: int
    photos: int  # of each toy, beside the pictures
    processes: int  # that draw them


class UnetParams(Schedule):
    channels: list[int]
    layers: int
    head_dim: int
    snr_gamma: float
    snr_floor: float
    ema: float
    empty_captions: float
    photographs: float  # share of them among the pictures


class ControlParams(Schedule):
    layers: int  # residual blocks on each level


class Recipe(Strict):
    """One way of making pocket."""

    size: int  # pixels, square
    world: WorldParams
    text: TextParams
    vision: VisionParams
    clip: Schedule
    text_encoder: Schedule  # of the text encoder, after CLIP
    vae: VaeParams
    unet: UnetParams
    judge: Schedule
    identity: IdentityParams
    outline: Schedule
    control: ControlParams
    device: str
    compile: bool
    start: Path | None = None  # an earlier pocket, beside this file: its VAE, CLIP and U-Net are trained on
    bf16: bool  # mixed precision, in all trainings


def read_recipe(name: str | None = None) -> Recipe:
    """The recipe `name` of params.yaml, or the one that its key `use` names."""
    params = yaml.safe_load((HERE / "params.yaml").read_text())
    return Recipe.model_validate(params["recipes"][name or params["use"]])
