"""What a stage prints, passed on as it comes: progress bars too, DVC's advice about git not."""

import re
import sys
from collections.abc import Iterator
from typing import TextIO

# DVC's hints to a person who called it: the program commits and pushes by its own rules.
ADVICE = re.compile(
    r"\s*$|To track the changes with git, run:|\tgit add |To enable auto staging, run:"
    r"|\tdvc config core\.autostage true|Use `dvc push` to send your updates to remote storage"
)
# DVC's word that a stage failed, after the stage has said why.
SAID = re.compile(r"ERROR: failed to reproduce '.*': failed to run: .*, exited with (1|75)$")


def pass_on(chunks: Iterator[str | None], terminal: TextIO | None = None) -> Iterator[str | None]:
    """Print what comes (to stdout, unless `terminal` is another stream), without DVC's advice.

    Yields the finished lines, without the advice and of each progress bar the last state, and every None.
    """
    stream, line, printed = terminal or sys.stdout, "", 0

    def show() -> None:
        nonlocal printed
        stream.write(line[printed:])
        stream.flush()
        printed = len(line)

    def end() -> Iterator[str]:
        nonlocal line, printed
        if printed or not (ADVICE.match(line) or SAID.match(line.rstrip())):
            show()
        if not ADVICE.match(line) and (last := line.rstrip("\r\n").rpartition("\r")[2].strip()):
            yield last
        line, printed = "", 0

    for text in chunks:
        if text is None:
            show()
            yield None
            continue
        first, *others = text.split("\n")
        line += first
        for other in others:
            line += "\n"
            yield from end()
            line = other
        if "\r" in line:  # a bar; other text waits for its end, since it may be advice
            show()
    yield from end()
