"""Losses that any family of autoencoders can take: of a discriminator, of perceptual features.

They are further terms of the chain and further rows of the table of players, whatever the family.
"""

import functools
import inspect
from collections.abc import Callable, Sequence

from vaejax import losses, networks
from vaejax.core.game import Family, LossTransform, Model, Player, PlayerRow, chain
from vaejax.core.registry import call
from vaejax.core.schedules import schedule
from vaejax.core.types import Options, PyTree
from vaejax.families.shared import Players
from vaejax.optimizers.moving_average import moving_average

__all__ = ["RANDOM", "discriminator_losses", "perceptual_loss", "with_added_losses"]

_MakeFamily = Callable[..., Family]
_DISCRIMINATOR, _AVERAGE, _BALANCE = "discriminator", "discriminator_average", "balance"
RANDOM = "random"  # features of convolutions with random kernels

_ARGUMENTS = """
  discriminator: of the data and the outputs, one of `networks.DISCRIMINATORS` with its settings,
    or a network; None for none. It is the group of a player `discriminator`, which minimises
    `gan`; the owner of the decoder minimises `generator`.
  adversarial: settings of `discriminator_losses`.
  perceptual: settings of `perceptual_loss`, which adds the loss `perceptual`; or a transform that
    makes it; None for none.
  spectral: settings of `losses.spectral`, which adds `stft` and `mel`; None for none.
  balanced: loss -> share of the gradient at the output, a number or a schedule, which adds the
    loss `balanced`, see `losses.balanced`; None for none. The moving averages of the gradients'
    norms are a group and a player `balance`, which need no row in the config.
"""


def discriminator_losses(
    discriminator: networks.Network,
    model: Model,
    terms: LossTransform,
    *,
    objective: str = "hinge",
    prior_samples: bool = False,
    real_weight: float = 1.0,
    r1: bool = False,
    lecam: bool = False,
    feature_matching: bool = False,
    adaptive: bool = False,
    layer: str = "",
    reconstruction: Options | None = None,
) -> LossTransform:
    """The losses of a discriminator, see `losses.adversarial`.

    Args:
      discriminator: the discriminator's network.
      model: of the outputs.
      terms: make the losses of `reconstruction`.
      objective: `hinge`, `non_saturating`, `least_squares` or `gan`.
      prior_samples: whether samples from the prior are fakes too; the model must generate them.
      real_weight: of the data in `gan`.
      r1: whether to make `r1`, the gradient penalty.
      lecam: whether to make `lecam`; the moving averages of the logits are a group and a player
        `discriminator_average`, which need no row in the config.
      feature_matching: whether to make `feature_matching`.
      adaptive: whether to make `generator_balanced`.
      layer: path of the weights at which gradients are compared; `""` for the last layer that the
        decoder declares.
      reconstruction: loss -> weight of the reconstruction that the generator is balanced with;
        None for nll and, if there is one, the perceptual loss, with the weight 1.

    Raises:
      ValueError: the model declares no last layer and none is named.
    """
    weight = None
    if adaptive:
        path = layer or model.last_layer
        if not path:
            raise ValueError(
                "model.adversarial.adaptive needs the decoder's last layer, which this model does "
                "not declare: name it, as in model.adversarial.layer=decoder/Conv_2/kernel"
            )
        weight = losses.AdaptiveWeight(model.decode, path, reconstruction or {"nll": 1.0}, terms)
    return losses.adversarial(
        discriminator,
        objective,
        prior_samples=prior_samples,
        real_weight=real_weight,
        r1=r1,
        lecam=lecam,
        feature_matching=feature_matching,
        adaptive=weight,
        group=_DISCRIMINATOR,
    )


def perceptual_loss(
    *, features: str = RANDOM, channels: int = 32, layers: int = 3, seed: int = 0
) -> LossTransform:
    """The loss `perceptual`, see `losses.perceptual`.

    Args:
      features: `random`, of convolutions with random kernels. In a config also the `--workdir` of
        a trained `configs/classifier.py`, or a file `.npz` or `.safetensors` of the weights of
        LPIPS (see `networks.lpips_features`).
      channels: of the first random layer.
      layers: number of random layers.
      seed: of random layers.

    Raises:
      ValueError: any other features; a config reads them.
    """
    if features != RANDOM:
        raise ValueError(
            f"model.perceptual.features={features!r} is read by a config; in Python, pass "
            "perceptual=losses.perceptual(feature_maps, heads)"
        )
    return losses.perceptual(networks.random_features(channels, layers, seed))


def _split(
    players: Players, extra: Sequence[str]
) -> tuple[dict[str, PlayerRow], dict[str, Player]]:
    """The rows of the family's own players, and the players of the groups `extra`."""
    own: dict[str, PlayerRow] = {}
    added: dict[str, Player] = {}
    for name, row in players.items():
        groups = tuple(row[2]) if len(row) == 3 else ()
        taken = tuple(group for group in groups if group in extra)
        if name in extra or (taken and len(taken) == len(groups)):
            added[name] = Player(taken or (name,), *row[:2])
        elif taken:
            raise ValueError(
                f"players.{name}.owns: the groups {list(taken)} need a player of their own"
            )
        else:
            own[name] = row
    return own, added


def _players(added: dict[str, Player], extra: Sequence[str]) -> dict[str, Player]:
    """The players of the groups `extra`, each of which has exactly one."""
    owned = [group for player in added.values() for group in player.owns]
    for name in (_AVERAGE, _BALANCE):
        if name in extra and name not in owned:
            added = {**added, name: Player((name,), {}, moving_average())}
    # A player that takes a group, as `freeze_groups` does, replaces the group's own.
    taken = {group for name, player in added.items() for group in player.owns if name != group}
    added = {name: p for name, p in added.items() if not (name in taken and p.owns == (name,))}
    for group in extra:
        if not any(group in player.owns for player in added.values()):
            raise ValueError(f"no losses and optimizer given for the players {[group]}")
    return added


def _added_terms(
    family: Family,
    shape: Sequence[int],
    discriminator: Options | str | networks.Network | None,
    adversarial: Options | None,
    perceptual: Options | LossTransform | None,
    spectral: Options | None,
    balanced: Options | None,
) -> list[LossTransform]:
    terms: list[LossTransform] = []
    own: Options = dict(adversarial or {})
    if spectral is not None:
        terms.append(call(losses.spectral, "spectral", **spectral))
    if isinstance(perceptual, LossTransform):
        terms.append(perceptual)
    elif perceptual is not None:
        if len(shape) != 3:
            raise ValueError(
                "model.perceptual is for images of shape (H, W, C), found events of shape "
                f"{tuple(shape)}"
            )
        terms.append(call(perceptual_loss, "perceptual", **perceptual))
    if discriminator is not None:
        reconstruction = chain(losses.nll(), *terms)
        names = {"nll": 1.0, **({"perceptual": 1.0} if perceptual is not None else {})}
        own = {"reconstruction": names, **{k: v for k, v in own.items() if v is not None}}
        network = networks.build_discriminator(discriminator, shape, default="patch")
        inputs = network, family.model, reconstruction
        terms.append(call(discriminator_losses, "adversarial", *inputs, **own))
    elif own:
        raise ValueError(
            "model.adversarial has settings of a discriminator, but model.discriminator is not set"
        )
    if balanced is not None:
        shares = {name: schedule(share) for name, share in balanced.items()}
        terms.append(losses.balanced(chain(losses.nll(), *terms), shares, group=_BALANCE))
    return terms


def with_added_losses(make: _MakeFamily) -> _MakeFamily:
    """A family with further options that add losses, see `_ARGUMENTS`.

    Args:
      make: `(shape, players, *, options) -> Family`.
    """
    signature = inspect.signature(make)
    options = {
        "discriminator": str | Options | networks.Network | None,
        "adversarial": Options | None,
        "perceptual": Options | LossTransform | None,
        "spectral": Options | None,
        "balanced": Options | None,
    }
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in options.items()
    ]

    @functools.wraps(make)
    def family(shape: Sequence[int], players: Players, **arguments: PyTree) -> Family:
        given = {name: arguments.pop(name, None) for name in options}
        present = {
            _DISCRIMINATOR: given["discriminator"] is not None,
            _AVERAGE: bool((given["adversarial"] or {}).get("lecam")),
            _BALANCE: given["balanced"] is not None,
        }
        extra = [name for name, is_there in present.items() if is_there]
        own, added = _split(players, extra)
        made = make(shape, own, **arguments)
        terms = _added_terms(made, shape, **given)
        if not terms:
            return made
        everyone = {**made.players, **_players(added, extra)}
        return Family(made.model, chain(made.losses, *terms), everyone)

    family.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *parameters]
    )
    family.__doc__ = _with_arguments(inspect.getdoc(make) or "")
    return family


def _with_arguments(text: str) -> str:
    """A docstring with the entries of the added options at the end of its `Args`."""
    head, args, tail = text.partition("\nArgs:\n")
    entries, break_, rest = tail.partition("\n\n")
    return f"{head}{args}{entries}{_ARGUMENTS.rstrip()}{break_}{rest}" if args else text
