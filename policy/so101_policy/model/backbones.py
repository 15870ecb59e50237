"""Backbones that can be trained from scratch: ResNets with GroupNorm.

LeRobot builds torchvision's ResNets with *frozen* batch norm. With pretrained weights that is what one wants; with
random ones it divides by a variance of 1 that nobody measured, so it normalises nothing. GroupNorm (Wu and He, ECCV
2018) needs no statistics of a batch and no download, and is the same in training and at inference.

Each backbone divides height and width by 32, as LeRobot's do, so a 96x96 camera gives 3x3 tokens. With
`replace_final_stride_with_dilation` (LeRobot's setting for torchvision's ResNets) the last stage keeps its resolution
and is dilated by 2 instead: a 16th, 6x6 tokens, as many parameters, half as much work again or more. Cost of one 96x96
image (a multiply and an add are two operations; the backward pass costs about twice that again):

| name           | parameters | MFLOP | blocks  | widths            | stem                          |
|----------------|-----------:|------:|---------|-------------------|-------------------------------|
| resnet_thin_gn |     0.31 M |    20 | 1,1,1,1 | 16, 32, 64, 128   | 7x7, stride 4                 |
| resnet10_gn    |     4.90 M |   324 | 1,1,1,1 | 64, 128, 256, 512 | 7x7, stride 2, 3x3 max pool   |
| resnet18_gn    |    11.18 M |   666 | 2,2,2,2 | 64, 128, 256, 512 | 7x7, stride 2, 3x3 max pool   |

The thin one leaves the image early (stride 4, no pooling: pooling alone would cost as much as a stage on a CPU); it is
what makes a small ACT train on a laptop. The other two have the shape of the ResNets of He et al., CVPR 2016.

Shapes: N images, C channels, H height, W width.
"""

from typing import NamedTuple

from torch import Tensor, nn

CHANNELS_PER_GROUP = 8
"""Of GroupNorm. 16 is usual; the thin backbone's first stage has only 16 channels, and one group is LayerNorm."""


class Shape(NamedTuple):
    """Widths [channels] and numbers of blocks of the four stages, and whether a max pool shares the stem's stride."""

    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    pooled_stem: bool


SHAPES = {
    "resnet_thin_gn": Shape((16, 32, 64, 128), (1, 1, 1, 1), pooled_stem=False),
    "resnet10_gn": Shape((64, 128, 256, 512), (1, 1, 1, 1), pooled_stem=True),
    "resnet18_gn": Shape((64, 128, 256, 512), (2, 2, 2, 2), pooled_stem=True),
}
BACKBONES = tuple(SHAPES)
"""What `vision_backbone` may be besides torchvision's; LeRobot insists that they begin with "resnet"."""


class GroupNormResNet(nn.Module):
    """(N, 3, H, W) images -> {"feature_map": (N, out_channels, H/32, W/32)}, LeRobot's interface of a backbone.

    Args:
        name: of SHAPES.
        dilated: H/16 and W/16 instead.
    """

    def __init__(self, name: str, dilated: bool = False):
        super().__init__()
        shape = SHAPES[name]
        narrow = shape.widths[0]
        self.out_channels = shape.widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, narrow, 7, stride=2 if shape.pooled_stem else 4, padding=3, bias=False),
            _norm(narrow),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1) if shape.pooled_stem else nn.Identity(),
        )
        stages: list[nn.Module] = []
        for index, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
            before = shape.widths[max(index - 1, 0)]
            dilation = 2 if dilated and index == len(shape.widths) - 1 else 1
            stages.append(
                _Block(before, width, stride=1 if index == 0 or dilation > 1 else 2, dilation=dilation)
            )
            stages += [_Block(width, width, stride=1, dilation=dilation) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        return {"feature_map": self.stages(self.stem(image_NCHW))}


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut. It begins as its shortcut alone (the last scale is 0: Goyal 2017)."""

    def __init__(self, before: int, width: int, stride: int, dilation: int):
        super().__init__()
        last_norm = _norm(width)
        nn.init.zeros_(last_norm.weight)
        self.residual = nn.Sequential(
            nn.Conv2d(before, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False),
            _norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
            last_norm,
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=stride, bias=False), _norm(width)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.relu(self.residual(x_NCHW) + self.shortcut(x_NCHW))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // CHANNELS_PER_GROUP, width)
