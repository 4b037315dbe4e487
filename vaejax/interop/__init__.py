"""Checkpoints of other libraries, both ways: diffusers' and transformers' autoencoders and codecs.

Neither library is needed, nor PyTorch: checkpoints are safetensors files and a `config.json`. Of
pictures these are `AutoencoderKL` (Stable Diffusion 1, 2, XL and 3, Flux), `VQModel` and
`AutoencoderTiny`; of sound `EncodecModel` and `DacModel`.
"""

from vaejax.interop.checkpoints import FORMATS, is_checkpoint, load, read_params
from vaejax.interop.pictures import PictureModel
from vaejax.interop.runs import save
from vaejax.interop.sounds import SoundCodes, SoundModel

__all__ = [
    "FORMATS",
    "PictureModel",
    "SoundCodes",
    "SoundModel",
    "is_checkpoint",
    "load",
    "read_params",
    "save",
]
