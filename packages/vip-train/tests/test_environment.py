"""What environment.json says and what it keeps to itself."""

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch
from vip_train.environment import describe, extend
from vip_train.world import World

WORLD = World(rank=0, size=2, device=torch.device("cpu"))


def test_it_names_versions_device_processes_and_command() -> None:
    found = describe(WORLD, ["--optimizer.steps", "7"], packages=["deepspeed-that-is-not-there"])
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == torch.__version__
    assert found["packages"]["deepspeed-that-is-not-there"] is None
    assert {"vip-train", "vip-core", "transformers"} <= found["packages"].keys()
    assert (found["processes"], found["threads"]) == (2, torch.get_num_threads())
    assert found["device"]
    assert found["command"] == "vip-train train --optimizer.steps 7"
    assert describe(WORLD, [])["command"] is None, "called from Python"
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("command", [["--config", "/home/mia/mine.yaml"], ["--config=/home/mia/mine.yaml"]])
def test_it_holds_no_host_no_user_and_no_folder(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(platform, "node", lambda: pytest.fail("asks for the host's name"))
    monkeypatch.setattr(getpass, "getuser", lambda: pytest.fail("asks for the user's name"))
    text = json.dumps(describe(WORLD, command))
    for private in ("hf_secret", "mia", str(Path.home()), str(Path.cwd())):
        assert private not in text
    assert "mine.yaml" in text


def test_the_commit_of_a_checkout_is_named_and_that_of_another_project_is_not(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    assert describe(WORLD, [], checkout=tmp_path)["commit"] is None
    (tmp_path / "packages" / "vip-train").mkdir(parents=True)
    file = tmp_path / "packages" / "vip-train" / "file"
    file.write_text("one")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert describe(WORLD, [], checkout=tmp_path)["commit"] == commit
    file.write_text("two")
    assert describe(WORLD, [], checkout=tmp_path)["commit"] == f"{commit}-dirty"
    file.unlink()
    file.parent.rmdir()
    assert describe(WORLD, [], checkout=tmp_path)["commit"] is None, "a project that happens to hold our package"


def test_every_continuation_adds_an_entry_and_drops_those_whose_steps_are_taken_again() -> None:
    def steps(content: bytes) -> list[tuple[int, str]]:
        return [(entry["after_step"], entry["name"]) for entry in json.loads(content)]

    first = extend(None, 0, {"name": "a"})
    second = extend(first, 4, {"name": "b"})
    third = extend(second, 8, {"name": "c"})
    assert steps(third) == [(0, "a"), (4, "b"), (8, "c")]
    assert steps(extend(third, 4, {"name": "d"})) == [(0, "a"), (4, "d")]
    assert steps(extend(third, 0, {"name": "d"})) == [(0, "d")]


@pytest.mark.parametrize("broken", [b"", b"{", b"3", b"[1]", b"[{}]", b"\xff"])
def test_what_cannot_be_read_is_begun_anew(broken: bytes) -> None:
    assert json.loads(extend(broken, 4, {"name": "a"})) == [{"after_step": 4, "name": "a"}]
