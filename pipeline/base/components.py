"""Loading a pipeline folder into diffusers, the same way for every base and every tuned model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.resolve import check_complete

if TYPE_CHECKING:
    import torch


def best_device() -> str:
    """'cuda' where a GPU is at hand, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_dtype(precision: str) -> "torch.dtype":
    """The torch type of a `Precision` of params.yaml."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def load_pipeline(folder: Path, dtype: "torch.dtype", device: str) -> Any:
    """A `StableDiffusionPipeline` without safety checker, from local files only, in evaluation mode.

    The safety checker is left out because it blacks out harmless pictures of toys and is absent from tuned models.
    """
    from diffusers import StableDiffusionPipeline

    check_complete(folder, str(folder))
    pipe = StableDiffusionPipeline.from_pretrained(
        folder,
        torch_dtype=dtype,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        local_files_only=True,
        use_safetensors=True,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
