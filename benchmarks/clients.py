"""Exports in other programs: loaded by checkouts of ComfyUI and kohya's sd-scripts, and compared number by number.

    python -m benchmarks.clients --work FOLDER [--base FOLDER] [--exports NAME ...]
        [--comfyui CHECKOUT --comfyui-python PYTHON] [--sd-scripts CHECKOUT --sd-scripts-python PYTHON]

Nothing is trained: all weights that a method learns are changed at random, and exported as `dreamtrace export` does it.
Each checkout runs with an interpreter that has what it needs (default: this one). Without `--base` the base is Stable
Diffusion v1.5's architecture with random weights (4.3 GB); those programs know no other size. Needs 15 GB of disk.

Prints the largest difference of the text encoder's states, of the U-Net's prediction and of a decoded picture, against
diffusers, and what the changed weights make of them, both relative to the largest number. Ends with status 1 where a
difference is above 1e-4, where a program left out keys, or where it failed.
"""

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.environment import prepare_environment

prepare_environment()

LIMIT = 1e-4
PROGRAMS = {"comfyui": "load_in_comfyui.py", "sd-scripts": "load_in_sd_scripts.py"}
CODE = {"comfyui": "comfy/sd.py", "sd-scripts": "library/model_util.py"}  # what its checkout has
WORDS, VECTORS = 49408, 3  # of the base's tokenizer; learned
SIDE = 32  # of the latents
LORA = {"rank": 16, "alpha": 8, "dora": False, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Export:
    """A way to bring a model to another program: what is learned, and which of the files go there."""

    title: str
    settings: dict[str, Any]  # of `train`
    half: bool = False
    onto_base: bool = False  # the base as one file, and the learned files beside it


WHOLE = {"method": "dreambooth", "text_encoder": {"learn": True, "learning_rate": 1e-6}}
LAYERS = {**WHOLE, "method": "dreambooth-lora", "lora": LORA}
EXPORTS = {
    "whole": Export("one file", WHOLE),
    "half": Export("one file, --half", WHOLE, half=True),
    "merged": Export("one file of a LoRA model", LAYERS),
    "lora": Export("the base and kohya.safetensors", LAYERS, onto_base=True),
    "embedding": Export("the base and the embedding", {"method": "textual-inversion"}, onto_base=True),
}


def inputs(words: int = 0) -> Tensors:
    """Fixed noise, and ids [1, 77] that mean nothing; those of `words` learned rows are among them."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 40000, (1, 77), generator=random)
    ids[0, 0], ids[0, 40:] = 49406, 49407
    ids[0, 5 : 5 + words] = WORDS + torch.arange(words)
    return {
        "ids": ids,
        "noise": torch.randn(1, 4, SIDE, SIDE, generator=random),
        "time": torch.tensor([500]),
        "states": torch.randn(1, 77, 768, generator=random),
        "latents": torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=random),
    }


@torch.inference_mode()
def expected(model: Path, given: Tensors, rounded: Callable[[str, torch.Tensor], torch.Tensor] | None) -> Tensors:
    """What diffusers computes from a model folder, whose weights, but for learned words, go through `rounded` first."""
    from pipeline.base.components import load_pipeline

    pipe = load_pipeline(model, torch.float32, "cpu")
    table = pipe.text_encoder.get_input_embeddings().weight
    learned = table[WORDS:].clone()
    for module in (pipe.text_encoder, pipe.unet, pipe.vae) if rounded is not None else ():
        for name, parameter in module.named_parameters():
            parameter.copy_(rounded(name, parameter).float())
    table[WORDS:] = learned  # their file is never in half precision
    return {
        "text encoder": pipe.text_encoder(given["ids"]).last_hidden_state,
        "U-Net": pipe.unet(given["noise"], given["time"], given["states"]).sample,
        "autoencoder": pipe.vae.decode(given["latents"]).sample,
    }


def difference(found: Tensors, wanted: Tensors) -> dict[str, float]:
    """The largest difference of each part, relative to the largest number wanted; infinite where shapes differ or a
    part is missing or not finite.
    """
    return {
        name: _off(found[name].float(), value) if name in found and found[name].shape == value.shape else float("inf")
        for name, value in wanted.items()
    }


def _off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    off = float((found - wanted).abs().max() / wanted.abs().max())
    return off if math.isfinite(off) else float("inf")


def write_model(base: Path, model: Path, train: dict[str, Any]) -> None:
    """The model folder of a training that changed every weight that it learns."""
    from benchmarks.disk import write_version

    def change(parameter: torch.nn.Parameter) -> None:
        spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
        parameter.add_(torch.randn_like(parameter) * (0.1 * spread or 0.02))

    torch.manual_seed(2)
    write_version(base, model, train, change)


def run_program(program: str, checkout: Path, python: str, given: Path, out: Path, files: list[str]) -> str:
    """Run a loader with the interpreter of a checkout; returns what went wrong, nothing if all is well."""
    loader = Path(__file__).with_name(PROGRAMS[program])
    command = [python, str(loader), str(checkout), str(given), str(out), *files]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    if done.returncode:
        return "\n".join(["it failed:", *lines[-12:]])
    unused = [line for line in lines if line.startswith("unused: ")]
    return "\n".join([f"{len(unused)} complaints about keys:", *unused[:5]]) if unused else ""


def wrong_programs(programs: dict[str, tuple[Path, str]]) -> list[str]:
    """What is wrong with checkouts and interpreters, before gigabytes are written."""
    if not programs:
        return ["name a checkout: --comfyui, --sd-scripts or both"]
    found = []
    for name, (checkout, python) in programs.items():
        if not (checkout / CODE[name]).is_file():
            found.append(f"--{name}: {checkout} has no {CODE[name]}; name a checkout of {name}")
        if shutil.which(python) is None:
            found.append(f"--{name}-python: {python} is no program; name the interpreter that {name} runs with")
    return found


def compare(
    base: Path, work: Path, train: dict[str, Any], programs: dict[str, tuple[Path, str]], names: list[str]
) -> Iterator[tuple[str, str, dict[str, float], dict[str, float], str]]:
    """Program, export, differences, what the changed weights make of the outputs, and what went wrong, one after the
    other.
    """
    from pipeline.training.single_file import to_half, write_single_file

    untouched = expected(base, inputs(), None)
    for name in names:
        export, folder = EXPORTS[name], work / "export"
        shutil.rmtree(folder, ignore_errors=True)
        model, file = folder / "model", folder / "exported.safetensors"
        write_model(base, model, {**train, **export.settings, "token": {**train["token"], "vectors": VECTORS}})
        given = inputs(VECTORS)
        save_file(given, folder / "inputs.safetensors")
        wanted = expected(model, given, to_half if export.half else None)
        write_single_file(base if export.onto_base else model, file, {}, WORDS, export.half)
        beside = {"--embedding": sorted((model / "embeddings").glob("*.safetensors"))}
        if export.onto_base:
            beside["--lora"] = sorted((model / "adapters").glob("kohya.safetensors"))
        files = [str(file), *(f"{option}={path}" for option, paths in beside.items() for path in paths)]
        for program, (checkout, python) in programs.items():
            out = folder / f"{program}.safetensors"
            wrong = run_program(program, checkout, python, folder / "inputs.safetensors", out, files)
            found = load_file(out) if out.is_file() else {}
            yield program, export.title, difference(found, wanted), difference(wanted, untouched), wrong
        shutil.rmtree(folder)


def main() -> int:
    import yaml

    from benchmarks.sd15 import make_sd15
    from pipeline.runs.profiles import find_profile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for base and exports")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--exports", nargs="+", default=list(EXPORTS), choices=EXPORTS)
    for program in PROGRAMS:
        parser.add_argument(f"--{program}", type=Path, metavar="CHECKOUT", dest=program)
        parser.add_argument(f"--{program}-python", default=sys.executable, metavar="PYTHON", dest=f"{program} python")
    asked = vars(parser.parse_args())
    programs = {name: (asked[name].resolve(), asked[f"{name} python"]) for name in PROGRAMS if asked[name]}
    if wrong := wrong_programs(programs):
        parser.error("; ".join(wrong))
    work, base = asked["work"].resolve(), asked["base"] or asked["work"].resolve() / "base"
    if not (base / "model_index.json").is_file():
        make_sd15(base)
    train = yaml.safe_load(find_profile("thesis").path.read_text())["train"]
    parts = ("text encoder", "U-Net", "autoencoder")
    print(f"| program | export | {' | '.join(parts)} |\n| --- | --- | {' | '.join(['---:'] * len(parts))} |")
    failed = False
    for program, title, off, learned, wrong in compare(base, work, train, programs, asked["exports"]):
        cells = [f"{off[part]:.1e} (learned {learned[part]:.1e})" for part in parts]
        print(f"| {program} | {title} | {' | '.join(cells)} |", flush=True)
        if wrong:
            print(f"{program}, {title}: {wrong}", file=sys.stderr, flush=True)
        failed |= bool(wrong) or max(off.values()) > LIMIT
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
