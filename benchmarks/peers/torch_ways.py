"""Ways to train in PyTorch: as users write it, and with the options that may make it faster."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.peers import torch_models
from benchmarks.peers.cases import CASES, data
from benchmarks.peers.torch_parts import EmaQuantizer

Go = Callable[[int], None]
Start = Callable[[str], tuple[Go, int]]  # case -> (takes so many steps, number of parameters)


def _size(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def _examples(name: str, channels_last: bool) -> torch.Tensor:
    x = torch.from_numpy(data(name))
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
        return x.contiguous(memory_format=torch.channels_last) if channels_last else x
    return x


def trains(
    name: str, *, fused: bool = False, compiles: bool = False, channels_last: bool = False
) -> tuple[Go, int]:
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
        step, more = _factor_step(model, optimizer, options, compiles)
        size += more
    else:
        loss = torch.compile(model) if compiles else model

        def step(x: torch.Tensor) -> None:
            optimizer.zero_grad()
            loss(x).backward()
            optimizer.step()

    def go(steps: int) -> None:
        order = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if not len(order):
                order = torch.randperm(len(x))
            picked, order = order[:batch], order[batch:]
            step(x[picked])

    return go, size


def _factor_step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, options: dict, compiles: bool
) -> tuple[Callable[[torch.Tensor], None], int]:
    critic = torch_models.critic(CASES["factor"].latent)
    theirs = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.5, 0.9), **options)
    parts, judge, critic_loss = model.parts, critic, torch_models.critic_step_loss
    if compiles:
        parts, judge = torch.compile(parts), torch.compile(critic)
        critic_loss = torch.compile(critic_loss)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss, z = parts(x)
        critic.requires_grad_(False)
        logits = judge(z)
        (loss + 35.0 * (logits[:, 0] - logits[:, 1]).mean()).backward()
        critic.requires_grad_(True)
        theirs.zero_grad()
        critic_loss(critic, z.detach()).backward()
        optimizer.step()
        theirs.step()

    return step, _size(critic)


def quantizes(name: str, *, compiles: bool = False) -> tuple[Go, int]:
    """A lookup and an update of the moving averages; no gradient."""
    case, x = CASES[name], torch.from_numpy(data(name))
    layer = EmaQuantizer(case.codes, case.latent)
    call = torch.compile(layer) if compiles else layer

    def go(steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                call(x)

    return go, layer.codes.numel()


def searches(name: str, *, chunk: int, compiles: bool = False) -> tuple[Go, int]:
    """Nearest codes, so many tokens at once."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)

    def nearest(x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        half = 0.5 * codes.square().sum(1)
        return torch.addmm(half[None], x, codes.T, alpha=-1).argmin(1)

    call = torch.compile(nearest) if compiles else nearest

    def go(steps: int) -> None:
        for _ in range(steps):
            torch.cat([call(part, codes) for part in x.split(chunk)])

    return go, codes.numel()


def cdist(name: str) -> tuple[Go, int]:
    """All distances at once, as most code has it."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)

    def go(steps: int) -> None:
        for _ in range(steps):
            torch.cdist(x, codes).argmin(1)

    return go, codes.numel()


def lucidrains(name: str) -> tuple[Go, int]:
    """The quantiser of vector-quantize-pytorch, in training mode."""
    from vector_quantize_pytorch import VectorQuantize

    case, x = CASES[name], torch.from_numpy(data(name))
    layer = VectorQuantize(case.latent, case.codes, decay=0.99)

    def go(steps: int) -> None:
        for _ in range(steps):
            with torch.no_grad():
                layer(x[None])

    return go, math.prod((case.codes, case.latent))


def one_hot(name: str) -> tuple[Go, int]:
    """Distances and one-hot matrices, as in most published code."""
    case, x = CASES[name], torch.from_numpy(data(name))
    codes = torch.randn(case.codes, case.latent)
    count, total = torch.ones(case.codes), codes.clone()

    def go(steps: int) -> None:
        nonlocal codes, count, total
        for _ in range(steps):
            chosen = F.one_hot(torch.cdist(x, codes).argmin(1), case.codes).float()
            count = 0.99 * count + 0.01 * chosen.sum(0)
            total = 0.99 * total + 0.01 * chosen.T @ x
            smooth = (count + 1e-5) / (count.sum() + case.codes * 1e-5) * count.sum()
            codes = total / smooth[:, None]
            _ = chosen @ codes

    return go, codes.numel()
