"""Codecs of sound from checkpoints of other libraries, on NumPy arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Options, UserArray
from vaejax.interop import dac, encodec
from vaejax.interop.formats import Format
from vaejax.networks.codec import Codec
from vaejax.quantizers.nearest_neighbors import nearest
from vaejax.quantizers.quantizer import normalize

__all__ = ["SoundCodes", "SoundModel"]


class SoundCodes(NamedTuple):
    """Codes of sounds that are encoded in K chunks, or scaled to the same loudness.

    Attributes:
      codes: int32 `[K, N, quantizers, frames]`; −1 after the end of a shorter last chunk.
      scales: `[K, N]`, by which chunks were divided.
      length: samples of a sound.
    """

    codes: np.ndarray
    scales: np.ndarray
    length: int


class SoundModel:
    """A codec of sounds `[N, T]` or `[N, T, C]` with values in [-1, 1].

    Attributes:
      format: the class and library of the checkpoint.
      config: its `config.json`, complete.
      params: groups `encoder`, `decoder` and `codebook` or `quantizers`, float32.
      codec: the network; `codec.encode_chunk` runs a causal one chunk by chunk.
      encoder, decoder: the networks as pure functions: `encoder.apply(params["encoder"], x)` gives
        features before quantisation.
    """

    def __init__(
        self, form: Format, config: Options, params: Params, dtype: str = "float32"
    ) -> None:
        """A model from the parts of a checkpoint; `vaejax.interop.load` reads them.

        Args:
          form: of the checkpoint.
          config: complete.
          params: of the networks and the codebooks.
          dtype: of the computation.
        """
        self.format, self.config, self.params, self.dtype = form, dict(config), params, dtype
        self.codec: Codec = (dac if form is dac.DAC else encodec).codec_of(config, dtype)
        self.encoder, self.decoder = form.networks(config, dtype)
        self._encode = jax.jit(self._codes_of, static_argnums=2)
        self._decode = jax.jit(self._sounds_of)

    @property
    def channels(self) -> int:
        """C of the sounds."""
        return self.codec.out_channels

    @property
    def num_quantizers(self) -> int:
        """The largest number of codes for each frame."""
        if self.format is dac.DAC:
            return self.config["n_codebooks"]
        return encodec.num_quantizers(self.config)

    @property
    def _in_chunks(self) -> bool:
        chunks = None if self.format is dac.DAC else encodec.chunks_of(self.config)
        return chunks is not None or bool(self.config.get("normalize"))

    def encode(
        self, x: UserArray, *, quantizers: int = 0, bandwidth: float | None = None
    ) -> np.ndarray | SoundCodes:
        """The codes of sounds.

        Args:
          x: sounds; DAC's are extended by zeros to whole frames.
          quantizers: codes for each frame; 0 for all.
          bandwidth: of an `EncodecModel` instead: kbit/s.

        Returns:
          int32 `[N, quantizers, frames]`; `SoundCodes` of a model that encodes in chunks or scales
          sounds (EnCodec of 48 kHz).

        Raises:
          ValueError: the sounds or the number of quantizers do not fit.
        """
        x, count = self._sounds(x), self._count(quantizers, bandwidth)
        if not self._in_chunks:
            return np.asarray(self._encode(self.params, x, count))
        length, step = encodec.chunks_of(self.config) or (x.shape[1], x.shape[1])
        codes, scales = [], []
        for start in range(0, x.shape[1], step):
            chunk, scale = x[:, start : start + length], np.ones(len(x), np.float32)
            if self.config["normalize"]:
                scale = np.sqrt(np.mean(np.square(chunk.mean(-1)), axis=1)) + np.float32(1e-8)
            codes.append(np.asarray(self._encode(self.params, chunk / scale[:, None, None], count)))
            scales.append(scale)
        frames = max(part.shape[-1] for part in codes)
        filled = [
            np.pad(c, ((0, 0), (0, 0), (0, frames - c.shape[-1])), constant_values=-1)
            for c in codes
        ]
        return SoundCodes(np.stack(filled), np.stack(scales), x.shape[1])

    def decode(self, codes: UserArray) -> np.ndarray:
        """Sounds `[N, T, C]`, float32; chunks are blended where they overlap.

        Args:
          codes: as from `encode`, perhaps of fewer quantizers: of the first ones.

        Raises:
          ValueError: the codes do not fit the model.
        """
        if not isinstance(codes, SoundCodes):
            return np.asarray(self._decode(self.params, self._checked(codes)))
        _, step = encodec.chunks_of(self.config) or (0, 0)
        total = np.zeros((codes.codes.shape[1], 0, self.channels), np.float32)
        weights = np.zeros(0, np.float32)
        whole = codes.codes.shape[-1] * self.codec.hop
        ramp = 0.5 - np.abs(np.linspace(0, 1, whole + 2, dtype=np.float32)[1:-1] - 0.5)
        for i, (chunk, scale) in enumerate(zip(codes.codes, codes.scales, strict=True)):
            chunk = chunk[..., : int((chunk[0, 0] >= 0).sum())]
            sound = np.asarray(self._decode(self.params, self._checked(chunk)))
            sound = sound * scale[:, None, None]
            start, size = i * step, sound.shape[1]
            missing = max(0, start + size - total.shape[1])
            total = np.pad(total, ((0, 0), (0, missing), (0, 0)))
            weights = np.pad(weights, (0, missing))
            total[:, start : start + size] += ramp[None, :size, None] * sound
            weights[start : start + size] += ramp[:size]
        return (total / weights[None, :, None])[:, : codes.length]

    def reconstruct(
        self, x: UserArray, *, quantizers: int = 0, bandwidth: float | None = None
    ) -> np.ndarray:
        """Sounds through the codec, `[N, T, C]`; see `encode`."""
        y = self.decode(self.encode(x, quantizers=quantizers, bandwidth=bandwidth))
        return y[:, : np.shape(x)[1]]

    def _codes_of(self, params: Params, x: jax.Array, count: int) -> jax.Array:
        """Codes `[N, count, frames]` of sounds `[N, T, C]`."""
        residual = self.encoder.apply(params["encoder"], x)
        shape, codes = residual.shape[:2], []
        residual = residual.reshape(-1, residual.shape[-1])
        for i in range(count):
            tokens, codebook = residual, None
            if self.format is dac.DAC:
                level = params["quantizers"][str(i)]
                tokens = normalize(_dense(level["into"], residual))
                codebook = normalize(level["codebook"])
            else:
                codebook = params["codebook"][i]
            indices = nearest(tokens, codebook)
            residual = residual - self._code(params, i, indices)
            codes.append(indices.reshape(shape))
        return jnp.stack(codes, axis=1).astype(jnp.int32)

    def _code(self, params: Params, level: int, indices: jax.Array) -> jax.Array:
        """What the indices of a level stand for, `[..., features]`."""
        if self.format is dac.DAC:
            quantizer = params["quantizers"][str(level)]
            return _dense(quantizer["back"], quantizer["codebook"][indices])
        return params["codebook"][level][indices]

    def _sounds_of(self, params: Params, codes: jax.Array) -> jax.Array:
        levels = range(codes.shape[1])
        features = sum(self._code(params, i, codes[:, i]) for i in levels)
        return self.decoder.apply(params["decoder"], features)

    def _sounds(self, x: UserArray) -> np.ndarray:
        """Sounds as float32 `[N, T, C]`."""
        x = np.asarray(x)
        x = x[..., None] if x.ndim == 2 and self.channels == 1 else x
        if x.ndim != 3 or x.shape[-1] != self.channels or not x.size or x.dtype.kind != "f":
            raise ValueError(
                f"expected sounds of floats of shape [N, T, {self.channels}], found {x.dtype} "
                f"{list(x.shape)}"
            )
        fill = -x.shape[1] % self.codec.hop if self.format is dac.DAC else 0
        return np.pad(x, ((0, 0), (0, fill), (0, 0))).astype(np.float32)

    def _count(self, quantizers: int, bandwidth: float | None) -> int:
        """The number of quantizers."""
        count = quantizers or self.num_quantizers
        if bandwidth is not None:
            if quantizers or self.format is dac.DAC:
                raise ValueError("give either quantizers or, of an EncodecModel, a bandwidth")
            count = encodec.num_quantizers(self.config, bandwidth)
        if not 1 <= count <= self.num_quantizers:
            raise ValueError(f"this model has {self.num_quantizers} quantizers, found {count}")
        return count

    def _checked(self, codes: UserArray) -> np.ndarray:
        codes, size = np.asarray(codes), self.config["codebook_size"]
        fits = codes.ndim == 3 and codes.dtype.kind in "iu" and codes.size
        if not fits or not 1 <= codes.shape[1] <= self.num_quantizers:
            raise ValueError(
                f"expected codes of integers of shape [N, 1..{self.num_quantizers}, frames], found "
                f"{codes.dtype} {list(codes.shape)}"
            )
        if codes.min() < 0 or codes.max() >= size:
            raise ValueError(f"codes lie in 0..{size - 1}, found {codes.min()}..{codes.max()}")
        return codes


def _dense(params: Params, x: jax.Array) -> jax.Array:
    """A dense layer of `[..., C]`."""
    bias = params["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ params["kernel"] + bias
