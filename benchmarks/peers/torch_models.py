"""The models in PyTorch; `forward(x)` is the loss of a batch in nats per example."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from . import torch_parts as parts
from .cases import CASES, Case

__all__ = [
    "LVAE",
    "TDVAE",
    "VAE",
    "VQVAE",
    "AutoencoderKL",
    "discriminator",
    "discriminator_step_loss",
    "model",
    "vae_networks",
]


def _sample(mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A reparameterised Gaussian sample."""
    return mean + scale * torch.randn_like(mean)


class VAE(nn.Module):
    """One Gaussian latent; a Bernoulli likelihood, or a normal one of standard deviation 0.1."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, normal: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.normal = encoder, decoder, normal

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """nll + kl, and z."""
        mean, logvar = self.encoder(x).chunk(2, 1)
        z = _sample(mean, (0.5 * logvar).exp())
        out = self.decoder(z)
        if self.normal:
            error = (out - x) / 0.1
            nll = (0.5 * error.square() + 0.5 * math.log(2 * math.pi * 0.01)).flatten(1).sum(1)
        else:
            nll = parts.bernoulli(out, x)
        return (nll + parts.kl_unit(mean, logvar)).mean(), z

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parts(x)[0]


class VQVAE(nn.Module):
    """EMA codebook, commitment weight ¼, a normal likelihood of standard deviation 0.1."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.encoder = parts.residual_encoder(*case.hidden, case.latent)
        self.decoder = parts.residual_decoder(*case.hidden, case.latent)
        self.quantizer = parts.EmaQuantizer(case.codes, case.latent)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.encoder(x)
        b, d, h, w = features.shape
        tokens = features.permute(0, 2, 3, 1).reshape(-1, d)
        z, commitment = self.quantizer(tokens)
        out = self.decoder(z.reshape(b, h, w, d).permute(0, 3, 1, 2))
        error = (out - x) / 0.1
        nll = (0.5 * error.square() + 0.5 * math.log(2 * math.pi * 0.01)).flatten(1).sum(1).mean()
        return nll + 0.25 * h * w * commitment


class AutoencoderKL(nn.Module):
    """The autoencoder of diffusers, with a normal likelihood of standard deviation 0.1."""

    def __init__(self, case: Case) -> None:
        from diffusers import AutoencoderKL as Autoencoder

        super().__init__()
        levels = len(case.hidden)
        self.autoencoder = Autoencoder(
            block_out_channels=case.hidden,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            latent_channels=case.latent,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        posterior = self.autoencoder.encode(2 * x - 1).latent_dist
        out = self.autoencoder.decode(posterior.sample()).sample / 2 + 0.5
        error = (out - x) / 0.1
        nll = (0.5 * error.square() + 0.5 * math.log(2 * math.pi * 0.01)).flatten(1).sum(1)
        return (nll + posterior.kl()).mean()


class LVAE(nn.Module):
    """Three layers of latents, posteriors and priors merged by precision."""

    def __init__(self, hidden: Sequence[int], dims: Sequence[int] = (64, 32, 16)) -> None:
        super().__init__()
        slope, widths = 0.2, (784, *hidden)
        self.up = nn.ModuleList(
            nn.Sequential(parts.mlp((a, b, b), slope=slope), nn.LeakyReLU(slope))
            for a, b in itertools.pairwise(widths)
        )
        self.heads = nn.ModuleList(nn.Linear(h, 2 * d) for h, d in zip(hidden, dims, strict=True))
        self.priors = nn.ModuleList(
            parts.mlp((above, h, h, 2 * d), slope=slope)
            for above, h, d in zip(dims[1:], hidden, dims, strict=False)
        )
        self.out = parts.mlp((dims[0], hidden[0], hidden[0], 784), slope=slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features, h = [], x.flatten(1)
        for up in self.up:
            h = up(h)
            features.append(h)
        q = parts.soft_normal(self.heads[-1](features[-1]))
        z = _sample(*q)
        kl = parts.kl_normal(q, (torch.zeros_like(q[0]), torch.ones_like(q[1])))
        for i in reversed(range(len(self.priors))):
            p = parts.soft_normal(self.priors[i](z))
            bottom_up = parts.soft_normal(self.heads[i](features[i]))
            a, b = bottom_up[1] ** -2, p[1] ** -2
            q = ((bottom_up[0] * a + p[0] * b) / (a + b), (a + b) ** -0.5)
            z = _sample(*q)
            kl = kl + parts.kl_normal(q, p)
        return (parts.bernoulli(self.out(z), x) + kl).mean()


class _Gated(nn.Module):
    """tanh(A x) · σ(B x), then a linear map."""

    def __init__(self, inputs: int, hidden: int, out: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(inputs, hidden), nn.Linear(inputs, hidden)
        self.out = nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.a(x)) * torch.sigmoid(self.b(x)))


class TDVAE(nn.Module):
    """Two layers of z, δ from 1 to 4, four pairs of times per sequence."""

    def __init__(self, hidden: Sequence[int], size: int = 128, dim: int = 16) -> None:
        super().__init__()
        self.frame_encoder = parts.mlp((784, *hidden, size))
        self.lstm = nn.LSTM(size, size, batch_first=True)
        features = 7
        inputs = {"belief": size, "smoothing": 2 * dim + 2 * size + features}
        inputs["transition"] = 2 * dim + features
        self.stacks = nn.ModuleDict(
            {
                name: nn.ModuleList(_Gated(n + i * dim, size, 2 * dim) for i in range(2))
                for name, n in inputs.items()
            }
        )
        self.decoder = parts.mlp((2 * dim, *hidden[::-1], 784))

    def layers(self, name: str, x: torch.Tensor, values: Sequence[torch.Tensor] = ()) -> tuple:
        """Densities of both layers, and samples of them, or `values`."""
        densities, zs = [], []
        for i, net in enumerate(self.stacks[name]):
            density = parts.soft_normal(net(torch.cat([x, *zs], 1)))
            zs.append(values[i] if values else _sample(*density))
            densities.append(density)
        return densities, zs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length = x.shape[:2]
        frames = self.frame_encoder(x.reshape(batch * length, -1))
        b, _ = self.lstm(frames.reshape(batch, length, -1))
        step = torch.randint(1, 5, (batch, 4))
        first = (torch.rand(batch, 4) * (length - step)).long()
        second, rows = first + step, torch.arange(batch)[:, None]
        b1, b2 = b[rows, first].flatten(0, 1), b[rows, second].flatten(0, 1)
        delta = step.reshape(-1, 1).float()
        angle = 2 * math.pi * delta * 0.5 ** torch.arange(1.0, 4.0)
        delta_features = torch.cat([delta / 4, angle.sin(), angle.cos()], 1)
        belief2, z2 = self.layers("belief", b2)
        smoothing, z1 = self.layers("smoothing", torch.cat([*z2, b1, b2, delta_features], 1))
        belief1, _ = self.layers("belief", b1, z1)
        transition, _ = self.layers("transition", torch.cat([*z1, delta_features], 1), z2)
        loss = parts.bernoulli(self.decoder(torch.cat(z2, 1)), x[rows, second].flatten(0, 1))
        for z, q, p in zip(z2, belief2, transition, strict=True):
            loss = loss + parts.log_normal(z, q) - parts.log_normal(z, p)
        for q, p in zip(smoothing, belief1, strict=True):
            loss = loss + parts.kl_normal(q, p)
        return loss.mean()


def discriminator(latent: int) -> nn.Sequential:
    """The discriminator of FactorVAE."""
    return parts.mlp((latent, *(1000,) * 6, 2), slope=0.2)


def vae_networks(name: str) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the cases with one Gaussian latent."""
    case = CASES[name]
    if name in ("conv", "factor"):
        encoder = parts.conv_encoder(case.hidden, 2 * case.latent)
        return encoder, parts.conv_decoder(case.hidden, case.latent)
    width = math.prod(case.shape)
    encoder = nn.Sequential(nn.Flatten(), parts.mlp((width, *case.hidden, 2 * case.latent)))
    return encoder, parts.mlp((case.latent, *case.hidden[::-1], width))


def model(name: str) -> nn.Module:
    """The model of a case."""
    case = CASES[name]
    if name == "vqvae":
        return VQVAE(case)
    if name == "kl":
        return AutoencoderKL(case)
    if name == "lvae":
        return LVAE(case.hidden)
    if name == "td_vae":
        return TDVAE(case.hidden)
    return VAE(*vae_networks(name), normal=name == "tiny")


def _permute_dims(z: torch.Tensor) -> torch.Tensor:
    """Each dimension permuted over the batch independently."""
    order = torch.rand_like(z).argsort(0)
    return z.gather(0, order)


def discriminator_step_loss(net: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """Cross entropy of classifying the first half against the permuted second half."""
    half = len(z) // 2
    permuted = _permute_dims(z[half:])
    logits = net(torch.cat([z[:half], permuted]))
    target = torch.cat([torch.zeros(half), torch.ones(len(z) - half)]).long()
    return F.cross_entropy(logits, target)
