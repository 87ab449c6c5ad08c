"""A small server on this machine that speaks as the hub does; conftest.py hands its fixture to the tests."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlparse

import huggingface_hub
import pytest

Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """What a hub holds, and what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, Files]] = {}
        self.commits: dict[str, tuple[str, str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent: dict[str, Any] = {}
        self.broken = False

    def commit(self, repository: str, revision: str) -> str:
        found = self.repositories[repository][revision]
        name = hashlib.sha1(repr((repository, revision, sorted(found.items()))).encode()).hexdigest()
        self.commits[name] = (repository, revision)
        return name

    def downloaded(self) -> set[str]:
        return {path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path}


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def say(self, status: int, body: object = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.asked.append((self.command, path))
        hub = self.server.repositories
        if self.server.broken:
            return self.say(500)
        if match := re.fullmatch(r"/api/models/(\w+/[\w-]+)/(revision|tree)/([^/]+)", path):
            repository, what, revision = match.groups()
            if repository not in hub:
                return self.say(404, X_Error_Code="RepoNotFound")
            if revision in self.server.commits:
                _, revision = self.server.commits[revision]
            if revision not in hub[repository]:
                return self.say(404, X_Error_Code="RevisionNotFound")
            if what == "revision":
                return self.say(200, {"id": repository, "sha": self.server.commit(repository, revision)})
            files = hub[repository][revision].items()
            return self.say(200, [{"type": "file", "path": n, "size": len(c), "oid": etag(c)} for n, c in files])
        if match := re.fullmatch(r"/(\w+/[\w-]+)/resolve/(\w+)/(.+)", path):
            repository, commit, name = match.groups()
            _, revision = self.server.commits[commit]
            content = hub[repository][revision][name]
            return self.say(200, content, ETag=f'"{etag(content)}"', X_Repo_Commit=commit)
        return self.say(404)

    def do_POST(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.asked.append(("POST", path))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/api/validate-yaml":
            return self.say(200, {"errors": [], "warnings": []})
        if self.headers["Authorization"] != "Bearer writes":
            return self.say(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repository = f"{wanted['organization']}/{wanted['name']}"
            if repository in self.server.repositories:
                return self.say(409, {"error": "exists", "url": f"{self.server.address}/{repository}"})
            self.server.sent["create"] = wanted
            self.server.repositories[repository] = {"main": {}}
            return self.say(200, {"url": f"{self.server.address}/{repository}"})
        match = re.fullmatch(r"/api/models/(\w+/[\w-]+)/(preupload|branch|commit)/([^/]+)", path)
        assert match, path
        repository, what, revision = match.groups()
        revisions = self.server.repositories[repository]
        if what == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            return self.say(200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        if what == "branch":
            if revision in revisions:
                return self.say(409, {"error": "exists"})
            revisions[revision] = dict(revisions["main"])
            return self.say(200, {})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                revisions[revision][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            else:
                self.server.sent[line["key"]] = line["value"]
        name = self.server.commit(repository, revision)
        return self.say(200, {"commitUrl": f"{self.server.address}/{repository}/commit/{name}", "commitOid": name})


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A running, empty hub with a cache of its own; every other address is out of reach."""
    # Settings of huggingface_hub that come from the environment are read when it is imported.
    constants = huggingface_hub.constants
    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        find = socket.getaddrinfo

        def only_here(host: Any, *arguments: Any, **options: Any) -> Any:
            assert host in ("127.0.0.1", b"127.0.0.1"), f"{host} is not this machine"
            return find(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", only_here)
        huggingface_hub.close_session()
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()
