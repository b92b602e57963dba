"""The table of GPU memory in docs/training.md: `python -m benchmarks.memory [BASE]`.

Estimated, not measured (see pipeline/training/estimate.py). BASE is a pipeline folder, of which the configurations are
read; without one, a folder with Stable Diffusion v1.5's architecture is made.
"""

import sys
import tempfile
from pathlib import Path

import yaml

from pipeline.environment import prepare_environment
from pipeline.params import Train
from pipeline.runs.profiles import find_profile

RUNS = {
    "full fine-tuning, batch 8": {"gradient_checkpointing": False},
    "full fine-tuning, batch 8, gradient checkpointing": {"gradient_checkpointing": True},
    "full fine-tuning, batch 1": {"batch": 1, "gradient_checkpointing": False},
    "LoRA, batch 8": {"method": "dreambooth-lora", "gradient_checkpointing": False},
    "LoRA, batch 8, gradient checkpointing": {"method": "dreambooth-lora", "gradient_checkpointing": True},
    "LoRA, batch 1": {"method": "dreambooth-lora", "batch": 1, "gradient_checkpointing": False},
    "textual inversion, batch 1": {"method": "textual-inversion", "batch": 1, "gradient_checkpointing": False},
}


def main() -> None:
    prepare_environment()
    from pipeline.training.estimate import estimate_memory

    values = yaml.safe_load(find_profile("thesis").path.read_text(encoding="utf-8"))["train"]
    with tempfile.TemporaryDirectory() as name:
        base = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name)
        if len(sys.argv) == 1:
            from benchmarks.sd15 import make_sd15

            make_sd15(base)
        print("| run | weights | gradients | optimizer | activations | together, GB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for title, changes in RUNS.items():
            found = estimate_memory(base, Train.model_validate({**values, **changes}), 512, False, "mysks")
            sizes = (found.weights, found.gradients, found.optimizer, found.activations, found.peak)
            print(f"| {title} | " + " | ".join(f"{size / 1e9:.1f}" for size in sizes) + " |")


if __name__ == "__main__":
    main()
