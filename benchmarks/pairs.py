"""Does a person tell two subjects apart? `python -m benchmarks.pairs OTHER --out FILE`, after `make demo`.

Ten random prompts of the suite `pocket`, each drawn by the demo's model and by a model of another subject that answers
to the same token (OTHER: its pipeline folder, such as a good one of `benchmarks.planted`), from the same noise. The two
stand side by side in random order; which is which is printed, a line a pair, for whoever has named them first.
"""

import argparse
import random
from pathlib import Path

from PIL import Image

from benchmarks.demo import draw
from pipeline.environment import prepare_environment
from pipeline.evaluation.suite import load_suite
from pipeline.layout import MODEL, PARAMS
from pipeline.params import load_params

PAIRS, IN_A_ROW = 10, 5
SIDE, GAP, BETWEEN = 124, 2, 10  # pixels of a picture as shown, between the two of a pair, and between pairs


def sheet(pairs: list[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """All pairs, `IN_A_ROW` in a row."""
    width, height = 2 * SIDE + GAP + BETWEEN, SIDE + BETWEEN
    rows = -(-len(pairs) // IN_A_ROW)
    found = Image.new("RGB", (IN_A_ROW * width - BETWEEN, rows * height - BETWEEN), "white")
    for at, pair in enumerate(pairs):
        for side, picture in enumerate(pair):
            shown = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            found.paste(shown, ((at % IN_A_ROW) * width + side * (SIDE + GAP), (at // IN_A_ROW) * height))
    return found


def main() -> None:
    """Draw the sheet and print the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="pipeline folder of the other subject's model")
    parser.add_argument("--own", type=Path, default=Path(MODEL), help="of the subject's (default: the demo's)")
    parser.add_argument("--seed", type=int, default=1, help="of prompts, noises and sides")
    parser.add_argument("--out", type=Path, required=True, help="where the sheet is written (PNG)")
    arguments = parser.parse_args()
    prepare_environment()
    params, chance = load_params(PARAMS), random.Random(arguments.seed)
    prompts = [prompt for prompt in load_suite("pocket", params.subject).prompts if prompt.kind == "subject"]
    texts = {prompt.id: prompt.text for prompt in chance.sample(prompts, PAIRS)}
    seeds = [chance.randrange(10**6)]
    own, other = (list(draw(model, texts, seeds, params).values()) for model in (arguments.own, arguments.other))
    pairs = []
    for text, one, two in zip(texts.values(), own, other, strict=True):
        first = chance.random() < 0.5
        pairs.append((one, two) if first else (two, one))
        print(f"{'left' if first else 'right'}: the subject of the demo; {text}")
    sheet(pairs).save(arguments.out)


if __name__ == "__main__":
    main()
