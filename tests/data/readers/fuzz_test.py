"""Damaged and hostile files: a reader gives arrays, or one of its errors in one line."""

import functools
import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.sparse

from vaejax import data

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

EXAMPLES = int(os.environ.get("VAEJAX_FUZZ_EXAMPLES", "60"))
ERRORS = (ValueError, FileNotFoundError)


def fuzz(*strategies):
    """Decorator of a test of a few dozen random inputs, the same in every run."""

    def decorate(test):
        options = hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=EXAMPLES <= 60,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        return options(hypothesis.given(*strategies)(test))

    return decorate


def lines_of_errors(source, **options):
    """The number of lines of the error of each split: 0 where finite values are loaded."""
    lines = []
    for split in ("train", "eval"):
        try:
            loaded = data.load(source, split, holdout=0.5, **options)
            batch = loaded.decode(loaded.take(np.arange(min(loaded.size, 2))))
            assert all(np.isfinite(np.asarray(value)).all() for value in batch.values())
            lines.append(0)
        except ERRORS as error:
            lines.append(len(str(error).splitlines()))
    return lines


def file_of(save, *args, **options):
    buffer = io.BytesIO()
    save(buffer, *args, **options)
    return buffer.getvalue()


PIXELS = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6)
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
# (position as a fraction, bytes that replace those there, bytes cut off the end)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6)


def damaged(content, changes, cut):
    content = bytearray(content)
    for where, new in changes:
        start = int(where * (len(content) - 1))
        content[start : start + len(new)] = new[: len(content) - start]
    return bytes(content[: len(content) - cut])


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


@fuzz(DAMAGE, st.integers(0, 40), st.sampled_from(["data-00000-of-00001.arrow", "state.json"]))
def test_damaged_datasets_of_hugging_face(tmp_path_factory, changes, cut, name):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    folder = tmp_path_factory.getbasetemp() / "fuzz_hf"
    if not folder.exists():
        dataset = datasets.Dataset.from_dict({"a": [1.0, 2.0, 3.0], "label": [0, 1, 0]})
        dataset.save_to_disk(str(folder))
    file = folder / name
    whole = file.read_bytes()
    try:
        file.write_bytes(damaged(whole, changes, cut))
        assert max(lines_of_errors(f"hf:{folder}")) <= 1
    finally:
        file.write_bytes(whole)


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


def tables():
    """A CSV and a Parquet file, by suffix."""
    pa = pytest.importorskip("pyarrow")
    csv, parquet = (pytest.importorskip(f"pyarrow.{name}") for name in ("csv", "parquet"))
    columns = {"age": [31, 45, 27, 61], "x": [0.5, -2.0, 1e5, 3.25], "job": list("abca")}
    table = pa.table({**columns, "on": [True, False, True, True]})
    return {
        "csv": file_of_table(csv.write_csv, table),
        "parquet": file_of_table(parquet.write_table, table),
    }


def file_of_table(write, table):
    buffer = io.BytesIO()
    write(table, buffer)
    return buffer.getvalue()


@fuzz(st.sampled_from(["csv", "parquet"]), DAMAGE, st.integers(0, 40))
def test_damaged_tables(tmp_path_factory, kind, changes, cut):
    file = tmp_path_factory.getbasetemp() / f"fuzz.{kind}"
    file.write_bytes(damaged(tables()[kind], changes, cut))
    assert max(lines_of_errors(f"{kind}:{file}")) <= 1


@fuzz(st.text(st.sampled_from('ab1.,;\n"\t -\x00é'), max_size=60))
def test_any_text_as_a_table(tmp_path_factory, text):
    pytest.importorskip("pyarrow")
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text(text, encoding="utf-8")
    assert max(lines_of_errors(f"csv:{file}")) <= 1


SPARSE = [
    file_of(scipy.sparse.save_npz, scipy.sparse.csr_matrix(np.eye(4)).asformat(kind))
    for kind in ("csr", "coo", "dia")
]


@fuzz(st.sampled_from(SPARSE), DAMAGE, st.integers(0, 40))
def test_damaged_sparse_matrices(tmp_path_factory, content, changes, cut):
    file = tmp_path_factory.getbasetemp() / "fuzz_sparse.npz"
    file.write_bytes(damaged(content, changes, cut))
    assert max(lines_of_errors(f"npz:{file}")) <= 1


@functools.cache
def cells(sparse):
    """A h5ad file of four cells and three genes, with a label and a layer."""
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    counts = np.arange(12, dtype=np.float32).reshape(4, 3)
    x = scipy.sparse.csr_matrix(counts) if sparse else counts
    obs = pandas.DataFrame({"kind": pandas.Categorical(list("abab"))}, index=list("wxyz"))
    table = anndata.AnnData(x, obs=obs, layers={"raw": x.copy()})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5ad"
        table.write_h5ad(file)
        return file.read_bytes()


@fuzz(st.booleans(), DAMAGE, st.integers(0, 40))
def test_damaged_files_of_cells(tmp_path_factory, sparse, changes, cut):
    file = tmp_path_factory.getbasetemp() / "fuzz.h5ad"
    file.write_bytes(damaged(cells(sparse), changes, cut))
    assert max(lines_of_errors(f"h5ad:{file}")) <= 1


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
