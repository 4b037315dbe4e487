"""Scalars, texts and images as event files of TensorBoard.

They are written by the calling thread: tensorboardX's own writer has a thread and a short queue, on
which the training would wait forever once a full disk has ended that thread.
"""

import functools
import importlib.util
import itertools
import math
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

from vaejax.core.files import make_folder, write_errors
from vaejax.core.paths import is_bucket

__all__ = ["EventFile"]

_COUNTER = itertools.count()


class EventFile:
    """A new event file in a folder.

    Raises:
      ImportError: tensorboardX is not installed.
      WriteError: the file cannot be written; also from its methods.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        """Opens the file.

        Args:
          folder: created if it is missing.
          purge_step: TensorBoard hides points of earlier files from this step on.
        """
        if importlib.util.find_spec("tensorboardX") is None:
            raise ImportError("No module named 'tensorboardX'", name="tensorboardX")
        self._folder, self._purge_step = folder, purge_step
        # In a bucket nothing can be appended to: the file grows on this machine, and is uploaded.
        self._local = tempfile.TemporaryDirectory(prefix="vaejax-") if is_bucket(folder) else None
        make_folder(folder)

    @functools.cached_property
    def _writer(self) -> Any:
        """The open file, which begins with the step from which on earlier files are hidden.

        Opened by the first event, while the first steps run: the import takes a third of a second.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        with write_errors(self._folder):
            # Two files of one second and host need different names.
            unique = f".{os.getpid()}.{next(_COUNTER)}"
            place = Path(self._local.name) if self._local else self._folder
            writer = EventsWriter(str(place / "events"), unique)
            start = SessionLog(status=SessionLog.START)
            for event in (
                Event(step=self._purge_step, file_version="brain.Event:2"),
                Event(step=self._purge_step, session_log=start),
            ):
                writer.write_event(event)
        return writer

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Writes one point, unless it is not finite, which TensorBoard cannot show."""
        if not math.isfinite(value):
            return
        from tensorboardX.summary import scalar

        self._add_summary(scalar(name, value), step)

    def _add_summary(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, summary=summary)
        with write_errors(self._folder):
            self._writer.write_event(event)

    def add_text(self, name: str, markdown: str, step: int) -> None:
        """Writes a text in Markdown."""
        from tensorboardX.summary import text

        self._add_summary(text(name, markdown), step)

    def add_png(self, name: str, path: Path, step: int) -> None:
        """Writes a PNG file as an image."""
        from tensorboardX.proto.summary_pb2 import Summary

        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])  # of the header
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=content
        )
        self._add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def flush(self) -> None:
        """Writes everything to disk."""
        with write_errors(self._folder):
            self._writer.flush()
            self._upload()

    def _upload(self) -> None:
        if self._local is not None:
            for file in Path(self._local.name).iterdir():
                (self._folder / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        """Flushes and closes the file."""
        with write_errors(self._folder):
            self._writer.close()
            self._upload()
        if self._local is not None:
            self._local.cleanup()
