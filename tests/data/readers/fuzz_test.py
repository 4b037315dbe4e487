"""Damaged and hostile arrays, images, sounds: a reader gives arrays, or its error in one line."""

import io
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.data.readers.damage import DAMAGE, PIXELS, damaged, file_of, fuzz, lines_of_errors, st
from vaejax import data

NPZ = [
    file_of(np.savez, image=PIXELS, label=np.arange(4)),
    file_of(np.savez_compressed, vector=np.eye(4), column_names=np.array(list("abcd"))),
    file_of(np.savez, train_signal=np.ones((2, 3, 5)), test_signal=np.ones((1, 3, 5))),
]
IMAGES = {
    (kind, suffix): file_of(PIL.Image.fromarray(pixels).save, kind)
    for kind, suffix, pixels in (
        ("PNG", "png", np.stack([PIXELS[0]] * 4, axis=-1)),
        ("PNG", "png", PIXELS[0].astype(np.uint16) * 300),
        ("JPEG", "jpg", PIXELS[0]),
        ("TIFF", "tiff", PIXELS[0].astype(np.float32) / 255),
        ("BMP", "bmp", PIXELS[0]),
        ("WEBP", "webp", np.stack([PIXELS[0]] * 3, axis=-1)),
    )
}


@fuzz(st.sampled_from(NPZ), DAMAGE, st.integers(0, 40))
def test_damaged_npz_files(tmp_path_factory, content, changes, cut):
    file = tmp_path_factory.getbasetemp() / "fuzz.npz"
    file.write_bytes(damaged(content, changes, cut))
    assert max(lines_of_errors(f"npz:{file}")) <= 1


def sound(kind, dtype):
    soundfile = pytest.importorskip("soundfile")
    values = np.sin(np.arange(40)).astype(np.float32)
    return file_of(lambda file: soundfile.write(file, values, 800, dtype, format=kind))


@fuzz(st.sampled_from([("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")]), DAMAGE)
def test_damaged_sound_files(tmp_path_factory, form, changes):
    kind, dtype = form
    folder = tmp_path_factory.getbasetemp() / f"fuzz_{kind}_{dtype}"
    folder.mkdir(exist_ok=True)
    content = damaged(sound(kind, dtype), changes, 0)
    (folder / f"a.{kind.lower()}").write_bytes(content)
    assert max(lines_of_errors(f"wav:{folder}", length=20, sample_rate=400)) <= 1


HEADERS = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}".format,
        st.sampled_from(["'<f8'", "'|O'", "'<U3'", "'<M8[ns]'", "[('a', '<f4')]", "'|V9'", "3"]),
        st.sampled_from(["False", "True", "None"]),
        st.sampled_from(["(4, 3)", "()", "(0, 3)", "(-1, 3)", "(10**18,)", "(2**40, 3)", "'x'"]),
    ),
)
VERSIONS = st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
MEMBERS = st.sampled_from(["vector.npy", "image.npy", "../../vector.npy", "/etc/vector.npy", "x"])


@fuzz(HEADERS, VERSIONS, MEMBERS)
def test_headers_of_arrays(tmp_path_factory, header, version, name):
    file = tmp_path_factory.getbasetemp() / "headers.npz"
    encoded = header.encode()
    size = len(encoded).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"\x93NUMPY" + version + size + encoded + bytes(96))
    assert max(lines_of_errors(f"npz:{file}")) <= 1


@fuzz(st.sampled_from(sorted(IMAGES)), DAMAGE, st.integers(0, 40))
def test_damaged_images(tmp_path_factory, kind, changes, cut):
    folder = tmp_path_factory.getbasetemp() / "fuzz_images"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / f"a.{kind[1]}").write_bytes(damaged(IMAGES[kind], changes, cut))
    (folder / "b.png").write_bytes(IMAGES["PNG", "png"])
    assert max(lines_of_errors(f"folder:{folder}")) <= 1


NAMES = st.lists(
    st.sampled_from(["train", "Test", "val", "cat", ".hidden", "__MACOSX", "dog", "x y", "é"]),
    min_size=1,
    max_size=3,
).map("/".join)


@fuzz(st.dictionaries(NAMES, st.sampled_from(["a.png", "._b.png", "c.txt", "D.JPG"]), max_size=5))
def test_folders_of_any_names(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("folders")
    for folder, name in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        kind = ("JPEG", "jpg") if name.endswith("JPG") else ("PNG", "png")
        (root / folder / name).write_bytes(IMAGES[kind])
    assert max(lines_of_errors(f"folder:{root}")) <= 1


def test_nothing_outside_of_the_given_path_is_read(tmp_path, monkeypatch):
    file = tmp_path / "data" / "x.npz"
    file.parent.mkdir()
    secret = tmp_path / "secret.npy"
    np.save(secret, np.eye(3))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../secret.npy", b"no array")
    opened = []
    real_open = io.open

    def watching(path, *args, **options):
        opened.append(Path(str(path)))
        return real_open(path, *args, **options)

    monkeypatch.setattr("builtins.open", watching)
    monkeypatch.setattr(io, "open", watching)
    with pytest.raises(ValueError, match=r"x\.npz|secret"):
        data.load(f"npz:{file}")
    assert secret not in [path.resolve() for path in opened]
