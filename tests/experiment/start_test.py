"""What a run compiles before its initial state and its first step: every program takes time."""

import jax
import pytest

from configs import beta_vae, td_vae
from vaejax.experiment.prepare import prepare

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.mark.parametrize("config", [beta_vae, td_vae])
def test_one_program_for_each_split_checks_the_data(config, tmp_path):
    compiled = []

    def listen(event, seconds, **about):
        del seconds
        if event == COMPILED:
            compiled.append(about)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        prepare(config.get_config().to_dict(), tmp_path, "train")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) <= 2, compiled
