"""Trained runs on arrays as users have them."""

import hashlib
import json

import jax
import numpy as np
import pytest

import vaejax
from vaejax.training.restore import read_config

PIXELS = (np.random.RandomState(0).rand(40, 8, 8, 1) * 255).astype(np.uint8)
LABELS = np.arange(40) % 3
SHORT = [
    *("--config.train.steps=2", "--config.train.log_every=2", "--config.train.checkpoint_every=1"),
    *("--config.train.batch_size=8", "--config.train.eval_examples=4", "--config.data.holdout=0.1"),
    *("--config.evaluate.figures=False", "--config.mesh.data=1"),
]
MLP = ["--config.model.network.kind=mlp"]
RUNS = {
    "beta_vae": ["--config=configs/beta_vae.py", *MLP, "--config.model.latent_dim=3"],
    "cvae": [
        *("--config=configs/cvae.py", *MLP, "--config.model.latent_dim=3"),
        "--config.data.condition_dropout=0.25",
    ],
    "vqvae": [
        *("--config=configs/vqvae.py", "--config.second_stage.family="),
        *("--config.model.network.hidden=8", "--config.model.network.downsamplings=1"),
        "--config.model.quantizer.codes=16",
    ],
}


@pytest.fixture(scope="module")
def workdirs(command, tmp_path_factory):
    """A run of each kind, of two steps on 40 images; made when it is first used."""
    folder, made = tmp_path_factory.mktemp("runs"), {}
    np.savez(folder / "tiny.npz", image=PIXELS, label=LABELS)

    def workdir(name):
        if name not in made:
            made[name] = folder / name
            code, _, err = command(
                *RUNS[name], f"--config.data.source=npz:{folder / 'tiny.npz'}", *SHORT,
                f"--workdir={made[name]}",
            )  # fmt: skip
            assert code == 0, err
        return made[name]

    return workdir


def state_of(folder):
    """Name -> contents and time of change of every file and folder."""
    return {
        str(p): (
            p.stat().st_mtime_ns,
            hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "",
        )
        for p in sorted(folder.rglob("*"))
    }


def test_encode_decode_and_reconstruct_are_those_of_the_model(workdirs):
    before = state_of(workdirs("beta_vae"))
    run = vaejax.load_run(workdirs("beta_vae"))
    assert (run.step, run.spec.event_shape) == (2, (8, 8, 1))
    x = PIXELS[:11] / np.float32(255)

    @jax.jit
    def encode_and_decode(params, x):
        (node,) = run.family.model.encode(params, {"image": x}, None)
        return node, run.family.model.decode(params, (node.posterior.mean,)).mean

    node, want = encode_and_decode(run.params, x)
    z = run.encode(PIXELS[:11])
    assert (z.dtype, z.shape) == (np.float32, (11, 3))
    np.testing.assert_allclose(z, node.posterior.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.encode(x.astype(np.float32)), z, rtol=1e-6)
    np.testing.assert_array_equal(run.encode(PIXELS[:11, ..., 0]), z)
    np.testing.assert_allclose(run.encode(PIXELS[3]), z[3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.decode(z), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.reconstruct(PIXELS[:11]), want, rtol=1e-5, atol=1e-6)
    assert run.reconstruct(PIXELS[0]).shape == (8, 8, 1)
    run.sample(3), run.score(PIXELS[:2])
    assert state_of(workdirs("beta_vae")) == before


def test_samples_depend_on_the_seed_alone(workdirs):
    run = vaejax.load_run(workdirs("beta_vae"))
    samples = run.sample(19, seed=1)
    assert (samples.shape, samples.dtype) == ((19, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(run.sample(19, seed=1), samples)
    assert np.abs(run.sample(19, seed=2) - samples).max() > 1e-3
    cold = run.sample(4, temperature=0.0)
    np.testing.assert_allclose(cold, cold[:1].repeat(4, axis=0), atol=1e-6)


def test_scores_are_per_example(workdirs):
    run = vaejax.load_run(workdirs("beta_vae"))
    score = run.score(PIXELS[:13], samples=8)
    assert {name: a.shape for name, a in score.items()} == dict.fromkeys(
        ("nll", "kl", "elbo", "log_likelihood"), (13,)
    )
    np.testing.assert_allclose(score["elbo"], -(score["nll"] + score["kl"]), rtol=1e-5)
    encode = jax.jit(run.family.model.encode)
    (node,) = encode(run.params, {"image": PIXELS[:13] / np.float32(255)}, jax.random.key(0))
    loc, variance = np.asarray(node.posterior.loc), np.square(node.posterior.scale)
    kl = 0.5 * (variance + np.square(loc) - 1.0 - np.log(variance)).sum(axis=1)
    np.testing.assert_allclose(score["kl"], kl, rtol=1e-4)
    assert run.score(PIXELS[0])["nll"].shape == ()


@pytest.mark.slow
def test_codes_and_the_metrics_of_a_split(workdirs):
    run = vaejax.load_run(workdirs("vqvae"), "best")
    codes = run.encode(PIXELS)
    assert (codes.dtype, codes.shape[0], int(codes.max()) < 16) == (np.int32, 40, True)
    # The straight-through estimator adds and subtracts the features, which rounds.
    np.testing.assert_allclose(run.decode(codes), run.reconstruct(PIXELS), atol=1e-6)
    with pytest.raises(ValueError, match=r"codes of node 0 lie in 0\.\.15, .*found .*\.\.16"):
        run.decode(np.where(codes == codes.max(), 16, codes))
    h, w = codes.shape[1:]
    expected = rf"latents of node 0 have the shape \[N, {h}, {w}\], found \[40, {2 * h}, {w}\]"
    with pytest.raises(ValueError, match=expected):
        run.decode(np.repeat(codes, 2, axis=1))
    # Nothing is sampled, so the mean of the scores is what an evaluation reports.
    metrics = run.evaluate(vaejax.from_arrays({"image": PIXELS}, holdout=0))
    np.testing.assert_allclose(run.score(PIXELS)["elbo"].mean(), metrics["elbo"], rtol=1e-5)
    with pytest.raises(ValueError, match="posteriors of this model are: OneHotCodes"):
        run.score(PIXELS[:2], samples=4)


@pytest.mark.slow
def test_conditions(workdirs):
    run = vaejax.load_run(workdirs("cvae"))
    z = run.encode(PIXELS[:6], condition=LABELS[:6])
    per_class = run.decode(z, condition=LABELS[:6])
    np.testing.assert_allclose(
        run.reconstruct(PIXELS[:6], condition=LABELS[:6]), per_class, atol=1e-6
    )
    assert np.abs(run.decode(z, condition=1) - run.decode(z, condition=2)).max() > 1e-5
    assert run.sample(5, condition=2).shape == (5, 8, 8, 1)
    assert run.sample(5).shape == (5, 8, 8, 1)  # trained with dropout of the condition
    more = vaejax.from_arrays({"image": PIXELS, "label": np.arange(40) % 4}, holdout=0)
    with pytest.raises(ValueError, match="with 3 classes, but arrays has 4"):
        run.evaluate(more)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, or be -1 .* found 3\.\.3"):
        run.sample(2, condition=3)
    with pytest.raises(ValueError, match="expected one label or 6"):
        run.encode(PIXELS[:6], condition=[0, 1])


def test_invalid_arguments_are_reported(workdirs, tmp_path):
    run = vaejax.load_run(workdirs("beta_vae"))
    with pytest.raises(
        ValueError, match=r"trained on images of shape \[8, 8, 1\].*found \[2, 4, 4\]"
    ):
        run.encode(np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        run.encode(np.full((2, 8, 8, 1), 2.0))
    with pytest.raises(ValueError, match="not conditional"):
        run.encode(PIXELS[:2], condition=1)
    with pytest.raises(ValueError, match="n of at least 1"):
        run.sample(0)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 7; its checkpoints are \[1, 2\]"
    ):
        vaejax.load_run(workdirs("beta_vae"), 7)
    with pytest.raises(ValueError, match="'latest', 'best' or a step"):
        vaejax.load_run(workdirs("beta_vae"), "newest")
    with pytest.raises(FileNotFoundError, match="has no checkpoint; pass the --workdir"):
        vaejax.load_run(tmp_path)


def test_the_data_is_not_needed(workdirs, tmp_path):
    """A working directory that was moved, without its data."""
    import shutil

    shutil.copytree(workdirs("beta_vae"), tmp_path / "moved")
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    config["data"]["source"] = "npz:/no/such/file.npz"
    (tmp_path / "moved" / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path / "moved")["data"]["source"] == "npz:/no/such/file.npz"
    assert vaejax.load_run(tmp_path / "moved").encode(PIXELS[:2]).shape == (2, 3)
