from pathlib import Path

from PIL import Image

from pipeline.evaluation.prepared_photos import prepared_digest


def test_prepared_pictures_are_known_by_their_pixels_alone(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "packed.png", compress_level=0)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "cut.png")

    def of(*names: str) -> str:
        return prepared_digest(tmp_path / f"{name}.png" for name in names)

    assert of("a", "b") == of("b", "c") == of("packed", "b") != of("a", "a")
    assert of("cut", "b") != of("a", "b") and of() != of("a")
