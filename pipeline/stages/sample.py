"""Stage `sample`: the suite's prompts drawn by the tuned model, their twins by the base, with the same seeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.base.resolve import resolve_base
from pipeline.evaluation.suite import Prompt, load_suite
from pipeline.files import digest_file, whole_folder, write_jsonl
from pipeline.layout import MODEL, SAMPLES, SAMPLES_INDEX
from pipeline.params import Params
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/samples/`: `tuned/*.png`, `base/*.png` and `samples.jsonl`, one line a picture.

    Raises:
        SuiteError: sample.suite names no suite that can be used.
        BaseNotFound: the base is not to be had.
    """
    from pipeline.sampling.sampler import Request, Sampler

    draw, seeds = params.sample.draw, params.sample.seeds
    suite = load_suite(params.sample.suite, params.subject)
    base = resolve_base(params.base)
    size = params.prepare.size or base.size
    rows: list[dict[str, Any]] = []
    with whole_folder(workspace / SAMPLES) as folder:
        for model, source, variant in (("tuned", workspace / MODEL, None), ("base", base.folder, base.variant)):
            (folder / model).mkdir()
            sampler = Sampler.load(source, draw.scheduler, draw.precision, variant)
            wanted = list(_wanted(suite.prompts, seeds, model))
            requests = [Request(text, seed) for _, text, seed in wanted]
            pictures = sampler.draw(requests, draw.steps, draw.guidance, size, draw.batch)
            bar = tqdm(zip(wanted, pictures, strict=True), total=len(wanted), desc=f"{model} model", unit="image")
            for (prompt, text, seed), picture in bar:
                file = f"{model}/{prompt.id}-{seed}.png"
                picture.save(folder / file, format="PNG")
                rows.append(
                    {
                        "file": file,
                        "model": model,
                        "prompt_id": prompt.id,
                        "group": prompt.group,
                        "kind": prompt.kind,
                        "prompt": text,
                        "twin": prompt.twin,
                        "seed": seed,
                        "sha256": digest_file(folder / file),
                    }
                )
            del sampler
        write_jsonl(folder / SAMPLES_INDEX.name, rows)


def _wanted(prompts: tuple[Prompt, ...], seeds: list[int], model: str) -> Iterator[tuple[Prompt, str, int]]:
    for prompt in prompts:
        for seed in seeds:
            yield prompt, prompt.text if model == "tuned" else prompt.twin, seed


if __name__ == "__main__":
    main(run)
