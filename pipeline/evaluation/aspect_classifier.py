"""A small classifier of object, scene and style: what sees whether a picture shows what its prompt names."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first may halve the side."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(8, after), nn.GroupNorm(8, after)])
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(hidden)) + self.shortcut(x))


class Judge(nn.Module):
    """Pictures [batch, 3, size, size] in -1..1 -> one table of logits [batch, names] for each aspect."""

    def __init__(self, names: dict[str, list[str]], width: int = 32):
        super().__init__()
        self.names = names
        self.stem = nn.Conv2d(3, width, 4, 2, 1)
        sizes = [width, 2 * width, 4 * width, 6 * width]
        self.blocks = nn.Sequential(
            *(Block(before, after, 2) for before, after in itertools.pairwise(sizes)),
            Block(sizes[-1], sizes[-1], 1),
        )
        self.heads = nn.ModuleDict({aspect: nn.Linear(sizes[-1], len(found)) for aspect, found in names.items()})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.blocks(F.relu(self.stem(pixels))).mean(dim=(2, 3))
        return {aspect: head(hidden) for aspect, head in self.heads.items()}

    def save(self, path: Path) -> None:
        """Half-precision weights with the names of the classes in the header."""
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {key: value.detach().half().contiguous() for key, value in self.state_dict().items()}
        save_file(weights, path, {"names": json.dumps(self.names)})

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """What `save` wrote, in float32, ready to judge."""
        with safe_open(path, "pt") as file:
            judge = cls(json.loads(file.metadata()["names"]))
            judge.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()})  # noqa: SIM118
        return judge.eval().requires_grad_(False)


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in one picture; `things` are all objects, the likeliest first."""

    things: list[str]
    scene: str
    style: str


def judge_pictures(judge: Judge, pixels: torch.Tensor, batch: int = 100) -> list[Verdict]:
    """One verdict for each picture of `pixels` [count, 3, size, size], -1..1."""
    found = []
    with torch.inference_mode():
        for part in pixels.split(batch):
            logits = judge(part)
            order = logits["thing"].argsort(dim=1, descending=True)
            scenes, styles = logits["scene"].argmax(dim=1), logits["style"].argmax(dim=1)
            for row in range(len(part)):
                things = [judge.names["thing"][index] for index in order[row]]
                scene, style = judge.names["scene"][scenes[row]], judge.names["style"][styles[row]]
                found.append(Verdict(things, scene, style))
    return found


def named_in(text: str, phrases: Mapping[str, Sequence[str]]) -> str | None:
    """The name whose longest phrase stands in a text; None where none does."""
    found = [(len(words), name) for name, many in phrases.items() for words in many if words in text]
    return max(found)[1] if found else None
