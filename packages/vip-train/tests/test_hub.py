"""Adapters on the hub, against a small server on this machine that speaks as the hub does: what travels, and what refuses."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from vip_train.adapter import load_adapter, push_adapter, read_adapter_config
from vip_train.backbones import Backbone
from vip_train.cli import main
from vip_train.errors import UserError
from vip_train.hub import find_folder, is_hub_id
from vip_train.model import VIPModel

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
Files = dict[str, bytes]
Hub = Any  # hub_server.Hub, which conftest.py loads


def read(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(act: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        act(*arguments, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# --- loading ---


def test_an_adapter_is_loaded_by_its_id(hub: Hub, saved: Path, backbone: Backbone) -> None:
    hub.repositories["mia/cb"] = {"main": read(saved)}
    found = load_adapter("mia/cb", backbone=backbone)
    expected = load_adapter(saved, backbone=backbone)
    assert found.config == expected.config
    state = expected.model.prompt.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in found.model.prompt.state_dict().items())
    assert isinstance(VIPModel.from_pretrained("mia/cb", backbone=backbone), VIPModel)


def test_three_files_travel_and_no_others(hub: Hub, saved: Path, backbone: Backbone) -> None:
    others = {"adapter_model.bin": b"pickle", "training_args.bin": b"pickle", "code.py": b"1/0", "a/README.md": b""}
    hub.repositories["mia/cb"] = {"main": read(saved) | others}
    load_adapter("mia/cb", backbone=backbone)
    assert hub.downloaded() == set(FILES)


def test_a_card_is_no_must(hub: Hub, saved: Path, backbone: Backbone) -> None:
    hub.repositories["mia/cb"] = {"main": {name: content for name, content in read(saved).items() if name != CARD}}
    load_adapter("mia/cb", backbone=backbone)


def test_a_branch_and_a_commit_may_be_asked_for(hub: Hub, saved: Path, build: Any, backbone: Backbone, tmp_path: Path) -> None:
    build(method="pt").save_pretrained(tmp_path / "pt", backbone=backbone.name)
    hub.repositories["mia/cb"] = {"main": read(saved), "soft": read(tmp_path / "pt")}
    for revision in ("soft", hub.commit("mia/cb", "soft")):
        assert load_adapter("mia/cb", revision=revision, backbone=backbone).config.vip.method == "pt"
    assert load_adapter("mia/cb", backbone=backbone).config.vip.method == "vip"


def test_what_was_downloaded_is_there_offline(
    hub: Hub, saved: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["mia/cb"] = {"main": read(saved)}
    load_adapter("mia/cb", backbone=backbone)
    hub.asked.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_adapter("mia/cb", backbone=backbone)
    assert hub.asked == []


def test_a_folder_wins(hub: Hub, saved: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["mia/cb"] = {"main": {}}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mia").mkdir()
    saved.rename(tmp_path / "mia" / "cb")
    load_adapter("mia/cb", backbone=backbone)
    assert hub.asked == []
    assert "mia/cb: is a folder, and revision='v2'" in refusal(load_adapter, "mia/cb", revision="v2", backbone=backbone)


@pytest.mark.parametrize(
    "name", ["adapter", "./adapter", "../mia/cb", "runs/reviews-1/adapter", "/nowhere/adapter", "mia/c b", ""]
)
def test_a_name_that_is_neither_folder_nor_id_is_refused(hub: Hub, name: str) -> None:
    if not name:  # the folder one stands in
        assert "adapter_config.json: no such file" in refusal(load_adapter, name)
    else:
        assert refusal(load_adapter, name).startswith(f"{name}: is neither a folder nor of the form user/name")
    assert hub.asked == []


def test_a_path_is_never_looked_for_on_the_hub(hub: Hub) -> None:
    assert "mia/cb/adapter_config.json: no such file" in refusal(load_adapter, Path("mia/cb"))
    assert hub.asked == []


def test_an_unknown_repository_is_named(hub: Hub) -> None:
    said = refusal(load_adapter, "mia/none")
    assert said.startswith("mia/none: is no folder, and cannot be had from the hub: there is no such repository")


def test_an_unknown_revision_is_named(hub: Hub, saved: Path) -> None:
    hub.repositories["mia/cb"] = {"main": read(saved)}
    assert refusal(load_adapter, "mia/cb", revision="v9") == (
        "mia/cb: is no folder, and cannot be had from the hub: it has no revision='v9'"
    )


def test_a_repository_that_is_no_adapter_is_named(hub: Hub) -> None:
    hub.repositories["mia/t5"] = {"main": {"model.safetensors": b"large", "README.md": b"A model."}}
    assert refusal(load_adapter, "mia/t5").startswith("mia/t5: holds no adapter_config.json")


def test_weights_that_are_a_pickle_are_not_read(hub: Hub, saved: Path, backbone: Backbone) -> None:
    files = read(saved)
    files["adapter_model.bin"] = files.pop(WEIGHTS)
    hub.repositories["mia/cb"] = {"main": files}
    assert refusal(load_adapter, "mia/cb", backbone=backbone).startswith("mia/cb: holds no adapter_model.safetensors")


def test_offline_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refusal(load_adapter, "mia/cb")
    assert said.startswith("mia/cb: is no folder, and cannot be had from the hub: HF_HUB_OFFLINE is set; and it has not been")
    assert refusal(VIPModel.from_pretrained, "mia/cb") == said
    assert hub.asked == []


def test_a_hub_out_of_reach_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert "mia/cb: is no folder, and cannot be had from the hub: " in refusal(load_adapter, "mia/cb")


def test_a_hub_that_fails_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.broken = True
    said = refusal(load_adapter, "mia/cb")
    assert "500" in said
    assert "not been downloaded before" in said


def test_ids_are_told_from_paths() -> None:
    assert all(map(is_hub_id, ["user/name", "google/t5-base-lm-adapt", "a/b.c_d"]))
    assert not any(map(is_hub_id, ["name", "a/b/c", "./a", "/a", "a/", "a b/c", "../b", "é/b"]))


def test_a_folder_needs_no_files(tmp_path: Path) -> None:
    assert find_folder(str(tmp_path), FILES) == tmp_path


# --- pushing ---


def test_what_is_pushed_is_loaded(hub: Hub, saved: Path, backbone: Backbone) -> None:
    (saved / "notes.txt").write_text("mine")
    address = push_adapter(saved, "mia/cb", private=True, commit_message="A first one", token="writes")
    assert re.fullmatch(hub.address + r"/mia/cb/commit/\w{40}", address)
    assert hub.repositories["mia/cb"]["main"] == {name: (saved / name).read_bytes() for name in FILES}
    assert hub.sent["create"]["visibility"] == "private"
    assert hub.sent["header"]["summary"] == "A first one"
    assert load_adapter("mia/cb", backbone=backbone).config == read_adapter_config(saved)


def test_a_model_and_a_loaded_adapter_are_pushed(hub: Hub, saved: Path, build: Any, backbone: Backbone) -> None:
    build(method="pt").push_to_hub("mia/cb", token="writes", backbone="bundled", task="superglue/cb", results="| good |")
    config = read_adapter_config(find_folder("mia/cb", FILES[:2]))
    assert (config.vip.method, config.backbone, config.task) == ("pt", "bundled", "superglue/cb")
    assert b"| good |" in hub.repositories["mia/cb"]["main"][CARD]
    adapter = load_adapter(saved, backbone=backbone)
    adapter.push_to_hub("mia/cb", token="writes", revision="vip")
    assert hub.repositories["mia/cb"]["vip"][WEIGHTS] == (saved / WEIGHTS).read_bytes()
    assert hub.repositories["mia/cb"]["main"][WEIGHTS] != (saved / WEIGHTS).read_bytes()
    assert read_adapter_config(find_folder("mia/cb", FILES[:2], revision="vip")) == adapter.config
    adapter.push_to_hub("mia/cb", token="writes", revision="vip")
    assert hub.sent["header"]["summary"] == "Upload VIP adapter"


def test_a_token_that_may_not_write_is_said(hub: Hub, saved: Path) -> None:
    for token in ("reads", None):
        assert refusal(push_adapter, saved, "mia/cb", token=token).startswith("mia/cb: cannot be uploaded to the hub: ")
    assert hub.repositories == {}


def test_pushing_offline_is_said(hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert refusal(push_adapter, saved, "mia/cb") == "mia/cb: cannot be uploaded to the hub: HF_HUB_OFFLINE is set"


@pytest.mark.parametrize("name", ["cb", "mia/cb/1", "./cb"])
def test_a_name_to_push_to_is_checked(name: str, hub: Hub, saved: Path) -> None:
    assert refusal(push_adapter, saved, name) == f"repo_id={name!r} must have the form user/name"


def test_only_a_whole_adapter_is_pushed(hub: Hub, saved: Path, tmp_path: Path) -> None:
    (saved / WEIGHTS).unlink()
    assert str(saved / WEIGHTS) in refusal(push_adapter, saved, "mia/cb", token="writes")
    assert str(tmp_path / CONFIG) in refusal(push_adapter, tmp_path, "mia/cb", token="writes")
    assert hub.asked == []


def test_the_example_of_the_readme_runs_as_printed(
    hub: Hub, build: Any, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^### From the hub and to it\n\n```python\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "writes")
    (folder,) = re.findall(r'push_adapter\("(.*?)"', code)
    build().save_pretrained(folder, backbone=str(tiny_backbone))
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["adapter"].config == read_adapter_config(tmp_path / folder)
    assert hub.sent["create"]["visibility"] == "private"


def test_pushing_is_a_command(
    hub: Hub, saved: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["push", "--adapter", str(saved), "--repository", "mia/cb", "--revision", "v2", "--message", "Better"]
    assert main(arguments) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("vip-train: mia/cb: cannot be uploaded to the hub: ")
    monkeypatch.setenv("HF_TOKEN", "writes")
    assert main(arguments) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith(f"commit {hub.address}/mia/cb/commit/")
    assert set(hub.repositories["mia/cb"]["v2"]) == set(FILES)
    assert hub.sent["header"]["summary"] == "Better"
