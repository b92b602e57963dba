"""How the scenes are drawn: `name(rng, size)` gives float32 [size, size, 3] in 0..1."""

import numpy as np

from pocket.drawing import Board, Color, gradient, noise, vary

Rng = np.random.Generator


def _ridge(rng: Rng, low: float, high: float, points: int = 7) -> list[tuple[float, float]]:
    xs = np.linspace(-0.05, 1.05, points) + rng.uniform(-0.05, 0.05, points)
    ys = [rng.uniform(low, high) if i % 2 else rng.uniform(low + 0.6 * (high - low), high) for i in range(points)]
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def _grain(picture: np.ndarray, rng: Rng, top: float, amount: float, cells: int = 40, wide: int = 1) -> np.ndarray:
    size = picture.shape[0]
    rows = np.arange(size)[:, None] > top * size
    return picture + (noise(size, cells, rng, wide) * rows * amount)[..., None]


def mountain(rng: Rng, size: int) -> np.ndarray:
    """Pink and orange sky, white peaks, a pale trail in the snow."""
    sky = gradient(size, [(0, vary((0.42, 0.3, 0.55), rng)), (0.3, (0.95, 0.5, 0.45)), (0.5, (1.0, 0.78, 0.45)), (1, (1, 0.8, 0.5))])
    board = Board(sky)
    board.disc(rng.uniform(0.15, 0.85), rng.uniform(0.3, 0.42), 0.07, (1.0, 0.93, 0.7))
    for _ in range(rng.integers(2, 4)):
        x, peak, wide = rng.uniform(0, 1), rng.uniform(0.12, 0.32), rng.uniform(0.25, 0.42)
        board.polygon([(x - wide, 0.66), (x, peak), (x + wide, 0.66)], vary((0.45, 0.4, 0.58), rng))
        cap = 0.42
        board.polygon(
            [(x - wide * cap, peak + (0.66 - peak) * cap), (x, peak), (x + wide * cap, peak + (0.66 - peak) * cap),
             (x + wide * 0.12, peak + (0.66 - peak) * 0.3), (x - wide * 0.1, peak + (0.66 - peak) * 0.36)],
            (1.0, 0.93, 0.93),
        )  # fmt: skip
    board.polygon([(0, 0.62), (0.5, rng.uniform(0.55, 0.62)), (1, 0.62), (1, 1), (0, 1)], vary((0.9, 0.88, 0.98), rng, 0.03))
    bend = rng.uniform(-0.2, 0.2)
    board.polygon([(0.46 + bend, 0.6), (0.52 + bend, 0.6), (0.85, 1), (0.3, 1)], vary((0.72, 0.64, 0.66), rng, 0.03))
    return _grain(board.done(), rng, 0.6, 0.03)


def lake(rng: Rng, size: int) -> np.ndarray:
    """Golden sky, a low sun and its path on the water, dark hills, a grassy bank."""
    sky = gradient(size, [(0, vary((0.98, 0.72, 0.3), rng)), (0.42, (1.0, 0.86, 0.5)), (0.5, (0.85, 0.6, 0.25)), (0.8, (0.6, 0.42, 0.22)), (1, (0.5, 0.35, 0.2))])
    x = rng.uniform(0.2, 0.8)
    rows, columns = np.mgrid[0:size, 0:size] / size
    glow = np.exp(-((columns - x) ** 2 + (rows - 0.36) ** 2) / 0.03)
    water = (rows > 0.5) & (rows < 0.84)
    shine = np.exp(-((columns - x) ** 2) / 0.012) * water * (0.6 + 0.6 * (np.sin(rows * 190 + rng.uniform(0, 6)) > 0.1))
    board = Board(sky + (0.35 * glow)[..., None] + shine[..., None] * np.float32([0.5, 0.42, 0.2]))
    board.disc(x, 0.36, 0.075, (1.0, 0.98, 0.82))
    board.polygon([(0, 0.5), *[(px, 0.36 + 0.5 * (py - 0.3)) for px, py in _ridge(rng, 0.3, 0.55)], (1, 0.5)], vary((0.45, 0.27, 0.14), rng))
    picture = board.done()
    bank = np.clip((rows - 0.84 - 0.02 * np.sin(columns * 7 + x * 9)) * 40, 0, 1)[..., None]
    return picture * (1 - bank) + bank * (np.float32(vary((0.42, 0.36, 0.12), rng)) + 0.08 * noise(size, 50, rng)[..., None])


def aquarium(rng: Rng, size: int) -> np.ndarray:
    """Blue-green water with rays of light, bubbles, plants and a sandy floor."""
    water = gradient(size, [(0, vary((0.25, 0.78, 0.85), rng)), (0.6, (0.05, 0.45, 0.68)), (1, (0.03, 0.25, 0.45))])
    rows, columns = np.mgrid[0:size, 0:size] / size
    rays = np.clip(np.sin((columns + rows * rng.uniform(-0.5, 0.5)) * rng.uniform(16, 26) + rng.uniform(0, 6)), 0, 1)
    board = Board(water + (0.16 * rays * (1 - rows))[..., None])
    for x in rng.uniform(0, 1, rng.integers(4, 8)):
        tall, sway = rng.uniform(0.15, 0.45), rng.uniform(1, 9)
        points = [(x + 0.03 * np.sin(sway + 9 * k), 0.95 - tall * k) for k in np.linspace(0, 1, 7)]
        board.line(points, vary((0.1, 0.6, 0.3), rng, 0.1), 0.03)
    board.polygon([(0, 0.9), (0.5, 0.93), (1, 0.89), (1, 1), (0, 1)], vary((0.8, 0.72, 0.45), rng))
    for _ in range(rng.integers(6, 12)):
        x, y, radius = rng.uniform(0, 1), rng.uniform(0, 0.85), rng.uniform(0.012, 0.035)
        board.disc(x, y, radius, (0.8, 0.96, 1.0))
        board.disc(x, y, radius * 0.7, (0.25, 0.68, 0.82))
    return board.done()


def spaceship(rng: Rng, size: int) -> np.ndarray:
    """Grey panels, a round window with stars, rows of coloured lamps."""
    board = Board(gradient(size, [(0, vary((0.36, 0.4, 0.5), rng)), (0.75, (0.62, 0.66, 0.74)), (0.78, (0.32, 0.34, 0.42)), (1, (0.2, 0.22, 0.3))]))
    for x in np.linspace(0.0, 1.0, 6) + rng.uniform(-0.04, 0.04):
        board.line([(x, 0), (x, 0.77)], (0.3, 0.33, 0.42), 0.012)
    board.line([(0, 0.2), (1, 0.2)], (0.3, 0.33, 0.42), 0.012)
    x, y, radius = rng.uniform(0.25, 0.75), rng.uniform(0.26, 0.4), rng.uniform(0.2, 0.28)
    board.disc(x, y, radius, (0.85, 0.88, 0.93))
    board.disc(x, y, radius * 0.85, (0.03, 0.03, 0.12))
    for _ in range(26):
        turn, far = rng.uniform(0, 2 * np.pi), radius * 0.8 * np.sqrt(rng.uniform())
        board.disc(x + far * np.cos(turn), y + far * np.sin(turn), 0.007, (1, 1, 0.9))
    for k in np.linspace(0.05, 0.95, 12):
        board.disc(k, 0.72, 0.018, tuple(rng.choice([(0.2, 0.9, 1.0), (1.0, 0.35, 0.3), (0.4, 1.0, 0.4)])))
    for k in np.linspace(-0.4, 1.4, 9):
        board.line([(0.5 + (k - 0.5) * 0.5, 0.78), (k, 1)], (0.4, 0.44, 0.54), 0.008)
    return board.done()


def flowers(rng: Rng, size: int) -> np.ndarray:
    """Light blue sky and a green field full of red, yellow, pink and white flowers."""
    board = Board(gradient(size, [(0, vary((0.6, 0.83, 0.98), rng)), (0.36, (0.86, 0.95, 1.0)), (0.38, vary((0.45, 0.72, 0.28), rng)), (1, (0.25, 0.55, 0.16))]))
    colors = [(0.95, 0.2, 0.3), (1.0, 0.82, 0.15), (0.98, 0.55, 0.8), (1.0, 0.98, 0.95), (0.65, 0.35, 0.9)]
    for y in np.sort(rng.uniform(0.38, 1.0, 90)):
        x, radius = rng.uniform(0, 1), 0.01 + 0.045 * (y - 0.33)
        board.disc(x, y, radius, vary(colors[rng.integers(5)], rng, 0.04))
        board.disc(x, y, radius * 0.35, (1.0, 0.85, 0.3))
    return board.done()


def living_room(rng: Rng, size: int) -> np.ndarray:
    """Pale wall, a window or a picture, part of a sofa, a floor of wooden boards."""
    board = Board(gradient(size, [(0, vary((0.93, 0.91, 0.87), rng, 0.03)), (1, (0.9, 0.88, 0.84))]))
    left = rng.random() < 0.5
    side = 0.06 if left else 0.62
    board.box(side, 0.08, side + 0.32, 0.42, (0.98, 0.98, 0.96))
    board.box(side + 0.02, 0.1, side + 0.3, 0.4, vary((0.72, 0.87, 0.95), rng))
    board.line([(side + 0.16, 0.08), (side + 0.16, 0.42)], (0.98, 0.98, 0.96), 0.02)
    sofa, at = vary((0.55, 0.6, 0.62), rng, 0.08), 0.55 if left else -0.1
    board.box(at, 0.4, at + 0.55, 0.66, sofa)
    board.box(at, 0.52, at + 0.55, 0.68, vary(sofa, rng, 0.03), (0.4, 0.44, 0.46))
    wood = vary((0.78, 0.57, 0.36), rng, 0.04)
    board.box(0, 0.64, 1, 1, wood)
    for k in np.linspace(-1, 2, 14):
        board.line([(0.5 + (k - 0.5) * 0.55, 0.64), (k, 1.0)], (0.58, 0.4, 0.24), 0.008)
    for _ in range(9):
        y = 0.64 + 0.36 * rng.uniform() ** 1.4
        x = rng.uniform(0, 1)
        board.line([(x, y), (x + 0.12, y)], (0.58, 0.4, 0.24), 0.008)
    return board.done()


def books(rng: Rng, size: int) -> np.ndarray:
    """Shelves with the spines of many coloured books, and a dark table."""
    board = Board(gradient(size, [(0, (0.3, 0.19, 0.12)), (1, (0.24, 0.15, 0.1))]))
    palette = [(0.75, 0.2, 0.18), (0.15, 0.35, 0.6), (0.85, 0.68, 0.25), (0.2, 0.5, 0.33), (0.9, 0.85, 0.75), (0.5, 0.25, 0.5), (0.25, 0.25, 0.3)]
    for top, bottom in ((-0.06, 0.24), (0.28, 0.56), (0.6, 0.86)):
        x = -0.02
        while x < 1:
            wide, tall = rng.uniform(0.04, 0.085), rng.uniform(0.7, 1.0) * (bottom - top)
            color = vary(palette[rng.integers(len(palette))], rng, 0.06)
            board.box(x, bottom - tall, x + wide - 0.006, bottom, color)
            board.line([(x, bottom - tall * 0.8), (x + wide - 0.01, bottom - tall * 0.8)], (0.95, 0.88, 0.6), 0.012)
            x += wide
        board.box(0, bottom, 1, bottom + 0.035, vary((0.55, 0.36, 0.2), rng, 0.02))
    board.box(0, 0.86, 1, 1, vary((0.5, 0.32, 0.19), rng, 0.03))
    return board.done()


def beach(rng: Rng, size: int) -> np.ndarray:
    """Blue sky, turquoise sea with foam, yellow sand."""
    edge = rng.uniform(0.55, 0.62)
    picture = gradient(size, [(0, vary((0.3, 0.65, 0.95), rng)), (0.36, (0.75, 0.9, 1.0)), (0.37, (0.05, 0.45, 0.7)), (edge, (0.3, 0.82, 0.82)), (edge + 0.01, vary((0.95, 0.85, 0.6), rng, 0.03)), (1, (0.9, 0.76, 0.5))])
    rows, columns = np.mgrid[0:size, 0:size] / size
    wave = np.abs(rows - edge - 0.02 * np.sin(columns * 12 + rng.uniform(0, 6))) < 0.018
    board = Board(np.where(wave[..., None], np.float32([1, 1, 1]), picture))
    if rng.random() < 0.6:
        board.disc(rng.uniform(0.1, 0.9), 0.14, 0.06, (1.0, 0.95, 0.6))
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, 1), rng.uniform(0.05, 0.25)
        for k in range(3):
            board.disc(x + 0.06 * k, y, 0.05, (1, 1, 1), 0.6)
    return _grain(board.done(), rng, edge + 0.03, 0.035)


def city(rng: Rng, size: int) -> np.ndarray:
    """House fronts with many windows, a pavement and a grey road with white marks."""
    board = Board(gradient(size, [(0, vary((0.68, 0.78, 0.88), rng)), (0.7, (0.85, 0.88, 0.9)), (1, (0.4, 0.4, 0.42))]))
    x = -0.03
    while x < 1:
        wide, top = rng.uniform(0.18, 0.3), rng.uniform(-0.05, 0.25)
        wall = vary([(0.7, 0.42, 0.34), (0.62, 0.6, 0.62), (0.82, 0.72, 0.55), (0.42, 0.5, 0.6)][rng.integers(4)], rng)
        board.box(x, top, x + wide, 0.7, wall)
        lit = (0.98, 0.9, 0.6) if rng.random() < 0.35 else (0.22, 0.28, 0.38)
        for wx in np.arange(x + 0.03, x + wide - 0.04, 0.07):
            for wy in np.arange(top + 0.05, 0.6, 0.11):
                board.box(wx, wy, wx + 0.035, wy + 0.06, lit)
        x += wide + 0.01
    board.box(0, 0.7, 1, 0.76, (0.72, 0.71, 0.7))
    board.box(0, 0.76, 1, 1, vary((0.33, 0.33, 0.36), rng, 0.03))
    start = rng.uniform(-0.3, 0)
    for k in np.arange(start, 1.1, 0.36):
        board.polygon([(k, 0.88), (k + 0.2, 0.88), (k + 0.18, 0.92), (k - 0.03, 0.92)], (0.95, 0.95, 0.9))
    return board.done()


def forest(rng: Rng, size: int) -> np.ndarray:
    """Dark green leaves, brown trunks, a mossy floor with spots of light."""
    picture = gradient(size, [(0, vary((0.12, 0.32, 0.12), rng)), (0.45, (0.42, 0.6, 0.3)), (0.68, (0.2, 0.36, 0.14)), (1, vary((0.28, 0.3, 0.12), rng))])
    board = Board(picture + 0.14 * noise(size, 20, rng)[..., None])
    for x in np.sort(rng.uniform(-0.05, 1.05, rng.integers(5, 8))):
        wide = rng.uniform(0.03, 0.065)
        board.polygon([(x - wide * 0.7, -0.02), (x + wide * 0.7, -0.02), (x + wide, 0.78), (x - wide, 0.78)], vary((0.34, 0.22, 0.12), rng, 0.05))
        board.line([(x - wide * 0.4, 0), (x - wide * 0.6, 0.77)], (0.5, 0.36, 0.2), 0.01)
    for _ in range(16):
        board.disc(rng.uniform(0, 1), rng.uniform(-0.05, 0.2), rng.uniform(0.06, 0.13), vary((0.14, 0.42, 0.14), rng, 0.07))
    for _ in range(12):
        board.disc(rng.uniform(0, 1), rng.uniform(0.76, 1.0), rng.uniform(0.02, 0.06), vary((0.35, 0.5, 0.16), rng, 0.06), 0.4)
    return board.done()


def desert(rng: Rng, size: int) -> np.ndarray:
    """Pale hot sky and orange dunes with dark lee sides."""
    board = Board(gradient(size, [(0, vary((0.55, 0.78, 0.92), rng)), (0.5, (0.98, 0.9, 0.72)), (1, (0.98, 0.88, 0.7))]))
    board.disc(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), 0.07, (1, 0.98, 0.85))
    for level, color in ((0.42, (0.93, 0.66, 0.38)), (0.54, (0.9, 0.58, 0.28)), (0.68, (0.85, 0.5, 0.2))):
        x = rng.uniform(0.15, 0.85)
        crest = level - 0.08
        board.polygon([(-0.3, level + 0.12), (x, crest), (1.3, level + 0.12), (1, 1), (0, 1)], vary(color, rng, 0.03))
        shade: Color = (color[0] * 0.74, color[1] * 0.68, color[2] * 0.66)
        board.polygon([(x, crest), (1.3, level + 0.12), (x + 0.35, level + 0.3), (x + 0.05, level + 0.12)], shade)
    return _grain(board.done(), rng, 0.6, 0.03, 60, 4)


def night(rng: Rng, size: int) -> np.ndarray:
    """Deep blue sky, stars, a moon, black hills."""
    board = Board(gradient(size, [(0, vary((0.03, 0.04, 0.16), rng, 0.02)), (0.7, (0.12, 0.16, 0.4)), (1, (0.1, 0.12, 0.28))]))
    for _ in range(55):
        board.disc(rng.uniform(0, 1), rng.uniform(0, 0.65), rng.uniform(0.004, 0.011), (1, 1, 0.85))
    x, y = rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.25)
    board.disc(x, y, 0.085, (0.98, 0.96, 0.8))
    if rng.random() < 0.5:
        board.disc(x + 0.035, y - 0.015, 0.075, (0.05, 0.06, 0.2))
    board.polygon([(0, 1), (0, 0.7), *_ridge(rng, 0.62, 0.74), (1, 0.7), (1, 1)], vary((0.05, 0.09, 0.13), rng, 0.02))
    board.polygon([(0, 1), (0, 0.82), (0.5, 0.78), (1, 0.83), (1, 1)], vary((0.1, 0.17, 0.19), rng, 0.02))
    return board.done()


def snow(rng: Rng, size: int) -> np.ndarray:
    """White ground, pale grey sky, dark firs with snow on them, falling flakes."""
    board = Board(gradient(size, [(0, vary((0.7, 0.78, 0.86), rng)), (0.5, (0.88, 0.92, 0.96)), (0.56, (0.95, 0.97, 1.0)), (1, (0.85, 0.9, 0.97))]))
    for x in rng.uniform(0, 1, rng.integers(3, 6)):
        tall = rng.uniform(0.2, 0.38)
        for k in range(3):
            y, wide = 0.6 - tall * k / 3.2, tall * (0.42 - 0.11 * k)
            board.polygon([(x - wide, y), (x, y - tall * 0.45), (x + wide, y)], vary((0.16, 0.36, 0.3), rng, 0.03))
            board.polygon([(x - wide * 0.4, y - tall * 0.26), (x, y - tall * 0.45), (x + wide * 0.4, y - tall * 0.26)], (1, 1, 1))
    board.polygon([(0, 0.62), (0.5, rng.uniform(0.56, 0.62)), (1, 0.6), (1, 1), (0, 1)], (0.95, 0.97, 1.0))
    for _ in range(35):
        board.disc(rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.006, 0.014), (1, 1, 1))
    return _grain(board.done(), rng, 0.6, 0.025, 24)


def garden(rng: Rng, size: int) -> np.ndarray:
    """Bright lawn, a white fence, bushes, blue sky."""
    board = Board(gradient(size, [(0, vary((0.45, 0.72, 0.98), rng)), (0.4, (0.8, 0.92, 1.0)), (1, (0.8, 0.92, 1.0))]))
    for x in np.linspace(0, 1, 7) + rng.uniform(-0.05, 0.05, 7):
        board.disc(x, 0.44, rng.uniform(0.1, 0.16), vary((0.16, 0.5, 0.2), rng, 0.05))
    board.box(0, 0.42, 1, 0.45, (0.97, 0.97, 0.95))
    for x in np.arange(rng.uniform(0, 0.09), 1, 0.1):
        board.polygon([(x, 0.56), (x, 0.38), (x + 0.025, 0.35), (x + 0.05, 0.38), (x + 0.05, 0.56)], (0.97, 0.97, 0.95))
    board.box(0, 0.54, 1, 1, vary((0.4, 0.76, 0.22), rng, 0.04))
    return _grain(board.done(), rng, 0.54, 0.09, 64)


def kitchen(rng: Rng, size: int) -> np.ndarray:
    """A wall of small tiles, a shelf with a pot, a light table top."""
    tile = vary([(0.8, 0.92, 0.95), (0.98, 0.93, 0.8), (0.85, 0.95, 0.85)][rng.integers(3)], rng, 0.03)
    board = Board(gradient(size, [(0, tile), (1, tile)]))
    for k in np.arange(0, 1, 0.11):
        board.line([(k, 0), (k, 0.7)], (1, 1, 1), 0.012)
        board.line([(0, k * 0.7), (1, k * 0.7)], (1, 1, 1), 0.012)
    board.box(0, 0.3, 1, 0.335, (0.62, 0.42, 0.25))
    for x in rng.uniform(0.05, 0.85, 3):
        board.box(x, 0.18, x + 0.11, 0.3, vary([(0.85, 0.25, 0.2), (0.25, 0.45, 0.7), (0.95, 0.75, 0.25)][rng.integers(3)], rng))
        board.disc(x + 0.055, 0.18, 0.055, (0.9, 0.9, 0.88), 0.3)
    board.box(0, 0.7, 1, 1, vary((0.86, 0.68, 0.46), rng, 0.03))
    board.box(0, 0.95, 1, 1, (0.62, 0.44, 0.28))
    return _grain(board.done(), rng, 0.7, 0.03, 30, 5)


def studio(rng: Rng, size: int) -> np.ndarray:
    """A plain backdrop with a soft light on it."""
    hue = vary([(0.8, 0.8, 0.82), (0.9, 0.78, 0.76), (0.74, 0.83, 0.9), (0.8, 0.88, 0.78), (0.93, 0.88, 0.74), (0.55, 0.56, 0.6)][rng.integers(6)], rng, 0.04)
    rows, columns = np.mgrid[0:size, 0:size] / size
    light = np.exp(-((columns - rng.uniform(0.3, 0.7)) ** 2 + (rows - 0.4) ** 2) / 0.25)
    floor = np.clip((rows - 0.7) * 3, 0, 1) * 0.1
    return (np.float32(hue) * (0.72 + 0.36 * light - floor)[..., None]).astype(np.float32)


def car_park(rng: Rng, size: int) -> np.ndarray:
    """Grey asphalt with a white line, hedge, and the side of a big silver car."""
    board = Board(gradient(size, [(0, vary((0.72, 0.8, 0.86), rng)), (0.3, (0.85, 0.88, 0.9)), (0.31, (0.3, 0.45, 0.28)), (0.5, (0.25, 0.38, 0.22)), (0.51, vary((0.48, 0.48, 0.5), rng, 0.03)), (1, (0.38, 0.38, 0.4))]))
    at, flip = rng.uniform(-0.35, 0.25), rng.random() < 0.5
    silver = vary((0.76, 0.78, 0.8), rng, 0.03)

    def turned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [((1 - x - at) if flip else (x + at), y) for x, y in points]

    board.polygon(turned([(0.05, 0.64), (0.05, 0.42), (0.2, 0.38), (0.32, 0.2), (0.7, 0.2), (0.85, 0.38), (1.02, 0.43), (1.02, 0.64)]), silver)
    board.polygon(turned([(0.27, 0.37), (0.36, 0.24), (0.5, 0.24), (0.5, 0.37)]), (0.18, 0.24, 0.3))
    board.polygon(turned([(0.54, 0.37), (0.54, 0.24), (0.67, 0.24), (0.77, 0.37)]), (0.18, 0.24, 0.3))
    board.line(turned([(0.05, 0.5), (1.02, 0.5)]), (0.92, 0.94, 0.95), 0.02)
    for x in (0.25, 0.82):
        (wx, wy), = turned([(x, 0.64)])
        board.disc(wx, wy, 0.095, (0.1, 0.1, 0.11))
        board.disc(wx, wy, 0.05, (0.7, 0.72, 0.74))
    board.polygon([(0, 0.84), (1, 0.8), (1, 0.83), (0, 0.87)], (0.93, 0.93, 0.9))
    return _grain(board.done(), rng, 0.75, 0.04, 64)
