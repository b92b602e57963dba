import ctypes
from pathlib import Path

import pytest

from pipeline.training import native_library as native


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.load_library.cache_clear()
    yield
    native.load_library.cache_clear()


def source(folder: Path, text: str = "int answer(void) { return 42; }") -> Path:
    (folder / "small.c").write_text(text)
    return folder / "small.c"


def made(path: Path) -> ctypes.CDLL:
    library = native.load_library(path)
    if library is None:
        pytest.skip("no C compiler on this machine")
    return library


def test_it_is_compiled_once(monkeypatch, tmp_path: Path) -> None:
    assert made(source(tmp_path)).answer() == 42
    (kept,) = (tmp_path / "cache/dreamtrace").iterdir()
    assert kept.suffix == ".so"
    native.load_library.cache_clear()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("compiled again"))
    assert made(source(tmp_path)).answer() == 42


def test_another_text_is_another_library(tmp_path: Path) -> None:
    assert made(source(tmp_path)).answer() == 42
    native.load_library.cache_clear()
    assert made(source(tmp_path, "int answer(void) { return 43; }")).answer() == 43


def test_without_a_compiler(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert native.load_library(source(tmp_path)) is None
    assert native.load_library(source(tmp_path)) is None
    assert capsys.readouterr().out.count("no C compiler found") == 1


def test_what_a_compiler_complains_about_is_told(capsys, tmp_path: Path) -> None:
    made(source(tmp_path))
    native.load_library.cache_clear()
    assert native.load_library(source(tmp_path, "int answer(void) { return forty_two; }")) is None
    said = capsys.readouterr().out
    assert "could not compile small.c" in said and "forty_two" in said and "but slower" in said
    assert len(list((tmp_path / "cache/dreamtrace").iterdir())) == 1


def test_a_compiler_without_openmp_makes_a_library_with_one_thread(monkeypatch, tmp_path: Path) -> None:
    made(source(tmp_path))
    native.load_library.cache_clear()
    monkeypatch.setattr(native, "THREADS", "-fno-such-option")
    assert made(source(tmp_path, "int answer(void) { return 44; }")).answer() == 44
