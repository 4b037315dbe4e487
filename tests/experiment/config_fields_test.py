"""Bad configs, generated from the declarations: each is refused in one line, at once."""

import copy
import functools
import time

import numpy as np
import pytest

from tests.experiment.configs_test import CASES, config_of
from vaejax.core.annotations import accepts
from vaejax.experiment.check_config import check_config
from vaejax.experiment.declared_fields import declared_fields
from vaejax.experiment.text_options import CHOICES
from vaejax.experiment.workdir import flatten

NAN, INF, HUGE = float("nan"), float("inf"), 10**15
# Values of every sort, of which a field refuses those that are not of its type and range.
WRONG = (
    None,
    True,
    "",
    "none such",
    -3,
    -0.5,
    2.5,
    NAN,
    INF,
    HUGE,
    1e15,
    (),
    (0,),
    (-1.5,),
    {},
    "1",
)
STOCK = [
    *(("beta_vae", "sprites"), ("beta_vae", "capacity"), ("vqvae", "sprites"), ("vqvae", "fsq")),
    *(
        ("vqvae", "residual"),
        ("vqvae", "gumbel"),
        ("hierarchical", "conv_lvae"),
        ("td_vae", "sprites"),
    ),
    *(("prior", "transformer"), ("sparse_vae", "synthetic"), ("vae_gan", "sprites")),
    *(("vqgan", "vector"), ("codec", "speech")),
]


def put(config, path, value):
    """A copy of a config with another value in one field."""
    changed = copy.deepcopy(config)
    *sections, name = path.split(".")
    section = changed
    for part in sections:
        section = section[part]
    section[name] = value
    return changed


def is_bad(row, value):
    """Whether a declared field must refuse a value, computed apart from `check_value`."""
    if not accepts(row.annotation, value):
        return True
    if isinstance(value, str) and row.limits.choices:
        return value not in row.limits.choices
    numbers = [
        v for v in (value if isinstance(value, tuple) else [value]) if not isinstance(v, str)
    ]
    return any(not np.isfinite(n) or not row.limits.contains(n) for n in numbers)


def of_sections():
    """Every declared field with every wrong value, and an unknown field in every section."""
    declared = declared_fields()
    prior = config_of("prior", "transformer").to_dict()
    two_stages = config_of("vqvae", "sprites").to_dict()

    def config_with(path):
        return two_stages if path.startswith("second_stage") else prior

    for path, row in declared.items():
        if path.rpartition(".")[2] in ("model", "players", "family"):
            continue
        for value in WRONG:
            if is_bad(row, value):
                yield put(config_with(path), path, value), path.rpartition(".")[2]
    sections = {path.rpartition(".")[0] for path in declared}
    for section in sorted(sections):
        path = f"{section}.binarise" if section else "binarise"
        yield put(config_with(path), path, 1), "no field 'binarise'"
        if section and section.count(".") == 0:
            yield put(config_with(section), section, 3), "must be a section"


TEXTS = {"kind", *(option.rpartition(".")[2] for option in CHOICES)}  # options with choices


def wrong_for(value):
    """Values that no option with this value takes."""
    if isinstance(value, bool):
        return (None, "yes", 3, NAN, (), {})
    if isinstance(value, int):
        return ("many", -70, 2.5, NAN, INF, HUGE, True, (3,), None)
    if isinstance(value, float):
        return ("many", NAN, INF, True, None)
    if isinstance(value, str):
        return (3, NAN, True, (1,))
    return (3.5, NAN, True, "x") if isinstance(value, tuple) else ()


def of_options():
    """Every option of stock configs' models and players with wrong values, and unknown ones."""
    for case in STOCK:
        config = config_of(*case).to_dict()
        for path, value in flatten(config).items():
            if not path.startswith(("model.", "players.")):
                continue
            for wrong in wrong_for(value):
                yield put(config, path, wrong), ""
            section, _, name = path.rpartition(".")
            if isinstance(value, str) and name in TEXTS:
                yield put(config, path, "no_such"), "no_such"
            if name != "kind" and not section.endswith(("minimizes", "balanced")):
                yield put(config, f"{section}.no_such", 1), "no_such"


@functools.cache
def bad_configs():
    return [*of_sections(), *of_options()]


def refusal(config):
    """The one line that a bad config is refused with."""
    start = time.process_time()
    with pytest.raises(ValueError, match=r"\w") as caught:
        check_config(config)
    assert time.process_time() - start < 1
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_there_are_hundreds():
    assert len(bad_configs()) >= 500


@pytest.mark.parametrize("part", range(30))
def test_some_bad_configs(part):
    every = bad_configs()
    config, named = every[part * len(every) // 30]
    assert named in refusal(config)


@pytest.mark.slow
def test_every_bad_config():
    for config, named in bad_configs():
        assert named in refusal(config), named


@pytest.mark.parametrize(("file", "setting"), CASES)
def test_stock_configs_pass(file, setting):
    check_config(config_of(file, setting).to_dict())
