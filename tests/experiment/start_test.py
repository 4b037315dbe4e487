"""What a run compiles before its initial state and its first step: every program takes time."""

import pytest

from configs import beta_vae, td_vae
from tests.compilations import compilations
from vaejax.experiment.prepare import prepare


@pytest.mark.parametrize("config", [beta_vae, td_vae])
def test_one_program_for_each_split_checks_the_data(config, tmp_path):
    with compilations() as compiled:
        prepare(config.get_config().to_dict(), tmp_path, "train")
    assert len(compiled) <= 2, compiled
