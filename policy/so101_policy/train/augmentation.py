"""Pictures varied as a camera on a desk varies them: bumped, dimmed, out of focus, with something in view.

A whole batch at a time, on the device, in float32. A picture is moved by one homography (a camera that was turned,
shifted or set up a little nearer) and recoloured by one linear map of its colours, so each kind of change costs one
pass, however many of them are asked for. All random numbers come from torch's generator of the processor: a training
that is resumed goes on with the numbers that it would have drawn.

LeRobot's own transforms (`dataset.image_transforms`) work on one picture at a time, which costs more than the training
step that they feed. Both may be used together; LeRobot's come first.

Shapes: B pictures of a batch, C channels (RGB), H height, W width, K kernel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from so101_policy.errors import TrainError

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in a grey picture: ITU-R BT.601."""


@dataclass
class AugmentationConfig:
    """How far pictures are varied in training. Each amount is drawn uniformly up to the one given, both ways, for every
    sample and camera by itself."""

    preset: str = "none"
    """none, light (light and colour, blur), camera (a camera that was bumped), desk (both, and something in view)."""
    share: float | None = None
    """Of the pictures that are varied at all. [0, 1]"""
    shift: float | None = None
    """Of the picture's width and height."""
    rotation: float | None = None
    """[degrees] about the middle of the picture."""
    scale: float | None = None
    """Nearer or farther, as a factor: 0.05 is 0.95 to 1.05."""
    perspective: float | None = None
    """Tilt: how much nearer one edge of the picture comes, as a factor. Below 0.5."""
    brightness: float | None = None
    """Factor of all values: 0.3 is 0.7 to 1.3."""
    contrast: float | None = None
    """Factor about the picture's mean."""
    saturation: float | None = None
    """0: as it is; 1: grey to twice as colourful."""
    hue: float | None = None
    """[turns of the colour circle]; 0.05 is 18 degrees."""
    blur: float | None = None
    """Largest standard deviation of a Gaussian blur, as a share of the picture's width."""
    cutout: float | None = None
    """Longest side of a rectangle that is hidden, as a share of the picture's side."""


_LIGHT = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.03, "blur": 0.008}
_CAMERA = {"shift": 0.04, "rotation": 2.0, "scale": 0.04, "perspective": 0.03}
PRESETS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "light": _LIGHT,
    "camera": _CAMERA,
    "desk": {**_LIGHT, **_CAMERA, "cutout": 0.25},
}
"""Amounts by the name of a preset. (A camera of 96 pixels at 0.04 moves by 4 pixels.)"""

DEFAULT_SHARE = 0.5
"""The other pictures are seen as they were recorded: a policy plays on unmoved cameras, too."""

SELDOM = 0.25
"""Of the varied pictures that are blurred, and of those in which something is in view: rare on a desk, and dear."""

LIMITS = {
    "share": 1.0,
    "shift": 0.5,
    "rotation": 180.0,
    "scale": 0.9,
    "perspective": 0.49,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
    "blur": 0.1,
    "cutout": 1.0,
}
"""Largest amounts that make sense, by field."""


def amounts_of(config: AugmentationConfig) -> dict[str, float]:
    """What is asked for by preset and single fields, which win; without those that are 0.

    Raises:
        TrainError: no such preset, or an amount that cannot be.
    """
    if config.preset not in PRESETS:
        raise TrainError(f"--augmentation.preset={config.preset}: possible are {', '.join(PRESETS)}")
    amounts = dict(PRESETS[config.preset])
    for field in fields(config):
        if field.name == "preset" or (value := getattr(config, field.name)) is None:
            continue
        limit = LIMITS[field.name]
        if not 0 <= value <= limit:  # NaN fails both
            raise TrainError(f"--augmentation.{field.name}={value}: expected 0 to {limit:g}")
        amounts[field.name] = float(value)
    share = amounts.pop("share", DEFAULT_SHARE)
    amounts = {name: amount for name, amount in amounts.items() if amount > 0}
    return amounts | {"share": share} if amounts and share > 0 else {}


class Augmentation:
    """Callable: pictures (B, C, H, W) with values 0 to 255 -> varied ones, float32, 0 to 255, channels last.

    Args:
        config: an `AugmentationConfig`; with nothing asked for, `active` is False.

    Raises:
        TrainError: see `amounts_of`.
    """

    def __init__(self, config: AugmentationConfig):
        self._amounts = amounts_of(config)

    @property
    def active(self) -> bool:
        """Whether anything is varied."""
        return bool(self._amounts)

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        images = images_BCHW.to(torch.float32, copy=True)
        if self.active and len(chosen := _some(len(images), self._amounts["share"])):
            images[chosen] = self._varied(images[chosen])
        return images.contiguous(memory_format=torch.channels_last)

    def _varied(self, images: Tensor) -> Tensor:
        """(B, C, H, W) float32, every one of them varied."""
        batch, _, height, width = images.shape
        if self._any("shift", "rotation", "scale", "perspective"):
            grid_BHW2 = _grid(self._homographies(batch, width / height), height, width, images.device)
            images = functional.grid_sample(
                images, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False
            )
        if self._any("brightness", "contrast", "saturation", "hue"):
            images = _recolour(images, *self._colours(batch, images.device))
        if self._any("blur") and len(chosen := _some(batch, SELDOM)):
            largest = self._amounts["blur"] * width
            images[chosen] = _blurred(images[chosen], torch.rand(len(chosen)) * largest, largest)
        if self._any("cutout") and len(chosen := _some(batch, SELDOM)):
            images[chosen] = _with_something_in_view(images[chosen], self._amounts["cutout"])
        return images

    def _any(self, *names: str) -> bool:
        return any(name in self._amounts for name in names)

    def _both_ways(self, name: str, batch: int) -> Tensor:
        """(B,) -amount to amount."""
        return (torch.rand(batch) * 2 - 1) * self._amounts.get(name, 0.0)

    def _homographies(self, batch: int, aspect: float) -> Tensor:
        """(B, 3, 3): where a point of the varied picture is in the given one, both in -1..1 from edge to edge."""
        angle = torch.deg2rad(self._both_ways("rotation", batch))
        size = 1 + self._both_ways("scale", batch)
        x, y = (2 * self._both_ways("shift", batch) for _ in range(2))
        tilt_x, tilt_y = (self._both_ways("perspective", batch) for _ in range(2))
        cos, sin, one = size * angle.cos(), size * angle.sin(), torch.ones_like(x)
        rows = [cos, -sin / aspect, x, sin * aspect, cos, y, tilt_x, tilt_y, one]
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    def _colours(self, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """(B, 3, 3) and (B, 1): the linear map of colours, and the factor of contrast about the mean."""
        brightness, contrast, saturation = (
            1 + self._both_ways(name, batch) for name in ("brightness", "contrast", "saturation")
        )
        hue = 2 * math.pi * self._both_ways("hue", batch)
        identity, grey = torch.eye(3), torch.tensor(LUMA).expand(3, 3)
        along = torch.full((3, 3), 1 / 3)  # onto the grey axis; turning about it keeps grey as it is
        across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        cos, sin = hue.cos()[:, None, None], hue.sin()[:, None, None]
        turned = cos * identity + (1 - cos) * along + sin * across
        coloured = saturation[:, None, None] * identity + (1 - saturation)[:, None, None] * grey
        return (brightness[:, None, None] * (turned @ coloured)).to(device), contrast[:, None].to(device)


def _some(batch: int, share: float) -> Tensor:
    """Indices of a share of the pictures."""
    return (torch.rand(batch) < share).nonzero().flatten()


def _grid(homographies_B33: Tensor, height: int, width: int, device: torch.device) -> Tensor:
    """(B, H, W, 2): for each pixel where it comes from, as `grid_sample` counts."""
    y, x = ((torch.arange(size, device=device) * 2 + 1) / size - 1 for size in (height, width))
    h = homographies_B33.to(device)[:, :, :, None, None]
    x, y = x[None, None, :], y[None, :, None]
    u, v, w = (h[:, row, 0] * x + h[:, row, 1] * y + h[:, row, 2] for row in range(3))
    return torch.stack([u / w, v / w], dim=-1)


def _recolour(images_BCHW: Tensor, colours_B33: Tensor, contrast_B1: Tensor) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    flat = images_BCHW.reshape(batch, channels, height * width)
    mean_B1 = (colours_B33 @ flat.mean(dim=2, keepdim=True)).mean(dim=(1, 2))[:, None]
    offset_B11 = ((1 - contrast_B1) * mean_B1)[:, :, None]
    recoloured = torch.baddbmm(offset_B11, contrast_B1[:, :, None] * colours_B33, flat)
    return recoloured.clamp_(0, 255).view(batch, channels, height, width)


def _blurred(images_BCHW: Tensor, sigma_B: Tensor, largest: float) -> Tensor:
    """By a Gaussian of `sigma_B` pixels each, cut off at two of the largest."""
    batch, channels, height, width = images_BCHW.shape
    reach = max(1, math.ceil(2 * largest))
    at_K = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel_BK = torch.exp(-(at_K**2) / (2 * sigma_B.clamp(min=1e-3)[:, None] ** 2))
    kernel_BK = (kernel_BK / kernel_BK.sum(dim=1, keepdim=True)).to(images_BCHW.device)
    weights = kernel_BK.repeat_interleave(channels, dim=0)[:, None]  # a kernel for each picture and channel
    flat = images_BCHW.reshape(1, batch * channels, height, width)
    for shape, padding in (
        ((-1, 1, 1, len(at_K)), (reach, reach, 0, 0)),
        ((-1, 1, len(at_K), 1), (0, 0, reach, reach)),
    ):
        padded = functional.pad(flat, padding, mode="replicate")
        flat = functional.conv2d(padded, weights.view(shape), groups=batch * channels)
    return flat.view(batch, channels, height, width)


def _with_something_in_view(images_BCHW: Tensor, largest: float) -> Tensor:
    """A rectangle of each picture in its mean colour; its sides up to `largest` of the picture's."""
    rows_BH, columns_BW = (_stretch(len(images_BCHW), size, largest) for size in images_BCHW.shape[-2:])
    inside = rows_BH[:, None, :, None] & columns_BW[:, None, None, :]
    mean = images_BCHW.mean(dim=(-2, -1), keepdim=True)
    return torch.where(inside.to(images_BCHW.device), mean, images_BCHW)


def _stretch(batch: int, size: int, largest: float) -> Tensor:
    """(B, size) bool: a stretch of up to `largest` of `size` pixels, anywhere."""
    length_B1 = torch.rand(batch, 1) * largest * size
    start_B1 = torch.rand(batch, 1) * (size - length_B1)
    at = torch.arange(size) + 0.5
    return (at >= start_B1) & (at < start_B1 + length_B1)
