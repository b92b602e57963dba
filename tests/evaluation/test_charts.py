from xml.etree import ElementTree

from pipeline.evaluation import charts


def shapes(text: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(tag))


def test_every_point_is_a_dot_in_its_place() -> None:
    text = charts.scatter({"base": [(0.0, 0.0)], "tuned": [(1.0, 2.0), (0.5, 1.0)]}, "x & y", "up", "<dots>")
    dots = [(dot.get("class"), float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in shapes(text, "circle")]
    base, corner, middle = dots
    assert [name for name, *_ in dots] == ["base", "tuned", "tuned"]
    assert base[1] < middle[1] < corner[1]
    assert base[2] > middle[2] > corner[2]
    assert ElementTree.fromstring(text).get("aria-label") == "<dots>"


def test_the_bars_of_a_histogram_hold_all_values() -> None:
    text = charts.histograms({"base": [0.0, 0.0, 1.0], "tuned": [1.0]}, "x", "bars", mark=0.5)
    bars = [(bar.get("class"), float(bar.get("height", 0))) for bar in shapes(text, "rect")]
    assert [name for name, _ in bars] == ["base", "base", "tuned"]
    assert abs(bars[0][1] - 2 * bars[1][1]) < 0.2
    assert [line.get("class") for line in shapes(text, "line")][-1] == "mark"


def test_a_flat_curve_and_a_single_candidate_can_be_drawn() -> None:
    text = charts.curve([(100, 0.5, 0.0)], 100, "step", "merit", "one")
    assert [dot.get("class") for dot in shapes(text, "circle")] == ["tuned chosen"]
