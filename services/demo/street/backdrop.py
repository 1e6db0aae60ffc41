"""Sky, skyline and ground of a scene, and the two planted grounds: brick plaza and neon shadow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from curation.kernel.types import BoolArray, FloatArray
from services.demo.street.canvas import Colour, fill_of
from services.demo.street.textures import textures

CAMERA_HEIGHT_M = 2.6
_FOCAL = 1.1
_TEXELS_PER_M = {"grass": 130.0, "gravel": 150.0, "brick": 170.0}
_SKIES: dict[str, tuple[Colour, Colour]] = {
    "clear": ((96, 146, 206), (196, 216, 232)),
    "overcast": ((150, 156, 164), (204, 206, 208)),
    "dusk": ((92, 92, 132), (232, 186, 146)),
}
_GROUNDS: dict[str, tuple[str, Colour, float]] = {
    "grass": ("grass", (88, 116, 56), 24.0),
    "earth": ("gravel", (142, 120, 92), 20.0),
    "pavement": ("gravel", (152, 150, 146), 8.0),
}
_FOG: Colour = (196, 200, 206)
_FOG_NEAR, _FOG_FAR = 0.2, 0.6  # share of what is seen: objects stand out still
_FACADES: tuple[Colour, ...] = (
    (188, 176, 156), (150, 150, 152), (170, 134, 110), (202, 196, 184), (120, 128, 138),
    (176, 158, 120),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """Camera and street of one scene.

    Attributes:
        width: of the image, px.
        height: of the image, px.
        horizon: row of the horizon.
        vanishing_x: column in which the road ends.
        road_centre: metres right of the camera at which the road runs.
        road_half_m: half the road's width in metres.
        sky: a name of a sky.
        ground: what lies beside the road.
    """

    width: int
    height: int
    horizon: float
    vanishing_x: float
    road_centre: float
    road_half_m: float
    sky: str
    ground: str

    def px_per_m(self, row: float) -> float:
        """Pixels that a metre takes where the ground is seen at ``row``."""
        return (row - self.horizon) / CAMERA_HEIGHT_M


def draw_layout(rng: np.random.Generator, size_wh: tuple[int, int]) -> Layout:
    """A random camera and street."""
    width, height = size_wh
    return Layout(
        width=width,
        height=height,
        horizon=float(height * rng.uniform(0.27, 0.38)),
        vanishing_x=float(width * rng.uniform(0.25, 0.75)),
        road_centre=float(rng.uniform(-2.5, 2.5)),
        road_half_m=float(rng.uniform(2.6, 4.6)),
        sky=str(rng.choice(tuple(_SKIES), p=(0.5, 0.3, 0.2))),
        ground=str(rng.choice(tuple(_GROUNDS), p=(0.4, 0.25, 0.35))),
    )


def paint_backdrop(rng: np.random.Generator, layout: Layout) -> FloatArray:
    """Everything behind the objects, [H, W, 3] float32 in 0..255."""
    canvas = np.empty((layout.height, layout.width, 3), np.float32)
    first = int(np.ceil(layout.horizon))
    canvas[:first] = _sky(rng, layout, first)
    canvas[first:] = _street(rng, layout, first)
    return canvas


def _sky(rng: np.random.Generator, layout: Layout, rows: int) -> FloatArray:
    high, low = (np.asarray(c, np.float32) for c in _SKIES[layout.sky])
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 1.4
    sky = high + (low - high) * fall  # [r, 1, 3]
    clouds = textures().clouds
    shift = int(rng.integers(clouds.shape[1]))
    columns = (np.arange(layout.width) + shift) % clouds.shape[1]
    start = int(rng.integers(0, max(1, clouds.shape[0] - rows)))
    lines = (np.arange(rows) + start) % clouds.shape[0]
    cover = clouds[lines][:, columns, None] * np.float32(rng.uniform(0.2, 0.75))
    white = np.asarray((238, 238, 240), np.float32) if layout.sky != "dusk" else low
    sheet: FloatArray = (sky + (white - sky) * cover).astype(np.float32)
    return _skyline(rng, layout, sheet)


def _skyline(rng: np.random.Generator, layout: Layout, sky: FloatArray) -> FloatArray:
    """Houses of random width, colour and windows along the horizon, drawn at twice the size."""
    rows = len(sky)
    image = Image.new("RGBA", (layout.width * 2, rows * 2))
    draw = ImageDraw.Draw(image)
    x = -rng.uniform(0, 40)
    while x < layout.width * 2:
        width = rng.uniform(0.14, 0.4) * layout.width
        if rng.random() < 0.8:
            top = rows * 2 * rng.uniform(0.1, 0.75)
            _house(rng, draw, (x, top, x + width, rows * 2.0))
        x += width * rng.uniform(0.9, 1.3)
    small = np.asarray(image.reduce(2), np.float32)
    haze = np.float32(rng.uniform(0.6, 1.0))
    alpha = small[:, :, 3:] / np.float32(255) * haze
    mixed: FloatArray = sky + (small[:, :, :3] - sky) * alpha
    return mixed


def _house(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]
) -> None:
    x1, y1, x2, y2 = box
    colour = _FACADES[rng.integers(len(_FACADES))]
    tone = rng.uniform(0.65, 1.05)
    draw.rectangle([x1, y1, x2, y2], fill=fill_of(colour, tone))
    draw.rectangle([x1, y1, x2, y1 + 5], fill=fill_of(colour, tone * 0.65))
    step_x, step_y = rng.uniform(14, 26), rng.uniform(16, 28)
    glass: Colour = (62, 74, 88) if rng.random() < 0.8 else (214, 190, 120)
    for x in np.arange(x1 + 6, x2 - step_x * 0.6, step_x):
        for y in np.arange(y1 + 12, y2 - step_y * 0.4, step_y):
            draw.rectangle([x, y, x + step_x * 0.55, y + step_y * 0.6], fill=fill_of(glass, tone))


def _street(rng: np.random.Generator, layout: Layout, first: int) -> FloatArray:
    rows = np.arange(first, layout.height, dtype=np.float32)
    columns = np.arange(layout.width, dtype=np.float32)
    down = np.maximum(rows + 0.5 - layout.horizon, 0.75)  # [h]
    across, along = _on_ground(layout, columns, down)
    shift = rng.uniform(0, 8, 2).astype(np.float32)
    side = _material(layout.ground, across + shift[0], along + shift[1], layout, down)
    if layout.ground == "pavement":
        side *= _joints(across + shift[0], along, down)[:, :, None]
    road = _asphalt(rng, across - layout.road_centre, along + shift[0], layout, down)
    reach = layout.road_half_m - np.abs(across - layout.road_centre)
    inside = np.clip(reach * down[:, None] / CAMERA_HEIGHT_M + 0.5, 0, 1)[:, :, None]
    ground = side + (road - side) * inside
    low = np.asarray(_SKIES[layout.sky][1], np.float32)
    fog = (np.clip(1 - down / (0.3 * layout.height), 0, 1) ** 2 * 0.5)[:, None, None]
    mixed: FloatArray = (ground + (low - ground) * fog).astype(np.float32)
    return mixed


def _on_ground(
    layout: Layout, columns: FloatArray, down: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Metres right of the camera [h, w] and ahead of it [h], of rows below the horizon."""
    across = (columns[None, :] - layout.vanishing_x) * (CAMERA_HEIGHT_M / down[:, None])
    along = _FOCAL * layout.height * CAMERA_HEIGHT_M / down
    return across.astype(np.float32), along.astype(np.float32)


def _tone(
    texture: str, across: FloatArray, along: FloatArray, layout: Layout, down: FloatArray
) -> FloatArray:
    density = np.float32(_TEXELS_PER_M[texture])
    per_px = density * CAMERA_HEIGHT_M / down  # texels a pixel, sideways
    stretch = np.sqrt(_FOCAL * layout.height / down)  # rows cover more ground than columns
    return textures().ground(texture, across * density, along * density, per_px * stretch)


def _material(
    name: str, across: FloatArray, along: FloatArray, layout: Layout, down: FloatArray
) -> FloatArray:
    texture, colour, contrast = _GROUNDS[name]
    tone = _tone(texture, across, along, layout, down)[:, :, None]
    plane: FloatArray = np.asarray(colour, np.float32) + tone * np.float32(contrast)
    return plane


def _joints(across: FloatArray, along: FloatArray, down: FloatArray) -> FloatArray:
    """Darker lines between paving slabs, fading where they are thinner than a pixel."""
    lines = (np.abs(across % 1.2 - 0.6) > 0.56) | (np.abs(along % 1.2 - 0.6) > 0.55)[:, None]
    visible = np.clip(down / 60 - 0.3, 0, 1)[:, None]
    joints: FloatArray = (1 - 0.3 * lines * visible).astype(np.float32)
    return joints


def _asphalt(
    rng: np.random.Generator,
    across: FloatArray,
    along: FloatArray,
    layout: Layout,
    down: FloatArray,
) -> FloatArray:
    grey = rng.uniform(72, 112)
    colour = np.asarray((grey, grey, grey + 4), np.float32)
    road = colour + _tone("gravel", across, along, layout, down)[:, :, None] * np.float32(9)
    wide = np.maximum(0.07, CAMERA_HEIGHT_M / down * 0.7)[:, None]
    dash = (along % 6 < 3)[:, None] & (np.abs(across) < wide)
    edge = np.abs(np.abs(across) - (layout.road_half_m - 0.25)) < wide
    mark = ((dash | edge) * np.clip(0.07 / wide * 1.2, 0.25, 0.85))[:, :, None]
    painted: FloatArray = (road + (214 - road) * mark.astype(np.float32)).astype(np.float32)
    return painted


def _window(layout: Layout, box_px: tuple[float, float, float, float]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = box_px
    top = max(int(y1), int(np.ceil(layout.horizon)) + 3)
    return (
        slice(top, max(top, min(int(y2), layout.height))),
        slice(max(int(x1), 0), min(int(x2), layout.width)),
    )


def lay_brick(
    rng: np.random.Generator,
    layout: Layout,
    canvas: FloatArray,
    box_px: tuple[float, float, float, float],
) -> BoolArray:
    """Pave the ground inside a box with red brick, in place; the mask [H, W] of the paving."""
    rows, columns = _window(layout, box_px)
    mask = np.zeros(canvas.shape[:2], np.bool_)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    if not len(y) or not len(x):
        return mask
    down: FloatArray = (y + 0.5 - layout.horizon).astype(np.float32)
    across, along = _on_ground(layout, x, down)
    # Sides of the plaza run to the vanishing point, as everything that lies on the ground does.
    middle = down[len(down) // 2]
    left, right = ((edge - layout.vanishing_x) * CAMERA_HEIGHT_M / middle for edge in (x[0], x[-1]))
    inside = (across >= left) & (across <= right)
    tone = _tone(
        "brick", across + np.float32(rng.uniform(0, 3)), along * np.float32(0.35), layout, down
    )
    brick = np.asarray((166, 78, 58), np.float32) + tone[:, :, None] * np.asarray(
        (58, 52, 50), np.float32
    )
    canvas[rows, columns][inside] = brick[inside]
    mask[rows, columns] = inside
    return mask


def cast_neon(
    rng: np.random.Generator, canvas: FloatArray, box_px: tuple[float, float, float, float]
) -> BoolArray:
    """Put a box of the picture into deep shadow under magenta light, in place; its mask [H, W].

    The shadow is a band between two slanted edges, as a bridge or a passage casts it.
    """
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = box_px
    y = np.arange(height, dtype=np.float32)[:, None]
    slant = np.float32(rng.uniform(-0.35, 0.35)) * (y - y2)
    x = np.arange(width, dtype=np.float32)[None, :] - slant
    soft = np.float32(0.06) * np.float32(x2 - x1)
    across = np.clip((x - x1) / soft, 0, 1) * np.clip((x2 - x) / soft, 0, 1)
    depth = across * np.clip((y - y1) / soft, 0, 1) * np.clip((y2 - y) / soft, 0, 1)
    grey = canvas.mean(axis=2, keepdims=True)
    dark = (0.4 * canvas + 0.6 * grey) * np.asarray((0.32, 0.09, 0.4), np.float32)
    glow = np.exp(-(((x - (x1 + x2) / 2) / (0.5 * (x2 - x1))) ** 2) - ((y - y1) / (y2 - y1)) ** 2)
    dark += glow[:, :, None].astype(np.float32) * np.asarray((58, 4, 66), np.float32)
    canvas += (dark - canvas) * depth[:, :, None].astype(np.float32)
    mask: BoolArray = depth > 0.5
    return mask


def lay_fog(layout: Layout, canvas: FloatArray) -> None:
    """Fog over everything drawn so far, in place: thin at the feet, thick at the horizon."""
    rows = np.arange(layout.height, dtype=np.float32)
    depth = np.clip(1 - (rows - layout.horizon) / (layout.height - layout.horizon), 0.0, 1.0)
    veil = (_FOG_NEAR + (_FOG_FAR - _FOG_NEAR) * depth)[:, None, None]
    canvas += veil * (np.asarray(_FOG, np.float32) - canvas)
