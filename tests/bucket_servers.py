"""Servers on this machine that speak the protocols of Google Cloud Storage and Amazon S3.

`python tests/bucket_servers.py gs|s3 PORT` runs one with an empty bucket `bucket`, until standard
input ends.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import ThreadingHTTPServer

import pytest

PACKAGES = {"gs": ("gcsfs", "gcp_storage_emulator"), "s3": ("s3fs", "moto", "flask_cors", "boto3")}


def environment(scheme: str, port: int) -> dict[str, str]:
    """The variables with which gcsfs, s3fs and TensorStore use the server."""
    address = f"http://localhost:{port}"
    if scheme == "gs":
        return {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "GOOGLE_CLOUD_PROJECT": "test",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "NO_GCE_CHECK": "true",
        }
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def serve(scheme: str) -> Iterator[dict[str, str]]:
    """A server in a process of its own; gives the variables. Skips if a package is missing."""
    for package in PACKAGES[scheme]:
        pytest.importorskip(package)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, scheme, str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            assert "ready" in iter(process.stdout.readline, "ready\n") or process.poll() is None
            yield environment(scheme, port)
        finally:
            process.kill()


def _google(port: int) -> None:
    """The emulator, one thread a request, with what it lacks of generations.

    A download names the generation of the object, and an upload with `ifGenerationMatch` is refused
    if the object has another one (0: if there is an object), as in the documentation of the API.
    """
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.storage import Storage

    one, expected = threading.RLock(), threading.local()
    create, download, insert = Storage.create_file, objects.download, objects.insert

    def generation(storage, bucket, name):
        try:
            return storage.get_file_obj(bucket, name)["generation"]
        except NotFound:
            return "0"

    def create_if(self, bucket, name, *args, **kwargs):
        if getattr(expected, "value", None) not in (None, generation(self, bucket, name)):
            raise PermissionError("precondition")
        return create(self, bucket, name, *args, **kwargs)

    def insert_if(request, response, storage, *args, **kwargs):
        with one:
            expected.value = request.query.get("ifGenerationMatch", [None])[0]
            try:
                insert(request, response, storage, *args, **kwargs)
            except PermissionError:
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
            finally:
                expected.value = None

    def download_with(request, response, storage, *args, **kwargs):
        with one:
            bucket, name = request.params["bucket_name"], request.params["object_id"]
            response["x-goog-generation"] = generation(storage, bucket, name)
            download(request, response, storage, *args, **kwargs)

    Storage.create_file, objects.download = create_if, download_with
    changed = {insert: insert_if, download: download_with}
    server.HANDLERS = tuple(
        (regex, {method: changed.get(call, call) for method, call in calls.items()})
        for regex, calls in server.HANDLERS
    )
    server.server.HTTPServer = ThreadingHTTPServer
    server.create_server("localhost", port, in_memory=True, default_bucket="bucket").start()


def _amazon(port: int) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    ThreadedMotoServer(ip_address="localhost", port=port, verbose=False).start()
    os.environ |= environment("s3", port)
    boto3.client("s3").create_bucket(Bucket="bucket")


if __name__ == "__main__":
    {"gs": _google, "s3": _amazon}[sys.argv[1]](int(sys.argv[2]))
    print("\nready", flush=True)
    sys.stdin.read()
    os._exit(0)
