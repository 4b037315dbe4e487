"""Autoencoders of pictures from checkpoints of other libraries, on NumPy arrays."""

from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Options, UserArray
from vaejax.distributions import Normal
from vaejax.interop.formats import Format
from vaejax.interop.tiling import tiled
from vaejax.quantizers.nearest_neighbors import nearest

__all__ = ["PictureModel"]

_LOG_VARIANCE = (-30.0, 20.0)  # the range to which diffusers clips it


class PictureModel:
    """An autoencoder of pictures `[N, H, W, C]` with values in [0, 1] (or uint8).

    Latents `[N, h, w, D]` are scaled as diffusion models expect them: minus the config's
    `shift_factor`, times its `scaling_factor` (or by `latents_mean` and `latents_std`). Of a model
    with a codebook, latents are indices of codes, int32 `[N, h, w]`; `decode` takes both.

    `batch_size` pictures are computed at once, 0 for all of them. With `tile`, a number of pixels,
    larger pictures are computed on tiles that overlap by `overlap` pixels (0 for a quarter of a
    tile) and are blended. This needs little memory, but group norm and attention then see a tile
    only: colours and contrast can differ from those of the whole, see `docs/guides/interop.md`.

    Attributes:
      format: the class and library of the checkpoint.
      config: its `config.json`, complete.
      params: groups `encoder`, `decoder` and perhaps `codebook`, float32.
      encoder, decoder: the networks, as pure functions: `encoder.apply(params["encoder"], x)` and
        `decoder.apply(params["decoder"], z)`, on pictures in [0, 1] and unscaled latents.
    """

    def __init__(
        self, form: Format, config: Options, params: Params, dtype: str = "float32"
    ) -> None:
        """A model from the parts of a checkpoint; `vaejax.interop.load` reads them.

        Args:
          form: of the checkpoint.
          config: complete.
          params: of the networks.
          dtype: of the computation.
        """
        self.format, self.config, self.params, self.dtype = form, dict(config), params, dtype
        self.encoder, self.decoder = form.networks(config, dtype)
        self._features = jax.jit(lambda params, x: self.encoder.apply(params["encoder"], x))
        self._pictures = jax.jit(
            lambda params, z: jnp.clip(self.decoder.apply(params["decoder"], z), 0.0, 1.0)
        )
        self._indices = jax.jit(_indices)

    @property
    def factor(self) -> int:
        """Pixels for each position of the latents, in either direction."""
        levels = self.config.get("num_encoder_blocks") or self.config["block_out_channels"]
        return 2 ** (len(levels) - 1)

    @property
    def has_codebook(self) -> bool:
        """Whether latents are codes."""
        return "codebook" in self.params

    def posterior(self, params: Params, x: jax.Array) -> Normal:
        """q(z | x) of pictures in [0, 1], unscaled; a pure function of `params`.

        Raises:
          ValueError: the model has no such density.
        """
        if self.format.name != "AutoencoderKL":
            raise ValueError(f"{self.format.name} has no posterior density: use encode")
        mean, log_variance = jnp.split(self.encoder.apply(params["encoder"], x), 2, axis=-1)
        return Normal(mean, jnp.exp(0.5 * jnp.clip(log_variance, *_LOG_VARIANCE)))

    def encode(
        self, x: UserArray, *, tile: int = 0, overlap: int = 0, batch_size: int = 0
    ) -> np.ndarray:
        """The posterior's mean, scaled; or the indices of codes. See the class.

        Raises:
          ValueError: x or the tiles do not fit the model.
        """
        features = self._encoded(x, tile, overlap, batch_size)
        if self.has_codebook:
            return np.asarray(self._indices(self.params["codebook"], features))
        return self._scaled(features[..., : self._latent_channels])

    def sample(self, x: UserArray, seed: int = 0, *, batch_size: int = 0) -> np.ndarray:
        """A sample of the posterior of each picture, scaled; `encode` where there is no density."""
        if self.format.name != "AutoencoderKL":
            return self.encode(x, batch_size=batch_size)
        mean, log_variance = np.split(self._encoded(x, 0, 0, batch_size), 2, axis=-1)
        noise = np.random.default_rng(seed).standard_normal(mean.shape, np.float32)
        return self._scaled(mean + np.exp(0.5 * np.clip(log_variance, *_LOG_VARIANCE)) * noise)

    def decode(
        self, z: UserArray, *, tile: int = 0, overlap: int = 0, batch_size: int = 0
    ) -> np.ndarray:
        """Pictures `[N, H, W, C]`, clipped to [0, 1]. See the class.

        Args:
          z: scaled latents; of a model with a codebook, indices, or scaled features, each of which
            is replaced by its nearest code.
          tile: side of a tile in pixels; 0 for the whole.
          overlap: of tiles in pixels; 0 for a quarter of a tile.
          batch_size: pictures at once; 0 for all.

        Raises:
          ValueError: z or the tiles do not fit the model.
        """
        z = np.asarray(z)
        if self.has_codebook and z.dtype.kind in "iu":
            z = self._codes(z)
        else:
            channels = self._latent_channels
            if z.ndim != 4 or z.shape[-1] != channels or z.dtype.kind != "f":
                raise ValueError(
                    f"expected latents of shape [N, h, w, {channels}], found {z.dtype} "
                    f"{list(z.shape)}"
                )
            z = self._unscaled(z.astype(np.float32))
            if self.has_codebook:
                z = self._codes(np.asarray(self._indices(self.params["codebook"], z)))

        def decode(z: np.ndarray) -> np.ndarray:
            return np.asarray(self._pictures(self.params, z))

        return self._map(decode, z, tile, overlap, batch_size, Fraction(self.factor))

    def reconstruct(
        self, x: UserArray, *, tile: int = 0, overlap: int = 0, batch_size: int = 0
    ) -> np.ndarray:
        """Decoded posterior means, or decoded codes."""
        z = self.encode(x, tile=tile, overlap=overlap, batch_size=batch_size)
        return self.decode(z, tile=tile, overlap=overlap, batch_size=batch_size)

    @property
    def _latent_channels(self) -> int:
        return self.config.get("vq_embed_dim") or self.config["latent_channels"]

    def _encoded(self, x: UserArray, tile: int, overlap: int, batch_size: int) -> np.ndarray:
        x = _pictures(x, self.config["in_channels"])

        def encode(x: np.ndarray) -> np.ndarray:
            return np.asarray(self._features(self.params, x))

        return self._map(encode, x, tile, overlap, batch_size, Fraction(1, self.factor))

    def _map(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        x: np.ndarray,
        tile: int,
        overlap: int,
        batch_size: int,
        scale: Fraction,
    ) -> np.ndarray:
        """The function of rows, `batch_size` at once, on tiles if asked."""
        size = batch_size or len(x)
        parts = []
        pixels = scale.numerator if scale > 1 else 1  # for each position of x
        overlap = overlap or tile // 4 // self.factor * self.factor
        if tile and (tile % self.factor or overlap % self.factor or not 0 <= overlap < tile):
            raise ValueError(
                f"tile and overlap must be multiples of {self.factor} pixels, the overlap the "
                f"smaller, found {tile} and {overlap}"
            )
        for start in range(0, len(x), size):
            rows = x[start : start + size]
            if tile:
                rows = tiled(function, rows, tile // pixels, overlap // pixels, scale)
                parts.append(rows)
            else:
                parts.append(function(rows))
        return np.concatenate(parts)

    def _scaled(self, z: np.ndarray) -> np.ndarray:
        mean, std, scale = self._units()
        return ((z - mean) * (scale / std)).astype(np.float32)

    def _unscaled(self, z: np.ndarray) -> np.ndarray:
        mean, std, scale = self._units()
        return (z * (std / scale) + mean).astype(np.float32)

    def _units(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean and deviation of latents by the config, and the factor of the scaled ones."""
        mean, std = self.config.get("latents_mean"), self.config.get("latents_std")
        scale = float(self.config["scaling_factor"])
        if mean is not None and std is not None:
            return np.asarray(mean, np.float32), np.asarray(std, np.float32), scale
        shift = np.asarray(self.config.get("shift_factor") or 0.0, np.float32)
        return shift, np.ones((), np.float32), scale

    def _codes(self, indices: np.ndarray) -> np.ndarray:
        """Unscaled codes `[N, h, w, D]`."""
        codebook = np.asarray(self.params["codebook"])
        if indices.ndim != 3 or indices.min() < 0 or indices.max() >= len(codebook):
            raise ValueError(
                f"indices of codes have the shape [N, h, w] and lie in 0..{len(codebook) - 1}, "
                f"found {list(indices.shape)}, {indices.min()}..{indices.max()}"
            )
        return codebook[indices]


def _indices(codebook: jax.Array, features: jax.Array) -> jax.Array:
    """The nearest code of each position."""
    tokens = features.reshape(-1, features.shape[-1])
    return nearest(tokens, codebook).reshape(features.shape[:-1]).astype(jnp.int32)


def _pictures(x: UserArray, channels: int) -> np.ndarray:
    """Pictures as float32 in [0, 1].

    Raises:
      ValueError: another shape, dtype or range.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[-1] != channels or not len(x):
        raise ValueError(f"expected pictures of shape [N, H, W, {channels}], found {list(x.shape)}")
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(255)
    if x.dtype.kind != "f":
        raise ValueError(f"expected pictures of uint8, or float in [0, 1], found {x.dtype}")
    if not (x.min() >= 0.0 and x.max() <= 1.0):
        raise ValueError(f"expected pictures in [0, 1], found {x.min():.4g}..{x.max():.4g}")
    return x.astype(np.float32)
