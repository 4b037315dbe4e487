"""The networks and densities in PyTorch, channels first, in their usual form."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

__all__ = [
    "EmaQuantizer",
    "bernoulli",
    "conv_decoder",
    "conv_encoder",
    "kl_normal",
    "kl_unit",
    "log_normal",
    "mlp",
    "residual_decoder",
    "residual_encoder",
    "soft_normal",
]


def mlp(widths: Sequence[int], act: type[nn.Module] = nn.ReLU, slope: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        if i:
            layers.append(nn.LeakyReLU(slope) if slope else act())
        layers.append(nn.Linear(a, b))
    return nn.Sequential(*layers)


def conv_encoder(channels: Sequence[int], width: int) -> nn.Sequential:
    """Images 64×64×1 through 4×4 convolutions of stride 2, and dense layers."""
    layers: list[nn.Module] = []
    for a, b in zip((1, *channels[:-1]), channels, strict=True):
        layers += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(16 * channels[-1], 256), nn.ReLU(), nn.Linear(256, width)
    )


def conv_decoder(channels: Sequence[int], latent: int) -> nn.Sequential:
    """The mirror image of `conv_encoder`."""
    widths = list(channels)[::-1]
    layers: list[nn.Module] = [nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 16 * widths[0])]
    layers += [nn.ReLU(), nn.Unflatten(1, (widths[0], 4, 4))]
    for i, (a, b) in enumerate(zip(widths, (*widths[1:], 1), strict=True)):
        layers += [nn.ReLU()] if i else []
        layers.append(nn.ConvTranspose2d(a, b, 4, 2, 1))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """A residual block: ReLU, 3×3, ReLU, 1×1."""

    def __init__(self, width: int, block_width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, block_width, 3, 1, 1), nn.Conv2d(block_width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.b(F.relu(self.a(F.relu(x))))


def residual_encoder(width: int, block_width: int, dim: int) -> nn.Sequential:
    """Images 32×32×3 to a map of 8×8×dim."""
    return nn.Sequential(
        nn.Conv2d(3, width // 2, 4, 2, 1), nn.ReLU(), nn.Conv2d(width // 2, width, 4, 2, 1),
        nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), _Residual(width, block_width),
        _Residual(width, block_width), nn.ReLU(), nn.Conv2d(width, dim, 1),
    )  # fmt: skip


def residual_decoder(width: int, block_width: int, dim: int) -> nn.Sequential:
    """A map of 8×8×dim to images 32×32×3."""
    return nn.Sequential(
        nn.Conv2d(dim, width, 3, 1, 1), _Residual(width, block_width),
        _Residual(width, block_width), nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(width // 2, 3, 4, 2, 1),
    )  # fmt: skip


class EmaQuantizer(nn.Module):
    """Nearest codes by one matrix product; EMA by `index_add_`, without one-hot matrices."""

    def __init__(self, codes: int, dim: int, decay: float = 0.99) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(codes, dim))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.codes.clone())
        self.decay = decay

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of tokens `[N, D]` with a straight-through gradient, and the commitment loss."""
        with torch.no_grad():
            half = 0.5 * self.codes.square().sum(1)
            index = torch.addmm(half[None], x, self.codes.T, alpha=-1).argmin(1)
            count, total = torch.zeros_like(self.count), torch.zeros_like(self.total)
            count.index_add_(0, index, torch.ones_like(index, dtype=x.dtype))
            total.index_add_(0, index, x)
        z = self.codes[index]
        loss = (x - z).square().sum(1).mean()
        with torch.no_grad():
            self.count.mul_(self.decay).add_(count, alpha=1 - self.decay)
            self.total.mul_(self.decay).add_(total, alpha=1 - self.decay)
            n = self.count.sum()
            smoothed = (self.count + 1e-5) / (n + len(self.codes) * 1e-5) * n
            self.codes = self.total / smoothed[:, None]
        return x + (z - x).detach(), loss


def kl_unit(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL to N(0, I), `[B]`, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(1)


def bernoulli(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """−log p(x), `[B]`, in nats."""
    loss = F.binary_cross_entropy_with_logits(logits, x.reshape(logits.shape), reduction="none")
    return loss.flatten(1).sum(1)


def soft_normal(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean, and a standard deviation by softplus."""
    mean, raw = features.chunk(2, 1)
    return mean, 1e-3 + (1 - 1e-3) * F.softplus(math.log(2) * raw) / math.log(2)


def kl_normal(q: Sequence[torch.Tensor], p: Sequence[torch.Tensor]) -> torch.Tensor:
    """KL of two diagonal normals, (mean, standard deviation) each, `[B]`, in nats."""
    ratio = (q[1] / p[1]).square()
    return 0.5 * (ratio + ((q[0] - p[0]) / p[1]).square() - 1 - ratio.log()).sum(1)


def log_normal(z: torch.Tensor, p: Sequence[torch.Tensor]) -> torch.Tensor:
    """Log-density of a diagonal normal, `[B]`, in nats."""
    squares = ((z - p[0]) / p[1]).square()
    return -0.5 * (squares + math.log(2 * math.pi)).sum(1) - p[1].log().sum(1)
