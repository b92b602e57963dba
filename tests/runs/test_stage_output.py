"""What a stage prints reaches the terminal at once and as it was, except for what DVC says to people who call it."""

import io
from collections.abc import Iterator

import pytest

from pipeline.runs.stage_output import SAID, pass_on

DVC = """Running stage 'train':
> python -m pipeline.stages.train
\rtrain:  50%|##   | 1/2\rtrain: 100%|####| 2/2
a photo, taken
Updating lock file 'dvc.lock'

To track the changes with git, run:

\tgit add dvc.lock

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""


@pytest.mark.parametrize("size", [1, 2, 7, 10000])
def test_advice_is_left_out_however_the_text_is_cut(size: int) -> None:
    terminal = io.StringIO()
    lines = list(pass_on((DVC[start : start + size] for start in range(0, len(DVC), size)), terminal))
    wanted = [
        "Running stage 'train':",
        "> python -m pipeline.stages.train",
        "train: 100%|####| 2/2",
        "a photo, taken",
        "Updating lock file 'dvc.lock'",
    ]
    assert lines == wanted
    shown = terminal.getvalue()
    assert shown == DVC[: DVC.index("\n\nTo track") + 1]


def test_bars_and_questions_are_shown_before_their_line_ends() -> None:
    terminal, seen = io.StringIO(), []

    def output() -> Iterator[str | None]:
        yield "\rphotos: 1/2"
        seen.append(terminal.getvalue())
        yield "\rphotos: 2/2\nToken"
        seen.append(terminal.getvalue())
        yield None
        seen.append(terminal.getvalue())

    assert list(pass_on(output(), terminal)) == ["photos: 2/2", None, "Token"]
    assert seen == ["\rphotos: 1/2", "\rphotos: 1/2\rphotos: 2/2\n", "\rphotos: 1/2\rphotos: 2/2\nToken"]


def test_that_a_stage_failed_is_not_said_twice() -> None:
    said = "ERROR: failed to reproduce 'train': failed to run: python -m pipeline.stages.train, exited with "
    for status, shown in (("1", ""), ("75", ""), ("-9", f"{said}-9\n"), ("134", f"{said}134\n")):
        terminal = io.StringIO()
        assert list(pass_on(iter([f"{said}{status}\n"]), terminal)) == [f"{said}{status}"]
        assert terminal.getvalue() == shown
        assert bool(SAID.match(f"{said}{status}")) == (not shown)
