"""The command on a checkpoint of another library: fine-tuned, loaded, saved again."""

import jax
import numpy as np
import pytest

import vaejax
from vaejax import interop
from vaejax.interop.checkpoints import FORMATS, save_params, shapes_of

CONFIG = '''
from vaejax.experiment.config_defaults import config_function


def small(config):
    """The architecture of latent diffusion, tiny."""
    config.model = {
        "latent_dim": 2,
        "network": {"kind": "latent_diffusion", "channels": (4, 8), "blocks": 1, "groups": 2},
        "likelihood": {"kind": "laplace", "scale": "learned"},
    }
    config.players.vae = {"minimizes": {"nll": 1.0, "kl": 1e-6}, "learning_rate": 1e-4}
    config.train.batch_size = 4
    config.train.steps = 2
    config.train.log_every = 2
    config.train.checkpoint_every = 2
    config.train.steps_per_dispatch = 1
    config.evaluate.figures = False
    config.mesh.data = 1


get_config = config_function("small", {"small": small}, family="beta_vae")
'''
OPTIONS = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "latent_channels": 2,
}


@pytest.mark.slow
def test_a_checkpoint_is_fine_tuned_and_saved_again(command, tmp_path):
    form, rng = FORMATS["AutoencoderKL"], np.random.RandomState(0)
    config = {**form.defaults, **OPTIONS}
    params = jax.tree.map(
        lambda s: (rng.randn(*s.shape) / 6).astype(np.float32), shapes_of(form, config)
    )
    save_params(form, config, params, tmp_path / "kl")
    images = rng.randint(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images[:16], x_test=images[16:])
    (tmp_path / "small.py").write_text(CONFIG)
    flags = [
        f"--config={tmp_path / 'small.py'}",
        f"--config.data.source=npz:{tmp_path / 'data.npz'}",
        f"--config.init_from={tmp_path / 'kl'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    code, out, err = command(*flags)
    assert code == 0, err
    assert "kl, AutoencoderKL of diffusers" in out
    assert "not taken: decoder/constants (not in the other model)" in out
    run = vaejax.load_run(tmp_path / "run")
    before = params["encoder"]["conv_in"]["kernel"]
    moved = np.abs(np.asarray(run.params["encoder"]["conv_in"]["kernel"]) - before).max()
    assert 0 < moved < 1e-3  # two steps of Adam
    x = images[:4] / np.float32(255)
    model = interop.load(interop.save(run, tmp_path / "saved"))
    np.testing.assert_allclose(model.encode(x), run.encode(x), atol=1e-4)
    picture = np.clip(run.reconstruct(x), 0, 1)
    np.testing.assert_allclose(model.reconstruct(x), picture, atol=1e-4)


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_ends_the_command_in_one_line(command, tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"")
    code, _, err = command(
        "--config=configs/beta_vae.py", f"--config.init_from={tmp_path}", f"--workdir={tmp_path}/r"
    )
    assert code == 2
    assert "holds its tensors as a pickle" in err
    assert len(err.strip().splitlines()) == 1
