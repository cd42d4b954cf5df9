"""What the embedded collection's images show: toys of two or three categories on cluttered ground, as plain data.

A scene follows from (seed, split, category, image) alone, so any image can be made without the others.
"""

import zlib
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "unseen")

COLORS = {
    "red": (0.995, 0.84, 0.85),
    "orange": (0.065, 0.87, 0.95),
    "yellow": (0.135, 0.84, 0.95),
    "green": (0.365, 0.74, 0.66),
    "teal": (0.49, 0.72, 0.76),
    "blue": (0.6, 0.8, 0.86),
    "violet": (0.76, 0.62, 0.72),
    "pink": (0.92, 0.66, 0.92),
}
"""Color families: hue in turns, saturation and value of the base color."""

GROUNDS = ("wood", "cloth", "paper", "leaves", "pebbles", "grass", "concrete")

SIZES = ((160, 240), (240, 160), (176, 224), (224, 176), (192, 256), (200, 200), (180, 260), (216, 208))
"""Heights and widths in px."""


@dataclass(frozen=True)
class Category:
    """A kind of toy: texture x shape x color family (base color and accent)."""

    texture: str
    shape: str
    color: str
    accent: str

    @property
    def name(self) -> str:
        """The group's name."""
        return f"{self.texture}-{self.shape}"


def _categories(*lines: str) -> tuple[Category, ...]:
    return tuple(Category(*line.split()) for line in lines)


CATEGORIES = {
    "train": _categories(
        "striped star red cream",
        "spotted heart blue cream",
        "checkered ring green cream",
        "speckled crescent yellow dark",
        "zigzag cross violet cream",
        "ringed drop teal dark",
        "gridded flower pink dark",
        "diamond bolt orange dark",
        "spotted arrow teal cream",
        "striped house green dark",
        "speckled pine red cream",
        "checkered bottle blue yellow",
        "gridded gear orange cream",
        "zigzag fish yellow blue",
        "diamond cloud violet yellow",
        "ringed bell pink cream",
        "checkered star teal yellow",
        "zigzag heart orange cream",
        "spotted ring red dark",
        "striped crescent blue cream",
        "gridded cross yellow dark",
        "diamond drop pink cream",
        "ringed flower violet yellow",
        "speckled bolt green cream",
        "ringed arrow red yellow",
        "gridded house teal cream",
        "diamond pine blue yellow",
        "speckled bottle violet cream",
        "striped gear pink dark",
        "spotted fish green yellow",
        "zigzag cloud red cream",
        "checkered bell orange dark",
    ),
    "unseen": _categories(
        "scaly butterfly violet cream",
        "wavy mushroom red cream",
        "plaid mug green cream",
        "marbled duck yellow dark",
        "patched rocket orange dark",
        "blotched crown blue yellow",
    ),
}
"""The splits share no shape and no texture."""


@dataclass(frozen=True)
class Toy:
    """One object. Place and radius in shares of the image's width, height and root area; angle in radians."""

    category: Category
    x: float
    y: float
    radius: float
    angle: float
    stretch: float
    shear: float
    hue: float
    saturation: float
    value: float


@dataclass(frozen=True)
class Scene:
    """One image. `toys`: from the lowest to the uppermost; `common`: the index of the group's own toy.

    `light`: direction in radians; `covered`: whether a leaf covers part of a toy.
    """

    height: int
    width: int
    ground: str
    toys: tuple[Toy, ...]
    common: int
    light: float
    covered: bool
    seeds: tuple[int, ...]
    """Of the random numbers that draw the image."""

    @property
    def categories(self) -> frozenset[str]:
        """Names of all categories in the image."""
        return frozenset(toy.category.name for toy in self.toys)


def _generator(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng([part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts])


def choose_others(seed: int, split: str, category: Category, count: int) -> list[Category]:
    """Choose the other categories in the images of the group `category`; each image takes the next two.

    They come from the split's first `count` categories. Unseen categories are shown with training categories as often,
    so that being new does not identify the group's own toy.
    """
    rng = _generator(seed, split, category.name, "others")
    rivals = [other for other in CATEGORIES[split][:count] if other != category]
    if split == "train":
        return [rivals[i] for i in rng.permutation(len(rivals))]
    familiar = CATEGORIES["train"]
    fresh = [rivals[i] for _ in range(4) for i in rng.permutation(len(rivals))]
    known = [familiar[i] for i in rng.permutation(len(familiar))]
    pairs = zip(fresh, known, strict=False)
    return [toy for number, pair in enumerate(pairs) for toy in (pair if number % 2 else pair[::-1])]


def describe_scene(seed: int, split: str, category: Category, image: int, count: int) -> Scene:
    """Describe image number `image` of the group `category`, one of the split's first `count` categories."""
    rng = _generator(seed, split, category.name, image)
    height, width = SIZES[rng.integers(len(SIZES))]
    rivals = choose_others(seed, split, category, count)
    companions = [rivals[(2 * image + i) % len(rivals)] for i in range(rng.integers(1, 3))]
    kinds = [category, *companions]
    order = rng.permutation(len(kinds))
    places = _places(rng, len(kinds), height, width)
    toys = tuple(_toy(rng, kinds[kind], *place) for kind, place in zip(order, places, strict=True))
    return Scene(
        height,
        width,
        GROUNDS[rng.integers(len(GROUNDS))],
        toys,
        int(np.argmin(order)),
        float(rng.uniform(0, 2 * np.pi)),
        bool(rng.random() < 0.3),
        tuple(int(seed) for seed in rng.integers(0, 2**31, 4)),
    )


def _toy(rng: np.random.Generator, category: Category, x: float, y: float, radius: float) -> Toy:
    hue, saturation, value = COLORS[category.color]
    return Toy(
        category,
        x,
        y,
        radius,
        angle=float(rng.uniform(-0.9, 0.9)),
        stretch=float(rng.uniform(0.86, 1.16)),
        shear=float(rng.uniform(-0.18, 0.18)),
        hue=float(hue + rng.uniform(-0.025, 0.025)),
        saturation=float(saturation * rng.uniform(0.88, 1.1)),
        value=float(value * rng.uniform(0.85, 1.05)),
    )


def _places(rng: np.random.Generator, count: int, height: int, width: int) -> list[tuple[float, float, float]]:
    """Places and radii from one distribution for all toys: of 40 draws the one with the largest gaps."""
    unit = np.sqrt(height * width)
    radii = rng.uniform(0.2, 0.27, count) if count == 2 else rng.uniform(0.17, 0.22, count)
    best, most = None, -np.inf
    for _ in range(40):
        margin = radii[:, None] * unit * 1.15
        extent = np.array([width, height])
        spots = margin + rng.random((count, 2)) * (extent - 2 * margin)
        gaps = [np.hypot(*(spots[i] - spots[j])) / unit - radii[i] - radii[j] for i in range(count) for j in range(i)]
        slack = min(min(gaps), rng.uniform(-0.1, 0.05))
        if slack > most:
            best, most = spots, slack
    return [(float(x / width), float(y / height), float(radius)) for (x, y), radius in zip(best, radii, strict=True)]
