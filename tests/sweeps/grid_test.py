"""The models of a sweep, and the fields that it cannot sweep over."""

import numpy as np
import pytest

from vaejax.sweeps.grid import (
    check,
    config_of_model,
    grid_of,
    is_sweep,
    parse,
    product,
    substitute,
)

CONFIG = {
    "seed": 4,
    "family": "beta_vae",
    "model": {"latent_dim": 3, "capacity": {"kind": "linear", "end": 5.0, "steps": 100}},
    "players": {"vae": {"minimizes": {"nll": 1.0, "kl": 4}, "freeze": True, "hidden": (3, 4)}},
    "train": {"steps": 10, "ema_decay": 0.5},
    "sweep": {"grid": "", "seeds": 1, "chunk": 0, "index": -1, "metrics": ""},
}


def config_of(**changes):
    return {**CONFIG, "sweep": {**CONFIG["sweep"], **changes}}


def test_the_grid_has_all_combinations_with_seeds_fastest():
    grid = product({"a": (1.0, 2.0), "b": (0.5,)}, (7, 9))
    assert [(grid.of(i)["a"], grid.of(i)["b"], int(grid.seeds[i])) for i in range(grid.size)] == [
        (1.0, 0.5, 7),
        (1.0, 0.5, 9),
        (2.0, 0.5, 7),
        (2.0, 0.5, 9),
    ]
    assert grid.points() == [({"a": 1.0, "b": 0.5}, [0, 1]), ({"a": 2.0, "b": 0.5}, [2, 3])]
    assert product({}, (3,)).points() == [({}, [0])]


def test_a_grid_is_parsed():
    assert parse("a.b=1, 2e-3 ;c = -4;") == {"a.b": (1.0, 2e-3), "c": (-4.0,)}
    assert parse(" ") == {}


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=1,,2", "a=x", "a=1;a=2", "a=1 2", "a=1;b"])
def test_a_malformed_grid_is_rejected(text):
    with pytest.raises(ValueError, match=r"sweep\.grid=.* is not of the form NAME=NUMBER"):
        parse(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("players.vea.minimizes.kl", "players has no 'vea' .*did you mean 'vae'"),
        ("players.vae.minimizes.k", "players.vae.minimizes has no 'k' .*did you mean 'kl'"),
        ("modl.latent_dim", "the config has no 'modl' .*did you mean 'model'"),
        ("players.vae.minimizes.kl.end", "players.vae.minimizes.kl has no 'end'"),
        ("model.capacity", "which has fields: end, kind, steps"),
        ("players.vae.freeze", "=True, which is not one number"),
        ("players.vae.hidden", r"=\(3, 4\), which is not one number"),
        ("family", "='beta_vae', which is not one number"),
        ("seed", r"set their number in sweep\.seeds"),
        ("train.steps", "share data and training"),
    ],
)
def test_fields_that_cannot_be_swept_are_rejected(name, message):
    with pytest.raises(ValueError, match=message):
        check(CONFIG, {name: (1.0,)})


@pytest.mark.parametrize(
    ("over", "seeds"),
    [({"a": (1.0, 1.0)}, (0,)), ({"a": (float("nan"),)}, (0,)), ({"a": ()}, (0,)), ({}, (0, 0))],
)
def test_repeated_or_missing_values_are_rejected(over, seeds):
    with pytest.raises(ValueError, match="needs distinct finite numbers"):
        product(over, seeds)


def test_seeds_out_of_range_are_rejected():
    with pytest.raises(ValueError, match=r"in \[0, 2³¹\)"):
        product({}, (2**31,))
    with pytest.raises(ValueError, match=r"sweep\.seeds must be at least 1, found 0"):
        grid_of(config_of(seeds=0))


def test_the_grid_of_a_config():
    grid = grid_of(config_of(grid="players.vae.minimizes.kl=1,2", seeds=3))
    np.testing.assert_array_equal(grid.seeds, [4, 5, 6, 4, 5, 6])
    assert [is_sweep(config_of(**c)) for c in ({}, {"grid": "a=1"}, {"seeds": 2})] == [0, 1, 1]
    assert not is_sweep({"seed": 0})


def test_the_config_of_one_model():
    """An integer field stays an int, as in the config of a single run."""
    config = config_of(grid="players.vae.minimizes.kl=1,2.5; model.capacity.steps=50", seeds=2)
    grid = grid_of(config)
    first, last = config_of_model(config, grid, 0), config_of_model(config, grid, 3)
    assert "sweep" not in first
    assert (first["seed"], last["seed"]) == (4, 5)
    assert type(first["players"]["vae"]["minimizes"]["kl"]) is int
    assert last["players"]["vae"]["minimizes"] == {"nll": 1.0, "kl": 2.5}
    assert (first["model"]["capacity"]["steps"], CONFIG["model"]["capacity"]["steps"]) == (50, 100)
    with pytest.raises(ValueError, match=r"sweep\.index=4: the sweep has the models 0 to 3"):
        config_of_model(config, grid, 4)


def test_substitution_does_not_change_the_original():
    new = substitute(CONFIG, {"players.vae.minimizes.kl": 9.5, "model.latent_dim": 2.5})
    assert (new["players"]["vae"]["minimizes"]["kl"], new["model"]["latent_dim"]) == (9.5, 2.5)
    assert (CONFIG["players"]["vae"]["minimizes"]["kl"], CONFIG["model"]["latent_dim"]) == (4, 3)
