"""The table of families on which the properties in this folder are tested.

A new family is one entry: a function that makes it (with tiny networks), its loss as in the paper
(one scalar, with stop-gradients where the paper has them), whether it uses random keys, and whether
a loss is a statistic of the batch, so that its value differs between micro-batches. If the loss
depends on random numbers that the trace does not show, `noise` finds them.
"""

import functools
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np
import optax
import pytest

from tests.families import (
    adversarial,
    discrete,
    first_stages,
    gaussian,
    ladders,
    noise,
    semi_supervised,
    sequential,
    supervised,
)
from tests.families.common import STEPS, adam
from tests.families.sparse import sparse_vae, sparse_vae_reference
from vaejax.core.game import Family
from vaejax.data import load
from vaejax.optimizers import ema_codebook
from vaejax.training.train_step import init_state, make_step

BATCH = 32


@functools.cache
def examples() -> dict[str, np.ndarray]:
    """256 sprites of all kinds, every fourth pixel, and their shapes as labels."""
    source = load("sprites:small")
    rows = source.take(np.random.RandomState(0).permutation(source.size)[:256])
    batch = source.decode(rows)
    return {"image": np.asarray(batch["image"][:, ::4, ::4]), "label": np.asarray(batch["label"])}


class Case:
    """A family to test, with its training states, which are computed once."""

    ema_decay = 0.5
    steps = STEPS

    def __init__(
        self,
        make: Callable[[], Family],
        reference: Any,
        random: bool,
        of_batch: bool = False,
        decreasing_loss: str = "nll",
        constant_leaf: str = "",  # name of a parameter that is not trained
        without_gradient: str = "",  # name of a group that its optimizer moves without a gradient
        zero_gradients_at_init: bool = False,  # of some parameters, whose inputs are zero at first
        noise: Any = None,  # a function of `tests.families.noise`
    ) -> None:
        self._make, self.reference, self.random = make, reference, random
        self.of_batch, self.decreasing_loss = of_batch, decreasing_loss
        self.constant_leaf, self.without_gradient = constant_leaf, without_gradient
        self.zero_gradients_at_init = zero_gradients_at_init
        self.noise = noise or (lambda *_: {})

    @functools.cached_property
    def family(self) -> Family:
        return self._make()

    @functools.cached_property
    def step(self) -> Any:
        return jax.jit(make_step(self.family, ema_decay=self.ema_decay))

    @functools.cached_property
    def trained(self) -> list[Any]:
        """The training states after 0, 1, ... steps on one device."""
        init = jax.jit(lambda batch: init_state(self.family, 0, batch, self.ema_decay))
        states = [init(examples())]
        for i in range(STEPS):
            states.append(self.step(states[-1], self.batch(i), 0)[0])
        return states

    def forget(self) -> None:
        """Releases what is computed once: the states of a family take tens of megabytes."""
        for name in ("family", "step", "trained"):
            self.__dict__.pop(name, None)

    @staticmethod
    def batch(step: int) -> dict[str, np.ndarray]:
        indices = (np.arange(BATCH) + BATCH * step) % 256
        return {name: value[indices] for name, value in examples().items()}


RAMP = {"kind": "linear", "start": 0.0, "end": 5.0, "steps": 100}
CAPACITY = {"nll": 1.0, "kl_capacity": 10.0}
TC = {"nll": 1, "mi": 1, "tc": 6, "dimwise_kl": 1}
DIP = {"nll": 1, "kl": 1, "dip_off_diagonal": 2, "dip_diagonal": 5}
TENTH = {"kind": "normal", "scale": 0.1}
MULTIPLIER = {"multiplier": ({"geco": -1}, adam())}
VARIANTS = {
    "beta_tcvae": (
        lambda: gaussian.variant("beta_tcvae", TC, examples=1000),
        gaussian.beta_tcvae_reference,
    ),
    "dip_vae": (lambda: gaussian.variant("dip_vae", DIP, kind="ii"), gaussian.dip_vae_reference),
    "sigma_vae": (
        lambda: gaussian.variant("sigma_vae", {"nll_optimal": 1, "kl": 1}, likelihood=TENTH),
        gaussian.sigma_vae_reference,
    ),
    "geco_vae": (
        lambda: gaussian.variant("geco_vae", {"kl": 1, "geco": 1}, MULTIPLIER, target=30.0),
        gaussian.geco_vae_reference,
    ),
    "iwae": (gaussian.iwae, gaussian.iwae_reference),
}
FAMILIES_UNDER_TEST = {
    **{k: Case(*v, random=True, of_batch=True) for k, v in VARIANTS.items()},
    "vae_gan": Case(
        adversarial.vae_gan,
        adversarial.vae_gan_reference,
        random=True,
        decreasing_loss="feature",
        noise=noise.generated_noise,
    ),
    "beta_vae": Case(
        lambda: gaussian.beta_vae({"nll": 1, "kl": 4}), gaussian.beta_vae_reference, random=True
    ),
    "kl_autoencoder": Case(
        first_stages.kl_autoencoder,
        first_stages.kl_autoencoder_reference,
        random=True,
        of_batch=True,
        without_gradient="discriminator_average",
    ),
    "capacity": Case(
        lambda: gaussian.beta_vae(CAPACITY, capacity=RAMP), gaussian.capacity_reference, random=True
    ),
    "classifier": Case(supervised.classifier, supervised.classifier_reference, random=False),
    "m2": Case(semi_supervised.m2, semi_supervised.m2_reference, random=True),
    "lvae": Case(ladders.lvae, ladders.lvae_reference, random=True),
    **{
        name: Case(
            functools.partial(ladders.conv_ladder, merge),
            ladders.conv_ladder_reference(merge),
            random=True,
            zero_gradients_at_init=True,
        )
        for name, merge in (("vdvae", "posterior_only"), ("nvae", "residual"))
    },
    "td_vae": Case(sequential.td_vae, sequential.td_vae_reference, random=True, noise=noise.times),
    "cvae": Case(gaussian.cvae, gaussian.cvae_reference, random=True, noise=noise.generated_noise),
    "info_vae": Case(
        gaussian.info_vae,
        gaussian.info_vae_reference,
        random=True,
        of_batch=True,
        noise=noise.prior_sample,
    ),
    "sparse_vae": Case(sparse_vae, sparse_vae_reference, random=True, noise=noise.spike_and_slab),
    "factor_vae": Case(
        adversarial.factor_vae,
        adversarial.factor_vae_reference,
        random=True,
        of_batch=True,
        noise=noise.permutation,
    ),
    "vqvae": Case(
        lambda: discrete.vqvae(
            discrete.RESIDUAL, optax.chain(adam(), ema_codebook.revive_codes(0.01))
        ),
        discrete.vqvae_reference(discrete.RESIDUAL),
        random=False,
    ),
    "vqvae_ema": Case(
        lambda: discrete.vqvae(discrete.PATCHES, ema_codebook.ema_codebook(revive_below=0.01)),
        discrete.vqvae_reference(discrete.PATCHES),
        random=False,
    ),
    "vqvae2": Case(discrete.vqvae2, discrete.vqvae2_reference, random=False),
    "sim_vq": Case(
        discrete.sim_vq_vae, discrete.sim_vq_reference, random=False, constant_leaf="codes"
    ),
    "fsq": Case(discrete.fsq_vae, discrete.fsq_reference, random=False),
    "lfq": Case(discrete.lfq_vae, discrete.lfq_reference, random=False, of_batch=True),
    "residual": Case(discrete.residual_vae, discrete.residual_reference, random=False),
    "rotated_groups": Case(
        discrete.rotated_groups_vae, discrete.rotated_groups_reference, random=False
    ),
    "gumbel": Case(discrete.gumbel_vae, discrete.gumbel_reference, random=True, noise=noise.gumbel),
}


# Variants of a family, whose tests are slow ones; the nine families are tested by default.
_SLOW_FAMILIES = {"beta_tcvae", "capacity", "dip_vae", "geco_vae", "iwae", "sigma_vae"}
_SLOW_FAMILIES |= {"fsq", "gumbel", "lfq", "residual", "rotated_groups", "sim_vq", "vqvae2"}
_SLOW_FAMILIES |= {"kl_autoencoder", "nvae", "vdvae"}


# pytest runs all tests of one parameter of a session fixture together, while its step is compiled.
@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name in _SLOW_FAMILIES))
        for name in FAMILIES_UNDER_TEST
    ],
)
def case(request: pytest.FixtureRequest) -> Generator[Case, None, None]:
    case = FAMILIES_UNDER_TEST[request.param]
    yield case
    case.forget()


# Micro-batches and EMA weights are features of the training step, not of a family: for the families
# that take longest to compile, these tests are slow ones. By default two networks that play against
# each other, a loss of the whole batch, and a classifier are trained on many devices here, a β-VAE
# in tests/training/sharding_test.py, and a VQ-VAE in tests/training/tensor_axis_test.py.
_LONG = {"cvae", "factor_vae", "info_vae", "lvae", "td_vae", "vae_gan"}
_SLOW_ROWS = {
    "test_gradients_accumulated_over_micro_batches": _LONG
    | {"m2", "sparse_vae", "vqvae", "vqvae_ema"},
    "test_the_moving_average_of_the_weights": _LONG,
    "test_many_devices_equal_one": (_LONG | {"beta_vae", "m2", "sparse_vae", "vqvae", "vqvae_ema"})
    - {"factor_vae", "info_vae"},
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, rows in _SLOW_ROWS.items():
            if item.name.startswith(name) and item.callspec.params.get("case") in rows:
                item.add_marker(pytest.mark.slow)
