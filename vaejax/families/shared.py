"""What several families share: their options, models, and the type of their players."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence

from vaejax import networks
from vaejax.core.game import Family, Model, PlayerRow
from vaejax.core.types import Options, PyTree, Setting
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.latents import bottlenecks, priors
from vaejax.models.autoencoder import autoencoder

__all__ = ["Players", "gaussian_vae", "with_columns", "with_options_of"]

# player name -> (loss name -> weight, optimizer), or also the groups of a further player
Players = Mapping[str, PlayerRow]

_MakeFamily = Callable[..., Family]


def with_options_of(
    shared: Callable[..., object], **defaults: Setting
) -> Callable[..., _MakeFamily]:
    """Decorator of a family with `**options`: declares them as the options of another function.

    The keyword-only options of `shared` replace `**options` in the family's signature, where
    configs and error messages find their names, types and defaults; their descriptions replace
    that of `**options` in its docstring. The family receives a value for each of them.

    Args:
      shared: has keyword-only options, described in its docstring.
      **defaults: of some of these options, where they differ for the family.
    """
    options = {
        name: option.replace(default=defaults.get(name, option.default))
        for name, option in inspect.signature(shared).parameters.items()
        if option.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if unknown := defaults.keys() - options.keys():
        raise TypeError(f"{shared.__name__} has no options {sorted(unknown)}")

    def decorate(function: Callable[..., Family]) -> _MakeFamily:
        own = inspect.signature(function)
        by_kind: dict[inspect._ParameterKind, list[inspect.Parameter]] = {}
        for parameter in own.parameters.values():
            by_kind.setdefault(parameter.kind, []).append(parameter)
        signature = own.replace(
            parameters=[
                *by_kind[inspect.Parameter.POSITIONAL_OR_KEYWORD],
                *options.values(),
                *by_kind.get(inspect.Parameter.KEYWORD_ONLY, []),
            ]
        )

        @functools.wraps(function)
        def make_family(*args: PyTree, **arguments: PyTree) -> Family:
            try:
                bound = signature.bind(*args, **arguments)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        annotations = {name: option.annotation for name, option in signature.parameters.items()}
        make_family.__annotations__ = {**annotations, "return": own.return_annotation}
        make_family.__signature__ = signature  # type: ignore[attr-defined]
        make_family.__doc__ = _merged_docstring(function, shared, options)
        return make_family

    return decorate


def _arguments(function: Callable[..., object]) -> dict[str, str]:
    """Name -> entry of each argument in the `Args` section of a docstring."""
    section = re.search(r"(?ms)^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "")
    entries = re.split(r"(?m)^(?=  \S)", section[1]) if section else []
    return {entry.strip().partition(":")[0]: entry.rstrip() for entry in entries if entry.strip()}


def _merged_docstring(
    function: Callable[..., object], shared: Callable[..., object], options: Options
) -> str:
    """The docstring of `function` with the entries of `options` in place of `**options`."""
    entries = [entry for name, entry in _arguments(shared).items() if name in options]
    placeholder = _arguments(function)["**options"]
    return (inspect.getdoc(function) or "").replace(placeholder, "\n".join(entries))


def with_columns(options: Options, shape: Sequence[int], classes: Sequence[int]) -> Options:
    """The options of a family, with the columns of the data in a likelihood `'mixed'`.

    Args:
      options: of a family.
      shape: of one event.
      classes: number of classes of each column of the data, 0 for numbers; `()` if the data have
        numbers alone.

    Raises:
      ValueError: the events are no rows of a table, or the options have classes too.
    """
    setting = options.get("likelihood")
    given = dict(setting) if isinstance(setting, Mapping) else {"kind": setting}
    if given.get("kind") != "mixed":
        return options
    if len(shape) != 1:
        raise ValueError(
            f"the likelihood 'mixed' is for the rows of a table, but the data have events of shape "
            f"{list(shape)}; use 'normal', 'bernoulli' or another"
        )
    if given.get("classes"):
        raise ValueError("the likelihood 'mixed' has the classes of the data: leave out 'classes'")
    columns = tuple(classes) or (0,) * shape[0]
    return {**options, "likelihood": {**given, "classes": columns}}


def gaussian_vae(
    shape: Sequence[int],
    *,
    latent_dim: int = 10,
    network: str | Options | networks.Pair = "conv",
    likelihood: str | Options | Likelihood = "bernoulli",
    prior: str | Options | priors.LatentPrior = "standard",
    **model_options: Setting,
) -> tuple[Model, tuple[str, ...]]:
    """An autoencoder with one Gaussian latent, and its parameter groups, the encoder's first.

    Args:
      shape: of one event.
      latent_dim: dimensions of z.
      network: encoder and decoder, see `networks.build`.
      likelihood: p(x | z), see `likelihoods.likelihood`.
      prior: p(z), one of `priors.PRIORS`: N(0, I), a learned mixture, or a VampPrior. The owner of
        the decoder owns its parameters.
      **model_options: of `models.autoencoder`.
    """
    p, p_z = make_likelihood(likelihood), priors.latent_prior(prior, shape)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, prior=p_z, **model_options)
    return model, ("encoder", "decoder", *(("prior",) if p_z else ()))
