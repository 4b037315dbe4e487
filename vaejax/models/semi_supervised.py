"""M2: a generative model whose class is a latent variable, given for some examples."""

import dataclasses

import jax
import jax.numpy as jnp

from vaejax.core import conditions
from vaejax.core.bottleneck import Bottleneck
from vaejax.core.events import check_event, event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import ClassAverage, Distribution, LabelPosterior, Uniform
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.shared import (
    explained,
    generate_with,
    make_trace,
    with_encoder_input,
    with_likelihood_constants,
)
from vaejax.networks import Network

__all__ = ["SemiSupervised", "semi_supervised"]

_Sample = tuple[jax.Array, jax.Array]  # z [B, D] and y [B, K], one-hot


@dataclasses.dataclass(frozen=True)
class SemiSupervised:
    """The functions of the model that `semi_supervised` returns; the attributes are its arguments.

    y is a class as a one-hot vector `[B, K]`.
    """

    classifier: Network
    encoder: Network
    bottleneck: Bottleneck
    decoder: Network
    likelihood: Likelihood
    shape: tuple[int, ...]
    classes: int

    def labels(self, batch: Batch | None, n: int) -> jax.Array:
        """The labels of a batch, int32 `[n]`; −1 for those without one."""
        if batch is None or "label" not in batch:
            return jnp.full((n,), -1, jnp.int32)
        return batch["label"]

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks."""
        x = event(batch)
        y = jnp.zeros((x.shape[0], self.classes))
        keys = jax.random.split(key, 5)
        params: Params = {
            "classifier": self.classifier.init(keys[0], x),
            "encoder": self.encoder.init(keys[1], x, y),
        }
        features = self.encoder.apply(params["encoder"], x, y)
        params |= self.bottleneck.init(keys[2], features)
        z = self.bottleneck.apply(params, features, keys[3]).z
        params["decoder"] = self.decoder.init(keys[4], z, y)
        return params

    def classify(self, params: Params, batch: Batch) -> jax.Array:
        """The logits of q(y | x), `[B, K]`."""
        x = event(batch)
        check_event(x, self.shape)
        return self.classifier.apply(params["classifier"], x)

    def infer(self, params: Params, x: jax.Array, y: jax.Array, key: jax.Array | None) -> Latent:
        """The node z given events and classes."""
        features = self.encoder.apply(params["encoder"], x, y)
        return self.bottleneck.apply(params, features, key)

    def explain(self, params: Params, z: jax.Array, y: jax.Array) -> Distribution:
        """p(x | y, z)."""
        return self.likelihood.apply(self.decoder.apply(params["decoder"], z, y))

    def average(
        self, params: Params, z: jax.Array, weights: jax.Array, batch: Batch | None
    ) -> Distribution:
        """p(x | y, z) averaged over the classes, for z `[B · K, D]` and weights `[B, K]`."""
        y = jnp.tile(jnp.eye(self.classes), (weights.shape[0], 1))
        return explained(ClassAverage(self.explain(params, z, y), weights), batch)

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace, with z given each of the classes, all in one pass."""
        x = event(batch)
        n = x.shape[0]
        q_y = LabelPosterior(self.classify(params, batch), self.labels(batch, n))
        weights = q_y.mean
        y = jnp.tile(jnp.eye(self.classes), (n, 1))
        node = self.infer(params, jnp.repeat(x, self.classes, axis=0), y, key)
        p = self.average(params, node.z, weights, batch)
        nodes = (
            Latent(q_y, Uniform(self.classes, (n,)), weights),
            Latent(
                ClassAverage(node.posterior, weights),
                ClassAverage(node.prior, weights),
                node.z.reshape(n, self.classes, -1),
            ),
        )
        return make_trace(x, p, nodes, step, (self._condition(batch, n),))

    def _condition(self, batch: Batch, n: int) -> jax.Array:
        return conditions.label(self.classes).read({"label": self.labels(batch, n)})

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The node z given the label, or the most likely class where there is none."""
        x = event(batch)
        return (self.infer(params, x, self._most_likely(params, batch), key),)

    def _most_likely(self, params: Params, batch: Batch) -> jax.Array:
        q = LabelPosterior(self.classify(params, batch), self.labels(batch, event(batch).shape[0]))
        return jax.nn.one_hot(q.indices, self.classes)

    def decode(
        self, params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None
    ) -> Distribution:
        """p(x | y, z) of z `[B, D]`.

        y is the label in `condition`; else the most likely class of its event; without an event it
        is averaged over the prior.
        """
        (z,) = zs
        if condition is not None and len(condition.keys() - {"label", "mask"}) > 0:
            p = self.explain(params, z, self._most_likely(params, condition))
            return explained(p, condition)
        label = self.labels(condition, z.shape[0])
        even = jnp.full((z.shape[0], self.classes), 1.0 / self.classes)
        given = jax.nn.one_hot(label, self.classes)
        weights = jnp.where(label[:, None] < 0, even, given)
        return self.average(params, jnp.repeat(z, self.classes, axis=0), weights, None)

    def sample_prior(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> _Sample:
        """z and y of n samples; y is the label in `condition`, or sampled where there is none."""
        class_key, key = jax.random.split(key)
        label = self.labels(condition, n)
        sampled = jax.random.randint(class_key, (n,), 0, self.classes, jnp.int32)
        y = jax.nn.one_hot(jnp.where(label < 0, sampled, label), self.classes)
        shape = (n, self.bottleneck.width)
        return self.bottleneck.sample_prior(params, key, shape, temperature), y

    def decode_sample(
        self, params: Params, sample: _Sample, condition: Batch | None
    ) -> Distribution:
        """p(x | y, z) of samples."""
        del condition
        return self.explain(params, *sample)


def semi_supervised(
    classifier: Network,
    encoder: Network,
    bottleneck: Bottleneck,
    decoder: Network,
    likelihood: Likelihood,
    shape: tuple[int, ...],
    *,
    classes: int,
) -> Model:
    """M2 (Kingma et al., 1406.5298) with parameter groups `classifier`, `encoder`, `decoder`.

    p(x, y, z) = p(x | y, z) p(z) / K and q(y, z | x) = q(y | x) q(z | x, y). Labels of −1 are
    unknown. Its trace has the nodes y and z. For an example with a label, nll + kl is −L(x, y)
    (eq. 6); without one, the class is summed out, and nll + kl is −U(x) (eq. 7), in which the
    expectation over y is exact. All K classes are computed in one pass of B · K rows.

    `encode` returns one node, z given the label or the most likely class, and `classify` the logits
    of q(y | x).

    Args:
      classifier: events -> logits `[B, K]`.
      encoder: events and classes `[B, K]` -> features `[B, bottleneck.width]`.
      bottleneck: features -> the node z.
      decoder: z and classes -> features for the likelihood.
      likelihood: those features -> p(x | y, z).
      shape: of one event.
      classes: K.

    Raises:
      ValueError: fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"M2 needs data of at least two classes, found {classes}")
    model = SemiSupervised(
        with_encoder_input(classifier, likelihood), with_encoder_input(encoder, likelihood),
        bottleneck, with_likelihood_constants(decoder, likelihood), likelihood, tuple(shape),
        classes,
    )  # fmt: skip
    generate = generate_with(model.sample_prior, model.decode_sample)
    return Model(
        model.init, model.forward, model.encode, model.decode, generate, classify=model.classify,
        honours_mask=True,
    )  # fmt: skip
