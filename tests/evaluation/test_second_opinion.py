from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.evaluation.drawn_picture import DrawnPicture
from pipeline.evaluation.known_interval import figure_words
from pipeline.evaluation.second_opinion import second_opinion
from pipeline.params import load_params

SETTINGS = load_params(Path(__file__).parents[2] / "params.yaml").evaluate.model_copy(update={"bootstrap": 200})


@dataclass(frozen=True)
class Content:
    """A judge that sees everything in every picture."""

    digest: str = "content"
    figure: str = "share"

    def scores(self, drawn):
        return [1.0 for _ in drawn]


@dataclass(frozen=True)
class Even(Content):
    """A judge that gives all pictures nearly the same."""

    def scores(self, drawn):
        return [0.5 + 1e-5 * (number % 3) for number, _ in enumerate(drawn)]


def test_an_interval_narrower_than_four_digits_is_known() -> None:
    drawn = [
        DrawnPicture(Path("x.png"), "tuned", "subject", f"p{at}", "light", "a toy", seed)
        for at in range(6)
        for seed in (1, 2)
    ]
    figures = second_opinion(Even(), drawn, [], SETTINGS)["models"]["tuned"]
    assert figure_words(figures) == "0.5000 (0.5000 to 0.5000)"


def test_a_judge_that_sees_everything_is_not_sure_that_it_always_will() -> None:
    places = [(f"p{at}", seed) for at in range(6) for seed in (1, 2)]
    tuned = [DrawnPicture(Path("x.png"), "tuned", "subject", name, "light", "a toy", seed) for name, seed in places]
    drawn = [replace(item, model=model) for model in ("base", "tuned", "recipe") for item in tuned]
    found = second_opinion(Content(), drawn, [], SETTINGS)
    for figures in found["models"].values():
        assert figures["value"] == figures["high"] == 1 and figures["low"] < 0.9
    assert found["gain"]["value"] == 0 and found["gain"]["low"] < 0 < found["gain"]["high"]
