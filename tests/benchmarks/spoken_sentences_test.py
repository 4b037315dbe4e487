"""The calls of espeak-ng of the dataset of spoken sentences."""

from pathlib import Path

from benchmarks.spoken_sentences import SENTENCES, commands


def test_every_sentence_has_two_voices_and_is_in_one_split():
    calls = commands(Path("speech"))
    assert len(set(SENTENCES)) == 64
    assert len(calls) == 128
    files = [Path(call[call.index("-w") + 1]) for call in calls]
    assert len(set(files)) == 128
    voices = [call[call.index("-v") + 1] for call in calls]
    said = {split: set() for split in ("train", "test")}
    for file, call in zip(files, calls, strict=True):
        said[file.parent.name].add(call[-1])
    assert len(said["train"]) == 56
    assert len(said["test"]) == 8
    assert not said["train"] & said["test"]
    assert all(a != b for a, b in zip(voices[::2], voices[1::2], strict=True))
    assert set(voices[-16:]) == set(voices)
