"""Tiny datasets in the files of TFDS, written without TensorFlow."""

import io
import json
import os

import numpy as np
import PIL.Image
import pytest

array_record = pytest.importorskip("array_record.python.array_record_module")
pytest.importorskip("tensorflow_datasets")


def proto_feature(value):
    from tensorflow_datasets.proto import tf_feature_pb2 as proto

    if isinstance(value, list):
        return proto.Feature(bytes_list=proto.BytesList(value=[png(frame) for frame in value]))
    if isinstance(value, np.ndarray):
        return proto.Feature(bytes_list=proto.BytesList(value=[png(value)]))
    if isinstance(value, float):
        return proto.Feature(float_list=proto.FloatList(value=[value]))
    return proto.Feature(int64_list=proto.Int64List(value=[value]))


def png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(folder, features, splits, file_format="array_record"):
    """Writes NAME[/CONFIG]/VERSION as TFDS builders do, without TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    folder.mkdir(parents=True)
    name, *config = folder.relative_to(os.environ["TFDS_DATA_DIR"]).parts[:-1]
    entries = []
    for split, examples in splits.items():
        file = folder / f"{name}-{split}.array_record-00000-of-00001"
        writer = array_record.ArrayRecordWriter(str(file), "group_size:1")
        for example in examples:
            fields = {key: proto_feature(value) for key, value in example.items()}
            message = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=fields))
            writer.write(message.SerializeToString())
        writer.close()
        entry = {"name": split, "numBytes": "1", "shardLengths": [str(len(examples))]}
        entries.append(
            entry | {"filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
        )
    tfds.features.FeaturesDict(features).save_config(str(folder))
    info = {"name": name, "version": folder.name, "fileFormat": file_format, "splits": entries}
    info |= {"configName": config[0]} if config else {}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"moduleName": "tests.none"}))


def image_feature(*shape):
    import tensorflow_datasets as tfds

    return tfds.features.Image(shape=shape)


def classes(count):
    import tensorflow_datasets as tfds

    return tfds.features.ClassLabel(num_classes=count)


def pixels(count, shape=(6, 6, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labelled(count, seed=0):
    return [{"image": p, "label": i % 3} for i, p in enumerate(pixels(count, seed=seed))]
