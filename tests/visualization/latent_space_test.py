"""Ways through a latent space against closed forms; maps and pictures read back."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import image

from vaejax import families
from vaejax.core.game import Latent, Trace
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Codes, Normal
from vaejax.networks import Network
from vaejax.visualization import latent_space
from vaejax.visualization.latent_space import (
    between,
    draw_interpolations,
    draw_map,
    interpolate,
    one_vector,
    panels_of,
    plane,
)
from vaejax.visualization.plots import latent_space as plots
from vaejax.visualization.plots.latent_space import Panel

RNG = np.random.RandomState(0)


def ends(*shape):
    return (jnp.asarray(RNG.standard_normal(shape), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("kind", latent_space.KINDS)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_ends_are_exact(kind, shape):
    z0, z1 = ends(*shape)
    z = interpolate(z0, z1, 7, kind)
    assert z.shape == (*shape[:-1], 7, 5)
    np.testing.assert_array_equal(z[..., 0, :], z0)
    np.testing.assert_array_equal(z[..., -1, :], z1)


def test_linear_goes_in_equal_steps():
    z0, z1 = ends(3, 5)
    z = np.asarray(interpolate(z0, z1, 5, "linear"))
    for i in range(5):
        np.testing.assert_allclose(z[:, i], (1 - i / 4) * z0 + i / 4 * z1, rtol=1e-5, atol=1e-6)


def test_spherical_keeps_the_norm_and_turns_by_equal_angles():
    z0, z1 = (np.asarray(z, np.float64) for z in ends(4, 6))
    z0, z1 = (3.0 * z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z0, z1))
    z = interpolate(jnp.asarray(z0, jnp.float32), jnp.asarray(z1, jnp.float32), 9, "spherical")
    z = np.asarray(z, np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 3.0, rtol=1e-5)
    whole = np.arccos((z0 * z1).sum(axis=1) / 9)
    turned = np.arccos(np.clip((z[:, :-1] * z[:, 1:]).sum(axis=-1) / 9, -1, 1))
    np.testing.assert_allclose(turned, np.tile(whole[:, None] / 8, (1, 8)), rtol=1e-3)
    midpoint = 3.0 * (z0 + z1) / np.linalg.norm(z0 + z1, axis=1, keepdims=True)
    np.testing.assert_allclose(z[:, 4], midpoint, rtol=1e-4, atol=1e-5)
    linear = interpolate(jnp.asarray(z0, jnp.float32), jnp.asarray(z1, jnp.float32), 9, "linear")
    assert np.linalg.norm(linear[:, 4], axis=-1).max() < 2.9


@pytest.mark.parametrize("factor", [2.0, 0.0, -1.0, 1.0])
def test_spherical_without_an_arc_is_a_line(factor):
    z0 = jnp.asarray(RNG.standard_normal((1, 4)), jnp.float32)
    z = interpolate(z0, factor * z0, 5, "spherical")
    np.testing.assert_allclose(z, interpolate(z0, factor * z0, 5, "linear"), rtol=1e-6)


def test_unknown_kind():
    with pytest.raises(ValueError, match="did you mean 'spherical'"):
        interpolate(*ends(3), 5, "sphericle")


def test_plane_of_two_dimensions_stays():
    means = RNG.standard_normal((9, 2))
    points, share = plane(means)
    assert points is means
    assert share is None


def test_plane_keeps_the_most_variance():
    """Against the eigenvectors of the covariance, up to the sign."""
    means = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, 5)) + 7.0
    points, share = plane(means.astype(np.float32))
    values, vectors = np.linalg.eigh(np.cov(means.T))
    assert share == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-4)
    assert 0.3 < share < 1.0
    for i in (0, 1):
        axis = vectors[:, -1 - i]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(points[:, i], (means - means.mean(axis=0)) @ axis, atol=2e-4)


def transparent(count=12):
    """A family whose decoder shows z, and a trace with two draws for each example."""
    show = Network(lambda key, z: {}, lambda params, z: z.reshape(-1, 2, 2, 1))
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    family = families.beta_vae(
        (2, 2, 1), players, latent_dim=4, network=(show, show), likelihood="normal"
    )
    x = jnp.asarray(RNG.rand(count, 2, 2, 1), jnp.float32)
    loc = jnp.repeat(jnp.asarray(RNG.rand(count, 4), jnp.float32), 2, axis=0)
    q = Normal(loc, jnp.ones_like(loc))
    return family, Trace(x, None, (Latent(q, q, loc + 9.0),))


def test_between_decodes_the_ways():
    family, trace = transparent()
    means = trace.latents[0].posterior.mean[::2]
    pairs = np.array([[0, 5], [3, 1], [2, 4]])
    images = between(family, {"encoder": {}, "decoder": {}}, means, pairs, steps=5)
    assert images.shape == (3, 2, 5, 2, 2, 1)
    for row, (i, j) in zip(images, pairs, strict=True):
        for way, kind in zip(row, latent_space.KINDS, strict=True):
            wanted = interpolate(means[i], means[j], 5, kind)
            np.testing.assert_allclose(way.reshape(5, 4), wanted, rtol=1e-5)


def test_the_condition_is_that_of_the_first():
    family, _ = transparent()

    def decode(params, zs, condition):
        return Normal(zs[0] + condition["label"][:, None].astype(jnp.float32), zs[0])

    family = family._replace(model=family.model._replace(decode=decode))
    given = {"label": jnp.array([10, 20, 30])}
    out = between(family, {}, jnp.zeros((3, 4)), np.array([[0, 1], [2, 0]]), 3, given)
    np.testing.assert_array_equal(out[0], np.full((2, 3, 4), 10.0))
    np.testing.assert_array_equal(out[1], np.full((2, 3, 4), 30.0))


def test_interpolations_picture(tmp_path, monkeypatch):
    """Each row starts and ends with data, and the means of those examples stand beside them."""
    family, trace = transparent()
    sheets = []
    monkeypatch.setattr(
        plots,
        "save_grid",
        lambda path, images, columns, **options: sheets.append((images, columns, options)),
    )
    params = {"encoder": {}, "decoder": {}}
    draw_interpolations(family, params, trace, tmp_path / "i.png", pairs=2)
    ((images, columns, options),) = sheets
    assert options["row_labels"] == ["linear", "spherical"] * 2
    rows = np.asarray(images).reshape(4, columns, 4)
    x, means = np.asarray(trace.x).reshape(12, 4), np.asarray(trace.latents[0].posterior.loc[::2])
    for row, (i, j) in zip(rows, [(0, 7), (0, 7), (3, 11), (3, 11)], strict=True):
        np.testing.assert_array_equal(row[[0, -1]], x[[i, j]])
        np.testing.assert_allclose(row[[1, -2]], means[[i, j]], rtol=1e-6)
    monkeypatch.undo()
    draw_interpolations(family, params, trace, tmp_path / "i.png", pairs=2)
    assert image.imread(tmp_path / "i.png").std() > 0.01


def test_who_has_one_vector():
    _, trace = transparent()
    (node,) = trace.latents
    assert one_vector(trace.latents) is node
    assert one_vector((node, node)) is None
    assert one_vector((node._replace(z=jnp.zeros((4, 2, 2))),)) is None
    codes = Codes(node.z, node.z, jnp.zeros(24, jnp.int32), 5)
    assert one_vector((node._replace(posterior=codes),)) is None


def test_panels_are_factors_that_vary_else_the_label():
    pixels, label = np.zeros((20, 2, 2, 1), np.uint8), np.arange(20) // 5 % 3
    factors = np.stack([np.zeros(20), *(np.arange(20) % k for k in (2, 3, 4, 5, 6))], axis=1)

    def of(**arrays):
        source = from_arrays({"image": pixels, **arrays})
        return panels_of(source, source.decode(source.take(np.arange(12))))

    assert of() == []
    (panel,) = of(label=label, class_names=np.array(["a", "b", "c"]))
    assert (panel.title, tuple(panel.names)) == ("label", ("a", "b", "c"))
    names = np.array(["still", "two", "three", "four", "five", "six"])
    panels = of(label=label, factors=factors.astype(np.int32), factor_names=names)
    assert [panel.title for panel in panels] == ["two", "three", "four", "five"]
    assert len(np.unique(panels[1].values)) == 3
    factors[:, 0] = label
    panels = of(
        label=label, factors=factors.astype(np.int32), class_names=np.array(["a", "b", "c"])
    )
    assert [tuple(panel.names) for panel in panels] == [("a", "b", "c"), (), (), ()]


def rgb(path):
    return np.round(255 * image.imread(path)[..., :3]).astype(int)


def test_the_map_puts_points_in_their_place_and_colour(tmp_path):
    """Two classes left and right of each other, read back by the colours of their points."""
    means = RNG.standard_normal((80, 2)) * 0.1
    label = np.arange(80) % 2
    means[:, 0] += np.where(label == 1, 5.0, -5.0)
    draw_map(tmp_path / "m.png", means, [Panel("label", label, ("left", "right"))])
    picture = rgb(tmp_path / "m.png")
    plot = picture[:, : int(0.87 * picture.shape[1])]  # without the legend
    where = []
    for colour in ([31, 119, 180], [255, 127, 14]):  # of tab10, which shine through a little
        near = np.abs(plot - np.array(colour)).max(axis=-1) < 45
        where.append(np.argwhere(near)[:, 1].mean())
    assert where[1] - where[0] > 0.3 * picture.shape[1]


def test_titles_say_what_was_done(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(plots, "latent_map", lambda *args, **options: said.append(options))
    panels = [Panel("label", np.arange(6) % 2)]
    means = np.diag([4.0, 3.0, 0.0]).repeat(2, axis=0) * np.tile([[1.0], [-1.0]], (3, 1))
    draw_map(tmp_path / "m.png", means, panels)
    assert said[0]["title"] == (
        "Posterior means: two principal components of 3, 100% of the variance"
    )
    draw_map(tmp_path / "m.png", means[:, :2], panels)
    assert (said[1]["title"], said[1]["axes"]) == ("Posterior means", ("z0", "z1"))
    draw_map(tmp_path / "m.png", means[:, :1], panels)
    draw_map(tmp_path / "m.png", means, [])
    assert len(said) == 2


def test_a_map_of_all_kinds_of_panels(tmp_path):
    panels = [
        Panel("shape", np.arange(90) % 3),
        Panel("scale", np.arange(90) % 6),
        Panel("label", np.arange(90) % 5 - 1, ("a", "b", "c", "d")),
    ]
    draw_map(tmp_path / "m.png", RNG.standard_normal((90, 4)), panels)
    picture = rgb(tmp_path / "m.png")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
