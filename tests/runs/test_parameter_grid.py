"""A grid of parameters: its cells, or all that is wrong with it."""

import pytest

from pipeline.runs.parameter_grid import GridError, cells_of


def test_every_combination_is_a_cell() -> None:
    cells = cells_of({"train.steps": [100, 200], "prior.images": [0]}, (1, 2))
    assert [cell.title for cell in cells] == ["steps 100, prior.images 0", "steps 200, prior.images 0"]
    assert cells[1].overrides == {"train.steps": 200, "prior.images": 0}


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(GridError) as caught:
        cells_of({"evaluate.bootstrap": [10, 20], "gates.style": [1], "train.steps": [], "train.seed": [1, 2]}, (1, 1))
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "'evaluate.bootstrap' decides how settings are judged",
        "'gates.style' decides how settings are judged",
        "'train.steps' has no values",
        "the training seed has a field of its own",
        "the training seeds must differ from each other, found [1, 1]",
    ]
