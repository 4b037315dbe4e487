"""Pushing to the Hub, by its own client, against a local stand-in of the endpoints that it uses."""

import base64
import http.server
import json
import threading

import pytest

from vaejax.export import hub
from vaejax.export.hub import HubError, Repository, check_hub, push

FILES = {
    "README.md": b"---\nlibrary_name: vaejax\n---\n# A model\n",
    "encoder.jaxexport": b"\0\1\2",
}


class Hub(http.server.BaseHTTPRequestHandler):
    """Creates repositories and takes commits; `refuse` is a status that it answers instead."""

    created: dict
    files: dict
    refuse = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        assert self.headers["Authorization"] == "Bearer hf_token"
        if self.refuse:
            return self.answer({"error": "refused"}, self.refuse)
        address = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            self.created.update(json.loads(body))
            return self.answer({"url": f"{address}/me/model"})
        if self.path.startswith("/api/models/me/model/preupload/"):
            return self.answer({"files": [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]})  # fmt: skip
        if self.path.startswith("/api/models/me/model/commit/"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[line["value"]["path"]] = content
            commit = "0" * 40
            url = f"{address}/me/model/commit/{commit}"
            return self.answer({"commitOid": commit, "commitUrl": url})
        return self.answer({})  # of checks that change nothing

    def answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def stand_in(monkeypatch):
    pytest.importorskip("huggingface_hub")
    handler = type("Handler", (Hub,), {"created": {}, "files": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".unfinished.tmp").write_bytes(b"half")
    return tmp_path


@pytest.mark.parametrize("private", [False, True])
def test_the_files_arrive(stand_in, folder, private):
    repository = Repository("me/model", private)
    check_hub(repository)
    assert push(folder, repository).endswith("/me/model")
    assert stand_in.files == FILES
    assert (stand_in.created["name"], stand_in.created["organization"]) == ("model", "me")
    created_as = stand_in.created.get("visibility"), stand_in.created.get("private")
    assert (created_as in (("private", None), (None, True))) == private


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "HF_TOKEN"), (403, "role 'write'"), (500, "it answers 500")],
)
def test_a_refusal_is_one_line(stand_in, folder, status, remedy, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    stand_in.refuse = status
    with pytest.raises(HubError, match=rf"^cannot push to me/model on the Hub: [^\n]*{remedy}"):
        push(folder, Repository("me/model"))


def test_without_a_network_token_or_name(stand_in, folder, monkeypatch):
    with pytest.raises(ValueError, match=r"--hub=a/b/c is no name of a repository"):
        check_hub(Repository("a/b/c"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"check the network"):
        push(folder, Repository("me/model"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(HubError, match=r"needs a token"):
        check_hub(Repository("me/model"))


def test_without_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'vaejax\[hub\]'"):
        hub.check_hub(Repository("me/model"))
