"""Small charts as SVG text, for use inside the report: no script, no network, both colour schemes."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 300, 56, 44, 14


class Axes:
    """Maps values to places of one chart; `x` and `y` are (low, high)."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_name: str, y_name: str):
        self.x, self.y, self.names = _widened(x), _widened(y), (x_name, y_name)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Position of a point, in units of the picture."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - 12), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    def draw(self, shapes: Sequence[str], label: str) -> str:
        """The whole chart around its shapes; `label` is for screen readers."""
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" class="chart">']
        for value in np.linspace(*self.x, 5):
            at, base = self.place(float(value), self.y[0])
            parts.append(f'<text x="{at:.1f}" y="{base + 18:.1f}" text-anchor="middle">{_short(float(value))}</text>')
        for value in np.linspace(*self.y, 4):
            at, up = self.place(self.x[0], float(value))
            parts.append(f'<line class="rule" x1="{at:.1f}" y1="{up:.1f}" x2="{WIDTH - 12}" y2="{up:.1f}"/>')
            parts.append(f'<text x="{at - 6:.1f}" y="{up + 4:.1f}" text-anchor="end">{_short(float(value))}</text>')
        x_name, y_name = map(escape, self.names)
        parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x_name}</text>')
        turned = f'x="12" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 12 {HEIGHT / 2})"'
        parts.append(f"<text {turned}>{y_name}</text>")
        return "".join([*parts, *shapes, "</svg>"])


def scatter(series: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str, label: str) -> str:
    """Clouds of points, one class of colour a series ('base', 'tuned')."""
    points = [point for found in series.values() for point in found]
    axes = Axes(_range([x for x, _ in points]), _range([y for _, y in points]), x_name, y_name)
    dots = []
    for name, found in series.items():
        for x, y in found:
            at, up = axes.place(x, y)
            dots.append(f'<circle class="{name}" cx="{at:.1f}" cy="{up:.1f}" r="4"/>')
    return axes.draw(dots, label)


def histograms(series: Mapping[str, Sequence[float]], x_name: str, label: str, mark: float | None = None) -> str:
    """Two or more distributions over the same bins, as shares; `mark` is a line at a threshold."""
    values = [value for found in series.values() for value in found] + ([mark] if mark is not None else [])
    edges = np.linspace(*_widened(_range(values)), 25)
    shares = {name: np.histogram(found, edges)[0] / max(1, len(found)) for name, found in series.items()}
    axes = Axes(
        (float(edges[0]), float(edges[-1])), (0, max(float(found.max()) for found in shares.values())), x_name, "share"
    )
    bars = []
    for name, found in shares.items():
        for low, high, share in zip(edges[:-1], edges[1:], found, strict=True):
            if share:
                left, top = axes.place(float(low), float(share))
                right, base = axes.place(float(high), 0.0)
                size = f'width="{right - left - 1:.1f}" height="{base - top:.1f}"'
                bars.append(f'<rect class="{name}" x="{left:.1f}" y="{top:.1f}" {size}/>')
    if mark is not None:
        at, _ = axes.place(mark, 0)
        bars.append(f'<line class="mark" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}"/>')
    return axes.draw(bars, label)


def curve(points: Sequence[tuple[float, float, float]], chosen: float, x_name: str, y_name: str, label: str) -> str:
    """A line with a band of one standard error: (x, y, error) each; the chosen x is marked."""
    low, high = min(y - e for _, y, e in points), max(y + e for _, y, e in points)
    axes = Axes(_range([x for x, _, _ in points]), (low, high), x_name, y_name)
    above = [axes.place(x, y + e) for x, y, e in points]
    below = [axes.place(x, y - e) for x, y, e in reversed(points)]
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in above + below)
    line = " ".join("{:.1f},{:.1f}".format(*axes.place(x, y)) for x, y, _ in points)
    shapes = [f'<polygon class="band" points="{band}"/>', f'<polyline class="line" points="{line}"/>']
    for x, y, _ in points:
        at, up = axes.place(x, y)
        kind = "tuned chosen" if x == chosen else "tuned"
        shapes.append(f'<circle class="{kind}" cx="{at:.1f}" cy="{up:.1f}" r="{7 if x == chosen else 4}"/>')
    return axes.draw(shapes, label)


def _range(values: Sequence[float]) -> tuple[float, float]:
    return float(min(values)), float(max(values))


def _widened(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.2f}"
