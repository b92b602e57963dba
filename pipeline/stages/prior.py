"""Stage `prior`: class images drawn by the base, one seed each, for prior preservation."""

from pathlib import Path

from tqdm import tqdm

from pipeline.base.resolve import resolve_base
from pipeline.files import digest_file, whole_folder, write_json
from pipeline.layout import PRIOR, PRIOR_INDEX
from pipeline.params import Params
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/prior/`: lossless pictures and `prior.json`, which names the base, the prompt and each seed.

    Raises:
        BaseNotFound: the base is not to be had.
    """
    prior = params.prior
    base = resolve_base(params.base)
    size = params.prepare.size or base.size
    names = [f"{index:04d}.png" for index in range(prior.images)]
    with whole_folder(workspace / PRIOR) as folder:
        if prior.images:
            from pipeline.sampling.sampler import Request, Sampler

            sampler = Sampler.load(base.folder, prior.draw.scheduler, prior.draw.precision, base.variant)
            requests = [Request(prior.prompt, prior.seed + index) for index in range(prior.images)]
            drawn = sampler.draw(requests, prior.draw.steps, prior.draw.guidance, size, prior.draw.batch)
            for name, picture in tqdm(zip(names, drawn, strict=True), total=len(names), desc="class images"):
                picture.save(folder / name, format="PNG")
        images = [
            {"file": name, "seed": prior.seed + index, "sha256": digest_file(folder / name)}
            for index, name in enumerate(names)
        ]
        made_by = {"model": base.model, "revision": base.revision, "digest": base.digest}
        write_json(folder / PRIOR_INDEX.name, {"prompt": prior.prompt, "base": made_by, "images": images})


if __name__ == "__main__":
    main(run)
