"""What is recorded of the processes that took part in a training."""

from typing import Any

import pytest

from pipeline.training.tries import tries_with

CPU: dict[str, Any] = {"code": {"commit": "a"}, "environment": {"python": "3.12"}, "device": "cpu"}
GPU = {**CPU, "device": "cuda"}
BEGAN, LATER = {"from_step": 0, **GPU}, {"from_step": 100, **CPU}


def test_a_training_that_goes_on_with_all_that_it_had_is_one_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert tries_with([BEGAN], 100, GPU) == [BEGAN]
    assert tries_with([BEGAN, LATER], 150, CPU) == [BEGAN, LATER]
    assert capsys.readouterr().out == ""


def test_a_training_that_goes_on_with_another_device_or_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert tries_with([BEGAN], 100, CPU) == [BEGAN, LATER]
    assert "from step 100 with other device (cuda before, cpu now) than before" in capsys.readouterr().out
    edited = {**GPU, "code": {"commit": "b"}, "environment": {"python": "3.13"}}
    assert tries_with([BEGAN], 100, edited) == [BEGAN, {"from_step": 100, **edited}]
    assert "other code and libraries or hardware than before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "held"),
    [(0, []), (50, [BEGAN]), (100, [BEGAN]), (101, [BEGAN, LATER])],
    ids=["all checkpoints damaged", "its own checkpoints damaged", "no checkpoint of its own", "its checkpoint whole"],
)
def test_a_try_of_which_no_checkpoint_is_left_counts_for_nothing(step: int, held: list[dict[str, Any]]) -> None:
    edited = {**CPU, "code": {"commit": "b"}}
    assert tries_with([BEGAN, LATER], step, edited) == [*held, {"from_step": step, **edited}]
