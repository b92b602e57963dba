"""Stage `prior`: class images drawn by the base, one seed each, for prior preservation."""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.base.resolve import resolve_base
from pipeline.files import digest_file, whole_folder, write_json
from pipeline.layout import PRIOR, PRIOR_INDEX
from pipeline.params import Params
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/prior/`: lossless pictures and `prior.json`, which names the base, each prompt and each seed.

    Raises:
        BaseNotFound: the base is not available.
    """
    prior = params.prior
    base = resolve_base(params.base)
    size = params.prepare.size or base.size
    images: list[dict[str, Any]] = [
        {
            "file": f"{index:04d}.png",
            "prompt": prior.prompts[index % len(prior.prompts)],
            "seed": prior.seed + index,
        }
        for index in range(prior.images)
    ]
    with whole_folder(workspace / PRIOR) as folder:
        if prior.images:
            from pipeline.sampling.sampler import Request, Sampler

            sampler = Sampler.load(base.folder, prior.draw.scheduler, prior.draw.precision, base.variant)
            requests = [Request(image["prompt"], image["seed"]) for image in images]
            drawn = sampler.draw(requests, prior.draw.steps, prior.draw.guidance, size, prior.draw.batch)
            for image, picture in tqdm(zip(images, drawn, strict=True), total=len(images), desc="class images"):
                picture.save(folder / image["file"], format="PNG")
                image["sha256"] = digest_file(folder / image["file"])
        made_by = {"model": base.model, "revision": base.revision, "digest": base.digest}
        write_json(folder / PRIOR_INDEX.name, {"base": made_by, "images": images})


if __name__ == "__main__":
    main(run)
