"""What the steps of a training read."""

from dataclasses import dataclass

import torch

from pipeline.training.captions import CaptionEncoder
from pipeline.training.stream import Stream


@dataclass(frozen=True)
class Inputs:
    """Streams of samples and the encoder of captions.

    `prior_states` are the hidden states [length, hidden] of the class captions by the base's own text encoder, where
    training changes that encoder and class samples are compared with the base's prediction; else empty.
    """

    streams: list[Stream]
    captions: CaptionEncoder
    prior_states: dict[str, torch.Tensor]
