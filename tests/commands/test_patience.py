"""A command that takes long says what it does, once, and not where its output goes."""

import threading

from pipeline.commands import app, patience


def test_every_command_that_is_named_exists() -> None:
    names = {command.name for command in app.app.registered_commands}
    names |= {group.name for group in app.app.registered_groups}
    assert set(patience.BUSY_WITH) <= names


def test_only_a_long_silence_is_broken(monkeypatch, capsys) -> None:
    monkeypatch.setattr(patience, "SILENT_S", 0.01)
    with patience.patience(["list"]):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "reading the registry ...\n")
    monkeypatch.setattr(patience, "SILENT_S", 60)
    for words in (["list"], ["up"], ["list", "--help"], []):
        with patience.patience(words):
            pass
    assert not any(isinstance(thread, threading.Timer) and thread.is_alive() for thread in threading.enumerate())
    assert capsys.readouterr().err == ""
