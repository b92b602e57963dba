from typing import Any

import pytest

from pipeline.params import Draw
from pipeline.sampling.generation_request import LIMITS, MOST_PICTURES, GenerationRequestError, read_generation_request
from pipeline.sampling.recipe import recipe_of

OWN = {"steps": 20, "guidance": 3.0, "size": 64, "batch": 8, "scheduler": "ddim"}


def test_a_request_without_parameters_takes_the_model_s_own() -> None:
    generation = read_generation_request([("a toy", 3)], {}, OWN)
    assert (generation.steps, generation.guidance, generation.size) == (20, 3.0, 64)
    assert [(request.prompt, request.seed, request.negative) for request in generation.requests] == [("a toy", 3, "")]


def test_seeds_count_on_within_a_row() -> None:
    generation = read_generation_request([("a", 3), ("b", 9)], {"count": 2, "negative": "blur", "steps": 5}, OWN)
    found = [(request.prompt, request.seed, request.negative) for request in generation.requests]
    assert found == [("a", 3, "blur"), ("a", 4, "blur"), ("b", 9, "blur"), ("b", 10, "blur")]
    assert generation.steps == 5


@pytest.mark.parametrize(
    ("rows", "asked", "message"),
    [
        ([("", 0)], {}, "prompt must be a text, found ''"),
        ([(None, 0)], {}, "prompt must be a text, found None"),
        ([("x" * 2001, 0)], {}, "2001 characters"),
        ([("a", -1)], {}, "seed must be a whole number from 0"),
        ([("a", 2**32 - 1)], {"count": 2}, "seed must be"),
        ([("a", 1.5)], {}, "seed must be"),
        ([("a", 10**400)], {}, "seed must be a whole number from 0"),
        ([("a", 10**5000)], {}, "found a value that is too long to be shown"),
        ([("a", "9" * 5000)], {}, "found '9999"),
        ([("a", 0)], {"steps": 10**400}, "steps must be a whole number"),
        ([("a", 0)], {"steps": 0}, "steps must be a whole number from 1 to 500, found 0"),
        ([("a", 0)], {"steps": 501}, "found 501"),
        ([("a", 0)], {"guidance": float("nan")}, "guidance must be a number from 1 to 50"),
        ([("a", 0)], {"size": 66}, "multiple of 8, found 66"),
        ([("a", 0)], {"size": 100000}, "size must be"),
        ([("a", 0)], {"negative": 3}, "negative must be a text, found 3"),
        ([("a", 0)] * (MOST_PICTURES + 1), {}, "more than 64"),
        ([], {}, "no prompt"),
    ],
)
def test_what_is_impossible_is_refused(rows: list, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationRequestError, match=message):
        read_generation_request(rows, asked, OWN)


def test_drawings_behind_a_picture_count_for_the_limit_of_a_call() -> None:
    region = {"place": "left", "prompt": "a toy"}
    recipe = recipe_of({"best_of": 4, "regions": [region], "adapters": [{"model": "a"}]}, "it")
    assert recipe.drawings == 8  # four of the region and of the rest: an adapter without a place adds no layer
    read_generation_request([("a", 0)], {"count": 8}, OWN, recipe.drawings)
    with pytest.raises(GenerationRequestError, match="9 pictures, each of which costs 8"):
        read_generation_request([("a", 0)], {"count": 9}, OWN, recipe.drawings)


@pytest.mark.parametrize(
    ("regions", "places", "layers"),
    [
        ([], [], 1),
        (["left", "right"], [], 2),  # nothing is left to the picture's own prompt
        (["left"], ["top"], 4),
        ([], ["left", "top"], 4),
        ([[0, 0, 0.3, 1]], [[0.3, 0, 1, 1]], 2),
        ([[0, 0, 0.1 + 0.2, 1]], [[0.3, 0, 1, 1]], 2),  # whose edges differ by a rounding
    ],
)
def test_a_picture_costs_what_its_regions_and_the_places_of_adapters_cut_it_into(
    regions: list, places: list, layers: int
) -> None:
    parts = {
        "regions": [{"place": place, "prompt": "a toy"} for place in regions],
        "adapters": [{"model": "a", "place": place} for place in places],
    }
    assert recipe_of(parts, "it").drawings == layers


def test_a_call_whose_regions_are_cut_into_many_pieces_is_refused() -> None:
    at = [number / 20 for number in range(8)]
    regions = [{"place": [left, 0, left + 0.5, 1], "prompt": "a toy"} for left in at]
    adapters = [{"model": "a", "place": [0, top, 1, top + 0.5]} for top in at]
    recipe = recipe_of({"regions": regions, "adapters": adapters}, "it")
    assert recipe.drawings == 9 * 16  # eight regions and what they leave; at each height other adapters, or none
    with pytest.raises(GenerationRequestError, match="more than 64"):
        read_generation_request([("a", 0)], {}, OWN, recipe.drawings)


@pytest.mark.parametrize(("key", "end"), [("steps", 0), ("steps", 1), ("guidance", 0), ("guidance", 1)])
def test_what_a_model_can_be_judged_with_can_be_asked_for_and_nothing_beyond(key: str, end: int) -> None:
    value = LIMITS[key][end]
    draw = {"steps": 20, "guidance": 3.0, "scheduler": "ddim", "batch": 1}
    assert Draw.model_validate({**draw, key: value})
    read_generation_request([("a toy", 1)], {}, {**OWN, key: value})
    with pytest.raises(ValueError, match=key):
        Draw.model_validate({**draw, key: value + (1 if end else -1)})
