"""What is wrong with a folder of photos, collected so that one message lists all of it."""

from pathlib import Path

from pipeline.errors import UserError


class PhotosError(UserError):
    """Photos or captions cannot be used; the message lists every problem with the file's name and what to do."""


class Problems:
    """Collects problems while a folder is looked through; `check` raises them all at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: list[tuple[str, str]] = []

    def add(self, name: str, what: str) -> None:
        """Note a problem of one file, or of the folder itself where `name` is empty."""
        self._found.append((name, what))

    def check(self) -> None:
        """Raise PhotosError if anything was noted; problems of one file stand together."""
        if not self._found:
            return
        lines = [f"  {name}: {what}" if name else f"  {what}" for name, what in sorted(self._found)]
        count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        raise PhotosError(f"{self.folder} has {count}:\n" + "\n".join(lines))
