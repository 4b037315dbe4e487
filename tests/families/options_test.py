"""The options of families: signatures, docstrings and errors."""

import inspect
import re

import pytest

from vaejax.families import FAMILIES, beta_vae, iwae, td_vae
from vaejax.families.shared import gaussian_vae, with_options_of

OWN = {name: family for name, family in FAMILIES.items() if family.__module__.startswith("vaejax")}


@pytest.mark.parametrize("name", OWN)
def test_every_option_is_a_keyword_with_a_default_and_a_description(name):
    arguments = inspect.getdoc(OWN[name]).partition("\nRaises:")[0]
    documented = re.findall(r"(?m)^  (\w+): ", arguments)
    shape, players, *options = inspect.signature(OWN[name]).parameters.values()
    assert (shape.name, players.name) == ("shape", "players")
    assert documented == ["shape", "players", *(option.name for option in options)]
    for option in options:
        assert option.kind is option.KEYWORD_ONLY
        assert option.default is not option.empty
        assert option.annotation is not option.empty


def test_shared_options_can_have_other_defaults():
    defaults = {
        family: {p.name: p.default for p in inspect.signature(family).parameters.values()}
        for family in (beta_vae, iwae)
    }
    assert defaults[beta_vae]["network"] == "conv"
    assert defaults[iwae]["network"] == "mlp"
    assert defaults[iwae]["latent_dim"] == 50
    assert defaults[iwae]["samples"] == 5


def test_unknown_options_are_reported():
    with pytest.raises(TypeError, match=r"td_vae\(\) got an unexpected keyword argument 'latent'"):
        td_vae((4, 3), {}, latent=3)
    with pytest.raises(TypeError, match=r"gaussian_vae has no options \['width'\]"):
        with_options_of(gaussian_vae, width=3)
