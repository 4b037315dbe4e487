"""What a mode of the command is applied to: which data, which split, and where the result goes."""

from pathlib import Path
from typing import NamedTuple

from vaejax.core.paths import absolute

__all__ = ["OWN_DATA", "SPLITS", "Target"]

SPLITS = ("train", "validation", "eval", "all")
_OF_DATA = ("evaluate", "sample", "encode")
_RESULTS = {
    "evaluate": ("evaluation.json",),
    "sample": ("samples.npz", "figures"),
    "encode": ("latents.npz",),
}


class Target(NamedTuple):
    """What `evaluate`, `sample` and `encode` are applied to.

    Attributes:
      split: `'train'`, `'validation'`, `'eval'`, or to encode also `'all'`.
      data: a source string; `''` for the run's own data.
      output: directory for the result; None for the working directory.
      reconstructions: whether `encode` also writes reconstructions.
    """

    split: str = "eval"
    data: str = ""
    output: Path | None = None
    reconstructions: bool = False

    def folder(self, workdir: Path) -> Path:
        """The directory that the result is written to."""
        return self.output or workdir

    def check(self, mode: str, workdir: Path) -> None:
        """Checks that the settings apply to a mode and replace nothing. Reads no data.

        Args:
          mode: of the command.
          workdir: of the run.

        Raises:
          ValueError: a setting has no effect in this mode, or the result would replace files that
            are not its own.
        """
        if self.split not in SPLITS:
            raise ValueError(f"--split must be one of {', '.join(SPLITS)}, found {self.split!r}")
        if mode not in _OF_DATA:
            self._check_unused(mode)
        if self.reconstructions and mode != "encode":
            raise ValueError(f"--reconstructions is for --mode=encode, found --mode={mode}")
        if self.split == "all" and mode != "encode":
            raise ValueError(
                f"--split=all is for --mode=encode; --mode={mode} takes train, validation or eval"
            )
        self._check_output(mode, workdir)

    def _check_unused(self, mode: str) -> None:
        if self.data:
            raise ValueError(
                f"--data is for --mode=evaluate, sample or encode, found --mode={mode}; the data "
                "that a run is trained on are --config.data.source"
            )
        if self.split != "eval":
            raise ValueError(
                f"--split is for --mode=evaluate, sample or encode, found --mode={mode}"
            )
        if self.output is not None and mode == "train":
            raise ValueError("--output is not for --mode=train, which writes to --workdir")

    def _check_output(self, mode: str, workdir: Path) -> None:
        output = self.output
        if output is not None and output.exists() and not output.is_dir():
            raise ValueError(f"--output={output} is a file; choose a directory")
        elsewhere = output is not None and absolute(output) != absolute(workdir)
        if elsewhere and output is not None and (output / "config.json").exists():
            raise ValueError(f"--output={output} is the directory of a run; choose another one")
        own = not self.data and (self.split == "eval" or mode == "encode")
        if elsewhere or own:
            return
        if taken := [n for n in _RESULTS[mode] if (workdir / n).exists()]:
            what = f"--data={self.data}" if self.data else f"--split={self.split}"
            raise ValueError(
                f"--mode={mode} with {what} would replace {workdir / taken[0]}; give --output=DIR "
                "for the result"
            )


OWN_DATA = Target()  # the evaluation split of the run
