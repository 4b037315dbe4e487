"""Sound of a codec at each bitrate: a table of SI-SDR, and WAV files to listen to.

python -m benchmarks.codec_levels --workdir=runs/codec --output=runs/codec/sound
"""

import argparse
import wave
from pathlib import Path

import numpy as np

import vaejax
from vaejax.evaluation import first_levels, si_sdr
from vaejax.experiment.build import load_split

__all__ = ["main", "write_wav"]


def write_wav(path: Path, signals: np.ndarray, rate: int) -> None:
    """Writes signals `[N, T, C]` in [−1, 1] one after the other, as 16-bit PCM."""
    samples = np.round(np.clip(signals, -1, 1) * 32_767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(signals.shape[2])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.reshape(-1, signals.shape[2]).tobytes())


def main() -> None:
    """Writes the files and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of configs/codec.py")
    parser.add_argument("--output", type=Path, required=True, help="folder of the WAV files")
    parser.add_argument("--count", type=int, default=8, help="clips in a file")
    arguments = parser.parse_args()
    run = vaejax.load_run(arguments.workdir)
    source = load_split(run.config, "eval")
    rate = source.sample_rate or 16_000
    sound = np.asarray(source.decode(source.take(np.arange(source.size)))["signal"])
    codes = np.asarray(run.encode(sound))  # [N, T', levels]
    bits = np.log2(run.config["model"]["quantizer"]["quantizer"]["codes"])
    second = codes.shape[1] * rate / sound.shape[1]
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_wav(arguments.output / "original.wav", sound[: arguments.count], rate)
    print("| levels | kbit/s | SI-SDR, dB |\n|---|---|---|")
    for levels in (q for q in (1, 2, 4, 8) if q <= codes.shape[2]):
        decoded = np.asarray(run.decode(np.asarray(first_levels(codes, 1, levels))))
        value = np.asarray(si_sdr(sound, decoded)).mean()
        print(f"| {levels} | {levels * bits * second / 1000:.1f} | {value:.1f} |")
        write_wav(arguments.output / f"levels_{levels}.wav", decoded[: arguments.count], rate)


if __name__ == "__main__":
    main()
