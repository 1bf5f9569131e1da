"""Motion between pictures: dense optical flow by pyramids of Lucas and Kanade's method, in torch alone.

B. D. Lucas and T. Kanade, An Iterative Image Registration Technique, IJCAI 1981.
"""

import torch
from torch import Tensor
from torch.nn import functional

LEVELS, ITERATIONS = 3, 3
REACH = 7
"""Side of the square in which motion is taken as the same, in pixels."""
_RIDGE = 1e-4
"""Added to the sums of squared gradients (of pictures in [0, 1]): where a picture is flat, nothing moves."""


@torch.no_grad()
def dense_flow(first: Tensor, second: Tensor) -> Tensor:
    """Where each pixel of ``first`` is in ``second``, less where it was.

    Args:
        first, second: float (N, 1, H, W) in [0, 1], at least 16x16.

    Returns:
        pixels to the right and downwards: (N, 2, H, W).
    """
    pyramid = [(first, second)]
    while len(pyramid) < LEVELS and min(pyramid[-1][0].shape[-2:]) >= 32:
        pyramid.append(tuple(functional.avg_pool2d(part, 2) for part in pyramid[-1]))  # type: ignore[arg-type]
    flow = first.new_zeros(len(first), 2, *pyramid[-1][0].shape[-2:])
    for fine, other in reversed(pyramid):
        if flow.shape[-2:] != fine.shape[-2:]:
            scale = fine.shape[-1] / flow.shape[-1]
            flow = scale * functional.interpolate(flow, fine.shape[-2:], mode="bilinear", align_corners=False)
        for _ in range(ITERATIONS):
            flow = flow + _correction(fine, warp(other, flow))
    return flow


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures (N, C, H, W), read at each pixel's place plus its flow (N, 2, H, W); edges are repeated."""
    height, width = pictures.shape[-2:]
    down, across = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    x = 2 * (across + flow[:, 0]) / max(1, width - 1) - 1
    y = 2 * (down + flow[:, 1]) / max(1, height - 1) - 1
    return functional.grid_sample(
        pictures, torch.stack([x, y], -1), mode="bilinear", padding_mode="border", align_corners=True
    )


def gradients(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours across and down, by pixel: each (N, 1, H, W)."""
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return across, down


def _correction(first: Tensor, warped: Tensor) -> Tensor:
    """The step that makes ``warped`` more like ``first``, at most a pixel in each direction."""
    across, down = gradients((first + warped) / 2)
    change = first - warped
    parts = torch.cat([across * across, across * down, down * down, across * change, down * change], 1)
    xx, xy, yy, xt, yt = _means(parts).unbind(1)
    xx, yy = xx + _RIDGE, yy + _RIDGE
    determinant = xx * yy - xy * xy
    step = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt], 1) / determinant.unsqueeze(1)
    return step.clamp(-1, 1)


def _means(values: Tensor) -> Tensor:
    """Over the square around each pixel, across and then down."""
    for kernel in ((1, REACH), (REACH, 1)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        values = functional.avg_pool2d(values, kernel, stride=1, padding=padding, count_include_pad=False)
    return values
