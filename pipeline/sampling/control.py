"""Control: a small network that makes drawings follow a control picture (ControlNet or T2I-Adapter)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.base.control_adapter import fit_problem
from pipeline.files import read_json
from pipeline.sampling.composition import Control
from pipeline.sampling.control_pictures import control_picture_of_size, square_of

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Guide:
    """What control pictures are made of (see `control_source`), the network that reads them, and how strongly and when
    it counts.

    `origin` is what is kept of where both come from.
    """

    picture: "Image"
    net: Any
    settings: Control
    origin: dict[str, Any] = field(default_factory=dict)

    def shape(self, size: int) -> "Image":
        """The control picture (mode L) of pictures of `size` pixels.

        Raises:
            ValueError: nothing stands out in it at that size.
        """
        return control_picture_of_size(square_of(self.picture), self.settings.kind, size)

    def over(self, size: int, unet: Any) -> "Guiding":
        """The guide of a batch of pictures of `size` pixels; raises what `shape` does."""
        small = self.shape(size)
        pixels = torch.from_numpy(np.asarray(small, np.float32) / 255).to(unet.device, unet.dtype)
        return Guiding(self, pixels[None, None])


class Guiding:
    """What a guide adds to the U-Net's layers while pictures are drawn.

    Args:
        pixels: the control picture in 0..1, [1, 1, size, size].
    """

    def __init__(self, guide: Guide, pixels: torch.Tensor):
        self.net, self.settings = guide.net, guide.settings
        adapter = type(self.net).__name__ == "T2IAdapter"
        channels = self.net.config.in_channels if adapter else self.net.config.conditioning_channels
        self.pixels = pixels.expand(-1, channels, -1, -1)
        self.features = [part * self.settings.scale for part in self.net(self.pixels)] if adapter else None

    def active(self, done: float) -> bool:
        """Whether the guide counts when the share `done` of the steps is."""
        return self.settings.start <= done < self.settings.end

    def __call__(self, latents: torch.Tensor, time: Any, states: torch.Tensor) -> dict[str, Any]:
        """Arguments of the U-Net, for a batch of latents with its prompts' states."""
        rows = len(latents)
        if self.features is not None:
            features = [part.expand(rows, -1, -1, -1) for part in self.features]
            return {"down_intrablock_additional_residuals": features}
        down, middle = self.net(
            latents,
            time,
            encoder_hidden_states=states,
            controlnet_cond=self.pixels.expand(rows, -1, -1, -1),
            conditioning_scale=self.settings.scale,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def load_control(folder: Path, unet: Any) -> Any:
    """Load the network in `folder` in a U-Net's type, on its device."""
    from diffusers import ControlNetModel, T2IAdapter

    kinds = {"ControlNetModel": ControlNetModel, "T2IAdapter": T2IAdapter}
    kind = kinds[read_json(folder / "config.json")["_class_name"]]
    net = kind.from_pretrained(folder, dtype=unet.dtype, local_files_only=True, use_safetensors=True)
    return net.to(unet.device).eval().requires_grad_(False)


def check_fit(net: Any, pipe: Any) -> None:
    """Refuse a control network that was made for another base than a pipeline's.

    Raises:
        ValueError: its channels, or the size of its pictures, are others.
    """
    settings = {**net.config, "_class_name": type(net).__name__}
    if wrong := fit_problem(settings, dict(pipe.unet.config), pipe.vae_scale_factor):
        raise ValueError(wrong)
