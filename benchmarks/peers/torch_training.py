"""The cases in PyTorch: in the usual form, and with options that may make it faster."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F  # noqa: N812

from . import torch_models
from .cases import CASES, data
from .torch_parts import EmaQuantizer

__all__ = ["cdist", "lucidrains", "one_hot", "quantize", "search", "train"]

# Takes a number of steps. Every function here returns one, and the number of parameters.
TakeSteps = Callable[[int], None]


def _size(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def _examples(name: str, channels_last: bool) -> torch.Tensor:
    x = torch.from_numpy(data(name))
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
        return x.contiguous(memory_format=torch.channels_last) if channels_last else x
    return x


def train(
    name: str, *, fused: bool = False, compiles: bool = False, channels_last: bool = False
) -> tuple[TakeSteps, int]:
    """Adam on the model of a case; batches are gathered in a new order each epoch."""
    torch.manual_seed(0)
    x, batch = _examples(name, channels_last), CASES[name].batch
    model = torch_models.model(name)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    size = _size(model)
    options = {"fused": True} if fused else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **options)
    if name == "factor":
        step, discriminator_size = _factor_step(model, optimizer, options, compiles)
        size += discriminator_size
    else:
        loss = torch.compile(model) if compiles else model

        def step(x: torch.Tensor) -> None:
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()

    def take_steps(steps: int) -> None:
        order = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if not len(order):
                order = torch.randperm(len(x))
            indices, order = order[:batch], order[batch:]
            step(x[indices])

    return take_steps, size


def _factor_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, options: dict, compiles: bool
) -> tuple[Callable[[torch.Tensor], None], int]:
    """A training step of FactorVAE, and the number of parameters of its discriminator."""
    discriminator = torch_models.discriminator(CASES["factor"].latent)
    parameters = discriminator.parameters()
    discriminator_optimizer = torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.9), **options)
    loss_and_z, classify = model.parts, discriminator
    discriminator_loss = torch_models.discriminator_step_loss
    if compiles:
        loss_and_z, classify = torch.compile(loss_and_z), torch.compile(discriminator)
        discriminator_loss = torch.compile(discriminator_loss)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss, z = loss_and_z(x)
        discriminator.requires_grad_(False)
        logits = classify(z)
        (loss + 35.0 * (logits[:, 0] - logits[:, 1]).mean()).backward()
        discriminator.requires_grad_(True)
        discriminator_optimizer.zero_grad()
        discriminator_loss(discriminator, z.detach()).backward()
        optimizer.step()
        discriminator_optimizer.step()

    return step, _size(discriminator)


def quantize(name: str, *, compiles: bool = False) -> tuple[TakeSteps, int]:
    """Quantisation with an EMA update of the codebook, without gradients."""
    case, x = CASES[name], torch.from_numpy(data(name))
    layer = EmaQuantizer(case.codes, case.latent)
    call = torch.compile(layer) if compiles else layer

    def take_steps(steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                call(x)

    return take_steps, layer.codes.numel()


def search(name: str, *, chunk: int, compiles: bool = False) -> tuple[TakeSteps, int]:
    """Nearest codes of `chunk` tokens at once."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)

    def nearest(x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        half = 0.5 * codes.square().sum(1)
        return torch.addmm(half[None], x, codes.T, alpha=-1).argmin(1)

    call = torch.compile(nearest) if compiles else nearest

    def take_steps(steps: int) -> None:
        for _ in range(steps):
            torch.cat([call(part, codes) for part in x.split(chunk)])

    return take_steps, codes.numel()


def cdist(name: str) -> tuple[TakeSteps, int]:
    """Nearest codes by `torch.cdist`, as in most published code."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)

    def take_steps(steps: int) -> None:
        for _ in range(steps):
            torch.cdist(x, codes).argmin(1)

    return take_steps, codes.numel()


def lucidrains(name: str) -> tuple[TakeSteps, int]:
    """The quantiser of vector-quantize-pytorch, in training mode."""
    from vector_quantize_pytorch import VectorQuantize

    case, x = CASES[name], torch.from_numpy(data(name))
    layer = VectorQuantize(case.latent, case.codes, decay=0.99)

    def take_steps(steps: int) -> None:
        for _ in range(steps):
            with torch.no_grad():
                layer(x[None])

    return take_steps, math.prod((case.codes, case.latent))


def one_hot(name: str) -> tuple[TakeSteps, int]:
    """Quantisation by `torch.cdist` and one-hot matrices, as in most published code."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)
    count, total = torch.ones(case.codes), codes.clone()

    def take_steps(steps: int) -> None:
        nonlocal codes, count, total
        for _ in range(steps):
            chosen = F.one_hot(torch.cdist(x, codes).argmin(1), case.codes).float()
            count = 0.99 * count + 0.01 * chosen.sum(0)
            total = 0.99 * total + 0.01 * chosen.T @ x
            smoothed = (count + 1e-5) / (count.sum() + case.codes * 1e-5) * count.sum()
            codes = total / smoothed[:, None]
            _ = chosen @ codes

    return take_steps, codes.numel()
