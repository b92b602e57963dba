"""The comparison with other programs tells what went wrong in them, and what is missing before it writes gigabytes."""

from pathlib import Path

import pytest
import torch

from benchmarks.clients import CODE, difference, run_program, wrong_programs


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("exit 0", ""),
        ("echo 'unused: lora_x.alpha' >&2; echo other >&2", "1 complaints about keys:\nunused: lora_x.alpha"),
        ("echo 'KeyError: x' >&2; exit 1", "it failed:\nKeyError: x"),
    ],
)
def test_what_a_program_says_is_told(tmp_path: Path, does: str, told: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    out = tmp_path / "out.safetensors"
    assert run_program("comfyui", tmp_path, str(python), tmp_path / "in.safetensors", out, []) == told


def test_the_difference_is_relative_to_the_largest_number() -> None:
    wanted = {"U-Net": torch.tensor([0.0, -4.0]), "autoencoder": torch.ones(2), "text encoder": torch.ones(3)}
    found = {"U-Net": torch.tensor([1.0, -4.0]), "autoencoder": torch.ones(1)}
    assert difference(found, wanted) == {
        "U-Net": 0.25,
        "autoencoder": float("inf"),  # another shape
        "text encoder": float("inf"),  # missing
    }


def test_no_number_is_no_agreement() -> None:
    assert difference({"U-Net": torch.tensor([1.0, float("nan")])}, {"U-Net": torch.ones(2)}) == {"U-Net": float("inf")}


def test_a_folder_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    assert wrong_programs({}) == ["name a checkout: --comfyui, --sd-scripts or both"]
    wrong = wrong_programs({"sd-scripts": (tmp_path, "no-such-python")})
    assert [line.split(":")[0] for line in wrong] == ["--sd-scripts", "--sd-scripts-python"]
    (tmp_path / CODE["comfyui"]).parent.mkdir()
    (tmp_path / CODE["comfyui"]).touch()
    assert wrong_programs({"comfyui": (tmp_path, "sh")}) == []
