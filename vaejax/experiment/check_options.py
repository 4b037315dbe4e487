"""Checks the options of a family before any data is loaded: names, types and ranges.

The signatures of the functions that receive options are their declaration. Nothing is built, so
what depends on the data (shapes, number of classes) is checked when the family is.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from vaejax import losses, networks
from vaejax.core.arguments import check_arguments
from vaejax.core.option_ranges import range_of_option
from vaejax.core.registry import kind_and_arguments, near_names, registered
from vaejax.core.schedules import check_schedule
from vaejax.core.types import Setting
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.experiment.text_options import check_texts
from vaejax.families.added_losses import discriminator_losses, perceptual_loss
from vaejax.families.hierarchical import LADDERS
from vaejax.models.sparse_decoder import COLUMNS
from vaejax.networks.mlp import mlp
from vaejax.networks.residual import residual

__all__ = ["Nested", "check_model", "kinds_of"]


class Nested(NamedTuple):
    """An option that holds the options of another function.

    Attributes:
      what: the word for it, for errors.
      positional: number of first parameters that do not come from a config.
      table: the functions by name.
      function: or the one function, which has no name.
      without: options of this function that the family sets itself.
      default: the name, of options that give none.
    """

    what: str
    positional: int = 0
    table: Mapping[str, Callable[..., object]] | None = None
    function: Callable[..., object] | None = None
    without: tuple[str, ...] = ()
    default: str = ""


def _registered(kind: str, what: str, positional: int = 0) -> Nested:
    return Nested(what, positional, registered(kind))


# FAMILY.OPTION, or OPTION of every other family -> what it holds.
def _nested() -> dict[str, Nested]:
    network = _registered("network", "architecture", 3)
    return {
        "adaptive": Nested("adaptive", 1, function=losses.AdaptiveWeight),
        "adversarial": Nested("adversarial", 3, function=discriminator_losses),
        "baseline": network,
        "belief": Nested("recurrent network", 0, networks.RECURRENT),
        "code_prior.network": Nested("network of a prior over codes", 1, networks.AUTOREGRESSIVE),
        "columns": Nested("kind of columns", 0, COLUMNS),
        "discriminator": Nested("discriminator", 0, networks.DISCRIMINATORS, default="patch"),
        "entropies": Nested("entropies", function=losses.code_entropies),
        "factor_vae.discriminator": Nested("discriminator", function=networks.latent_discriminator),
        "free_bits": Nested("free_bits", function=losses.free_bits),
        "hierarchical.network": Nested("ladder", 2, LADDERS),
        "lasso": Nested("lasso", function=SpikeAndSlabLasso),
        "likelihood": _registered("likelihood", "likelihood"),
        "mmd": Nested("mmd", function=losses.mmd),
        "network": network,
        "perceptual": Nested("perceptual", function=perceptual_loss),
        "prior": _registered("prior", "prior", 1),
        "prior_network": network,
        "quantizer": _registered("quantizer", "quantizer"),
        "spectral": Nested("spectral", function=losses.spectral),
        "sparse_decoder.decoder": Nested("decoder", 1, function=networks.sparse_decoder),
        "sparse_decoder.encoder": Nested("encoder", 3, function=mlp, without=("kind",)),
        "vae_gan.discriminator": Nested(
            "discriminator", 0, networks.DISCRIMINATORS, default="image"
        ),
        "vqvae2.network": Nested("network", 3, function=residual, without=("downsamplings",)),
    }


_SCHEDULED = ("capacity", "sharpness", "slab", "temperature")  # numbers or schedules
_SHARES = ("balanced", "reconstruction")  # loss -> number or schedule
_FROM_DATA = ("classes",)  # which no setting needs to give


def check_model(config: Mapping[str, Setting]) -> None:
    """Checks `family` and the section `model` of a config.

    Args:
      config: as nested plain mappings.

    Raises:
      ValueError: an option is unknown, missing, of another type or out of its range.
    """
    name, options = config["family"], config["model"]
    families = registered("family")
    if name not in families:
        raise ValueError(f"unknown family {near_names(str(name), families)}")
    check_arguments(families[name], f"family {name!r}", "model.", options, positional=2)
    if not families[name].__module__.startswith("vaejax."):
        return  # its options may mean something else
    check_texts(families[name], "model.", options)
    nested = _nested()
    for option, value in options.items():
        found = nested.get(f"{name}.{option}") or nested.get(option)
        if found is not None:
            _check_nested(f"model.{option}", value, found)
        elif option in _SHARES and isinstance(value, Mapping):
            _check_shares(f"model.{option}", value)
        elif option in _SCHEDULED and value is not None:
            check_schedule(f"model.{option}", value, range_of_option(families[name], option))


def _check_shares(path: str, shares: Mapping[str, Setting]) -> None:
    """Checks the numbers or schedules of losses; their names are those of the chain."""
    if not shares:
        raise ValueError(f"{path} must name at least one loss")
    for loss, share in shares.items():
        check_schedule(f"{path}.{loss}", share, range_of_option(losses.balanced, "weights"))


def _check_nested(path: str, value: Setting, nested: Nested) -> None:
    """Checks the options of one function, and of those within them."""
    if not isinstance(value, Mapping | str):
        return  # None, or built already; the annotation has been checked
    if nested.function is not None:
        what, function = nested.what, nested.function
        options = dict(value) if isinstance(value, Mapping) else {}
    else:
        if isinstance(value, Mapping) and nested.default:
            value = {"kind": nested.default, **value}
        kind, options = kind_and_arguments(nested.table or {}, value, nested.what)
        what, function = f"{nested.what} {kind!r}", (nested.table or {})[kind]
    for name in nested.without:
        if name in options:
            raise ValueError(f"{what} has no setting {name!r} in {path}")
    own = {name: option for name, option in options.items() if name != "quantizer"}
    known = check_arguments(function, what, f"{path}.", own, positional=nested.positional)
    if function.__module__.startswith("vaejax."):
        check_texts(function, f"{path}.", own)
    if "quantizer" in options and "quantizer" not in known:
        raise ValueError(f"{what} has no setting {near_names('quantizer', known)}")
    required = [p.name for p in known.values() if p.default is p.empty]
    missing = [name for name in required if name not in (*options, *_FROM_DATA)]
    if missing:
        raise ValueError(f"{what} lacks the settings {missing}")
    if "quantizer" in options:
        _check_nested(f"{path}.quantizer", options["quantizer"], nested)
    for name in (name for name in _SHARES if isinstance(options.get(name), Mapping)):
        _check_shares(f"{path}.{name}", options[name])
    if isinstance(options.get("temperature"), Mapping):
        limits = range_of_option(function, "temperature")
        check_schedule(f"{path}.temperature", options["temperature"], limits)


def kinds_of(family: str, option: str) -> tuple[str, list[str]] | None:
    """What an option of a family names, as in "likelihood", and the names; None if it is no name.

    Args:
      family: name of the family.
      option: name of the option.
    """
    nested = _nested()
    found = nested.get(f"{family}.{option}") or nested.get(option)
    if found is None or found.table is None:
        return None
    return found.what, sorted(found.table)
