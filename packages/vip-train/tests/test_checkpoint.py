"""What a checkpoint holds and how big it is, that it is there whole or not at all, and what is refused with which reason."""

import errno
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor
from vip_train import checkpoint as module
from vip_train.checkpoint import Checkpoint, RunState, fits, list_checkpoints, newest_good, parse, read_parts, write_checkpoint
from vip_train.config import TrainConfig
from vip_train.errors import UserError

NAMES = ("prompt.safetensors", "optimizer.safetensors", "best.safetensors", "state.json")
STATE = RunState(
    format_version=2,
    step=300,
    examples=9600,
    seconds=1.5,
    recent=(0.1 + 0.2, 1e-17, 3),
    config={"optimizer": {"steps": 600}},
    backbone_fingerprint="sha256:12",
    data_digest="sha256:34",
    processes=2,
    best={"step": 200, "validation_accuracy": 0.1 + 0.2},
)


def make(step: int = 300) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    prompt = {"prompt_PD": torch.randn(4, 8, generator=generator), "quantizer.codebook.steps": torch.tensor(step)}
    optimizer = {"exp_avg/prompt_PD": torch.randn(4, 8, generator=generator), "step/prompt_PD": torch.tensor(float(step))}
    best = {"prompt_PD": torch.randn(4, 8, generator=generator), "quantizer.codebook.steps": torch.tensor(200)}
    return Checkpoint(prompt, optimizer, best, replace(STATE, step=step))


def write(root: Path, *steps: int, keep: int = 9) -> list[Path]:
    root.mkdir(exist_ok=True)
    return [write_checkpoint(root, make(step), keep=keep) for step in steps]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def read(root: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest good one, and what was said of the others."""
    said: list[str] = []
    parts = newest_good(root, lambda _: None, said.append)
    return (parse(parts) if parts else None), said


def test_what_is_written_reads_back_bit_for_bit(tmp_path: Path) -> None:
    (folder,) = write(tmp_path, 300)
    found = parse(read_parts(folder))
    assert equal(found.prompt, make().prompt)
    assert equal(found.optimizer, make().optimizer)
    assert equal(found.best, make().best)
    assert found.state == STATE


def test_it_is_plain_files_that_sha256sum_checks(tmp_path: Path) -> None:
    (folder,) = write(tmp_path, 300)
    assert {path.name for path in folder.iterdir()} == {*NAMES, "SHA256SUMS"}
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_the_newest_are_kept_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / ".step-killed").mkdir()
    write(tmp_path, 2, 4, 6, 8, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000006", "step-00000008"]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000008", "step-00000006"]


def test_later_ones_were_refused_and_make_room_for_the_new_past(tmp_path: Path) -> None:
    write(tmp_path, 2, 4, 6)
    write(tmp_path, 3, keep=1)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000003"]


def test_one_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    (folder,) = write(tmp_path, 2)
    (folder / "state.json").write_text("{")
    write(tmp_path, 2)
    assert read(tmp_path)[0] is not None


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read(tmp_path) == (None, [])
    assert read(tmp_path / "nowhere") == (None, [])


# --- what is refused ---


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.write_bytes(b""), Path.unlink])
@pytest.mark.parametrize(
    "name", ["prompt.safetensors", "optimizer.safetensors", "best.safetensors", "state.json", "SHA256SUMS"]
)
def test_a_damaged_one_is_passed_over_for_the_newest_good_one(name: str, damage: Callable[[Path], Any], tmp_path: Path) -> None:
    write(tmp_path, 2, 4, 6)
    damage(tmp_path / "step-00000006" / name)
    found, said = read(tmp_path)
    assert found is not None
    assert found.state.step == 4
    (line,) = said
    assert line.startswith(f"checkpoint passed over: {tmp_path / 'step-00000006'}: ")
    assert len(line.splitlines()) == 1
    if name != "SHA256SUMS" or damage is Path.unlink:
        assert name in line


def sign(folder: Path, **parts: bytes) -> None:
    """Puts other files in, with right checksums."""
    import hashlib

    for name, data in parts.items():
        (folder / f"{name}.{'json' if name == 'state' else 'safetensors'}").write_bytes(data)
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in NAMES)
    (folder / "SHA256SUMS").write_text(sums)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"state": json.dumps(asdict(STATE) | {"format_version": 3}).encode()}, "format_version=3, this release reads 2"),
        ({"state": b"[]"}, "format_version=None"),
        ({"state": b"}"}, "is not a checkpoint: Expecting value"),
        ({"state": json.dumps(asdict(STATE) | {"colour": "red"}).encode()}, "differs in the fields colour"),
        ({"prompt": b"\x80\x04N."}, "is not a checkpoint: "),
    ],
)
def test_a_foreign_one_is_passed_over_with_the_reason(parts: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    write(tmp_path, 2, 4)
    sign(tmp_path / "step-00000004", **parts)
    found, (line,) = read(tmp_path)
    assert found is not None
    assert found.state.step == 2
    assert reason in line


def test_one_of_the_format_before_is_passed_over_as_that(tmp_path: Path) -> None:
    write(tmp_path, 2, 4)
    old = tmp_path / "step-00000004"
    (old / "best.safetensors").unlink()
    sums = (old / "SHA256SUMS").read_text().splitlines(keepends=True)
    (old / "SHA256SUMS").write_text("".join(line for line in sums if "best" not in line))
    _, said = read(tmp_path)
    assert said == [f"checkpoint passed over: {old}: has format_version=1, this release reads 2"]


@pytest.mark.parametrize("part", ["prompt", "best"])
def test_one_of_other_tensors_backbone_or_data_does_not_fit(part: str) -> None:
    found = make()
    config = TrainConfig(backbone="mine", data_dir=Path("here"))
    fits(config, "sha256:12", "sha256:34", found.prompt)(found)
    fits(config, "sha256:12", "sha256:34", found.prompt)(found._replace(best={}, state=replace(found.state, best=None)))
    with pytest.raises(UserError, match=r"^backbone=mine: its weights are not those"):
        fits(config, "sha256:99", "sha256:34", found.prompt)(found)
    with pytest.raises(UserError, match=r"^data_dir=here: the examples are not those"):
        fits(config, "sha256:12", "sha256:99", found.prompt)(found)
    with pytest.raises(UserError, match="its tensors are not those of this prompt"):
        fits(config, "sha256:12", "sha256:34", found.prompt)(found._replace(**{part: {"prompt_PD": torch.ones(4, 9)}}))


def test_one_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 2, 4)

    def check(found: Checkpoint) -> None:
        if found.state.step == 4:
            raise UserError("it is of another run")

    said: list[str] = []
    assert parse(newest_good(tmp_path, check, said.append)).state.step == 2
    assert said == [f"checkpoint passed over: {tmp_path / 'step-00000004'}: it is of another run"]


def test_where_all_are_damaged_nothing_starts_over_in_silence(tmp_path: Path) -> None:
    for folder in write(tmp_path, 2, 4):
        cut(folder / "prompt.safetensors")
    with pytest.raises(UserError, match="none of its 2 checkpoints can be used; remove"):
        read(tmp_path)


def test_pickle_is_never_read(tmp_path: Path) -> None:
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert not re.search(r"torch\.(load|save)|import pickle", source)


# --- writing that fails ---


@pytest.mark.parametrize("which", range(6))
def test_a_full_disk_is_one_line_and_keeps_the_checkpoint_before(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the first, second, ... thing that is synced: five files and a folder."""
    write(tmp_path, 2)
    real, calls = os.fsync, iter(range(99))

    def fsync(handle: int) -> None:
        if next(calls) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError) as caught:
        write(tmp_path, 4)
    assert str(caught.value) == (
        f"{tmp_path / 'step-00000004'}: cannot be written: No space left on device; older checkpoints kept: step-00000002"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    found, said = read(tmp_path)
    assert found is not None
    assert (found.state.step, said) == (2, [])


def test_a_limit_on_file_size_is_met_alike(tmp_path: Path) -> None:
    """A write that fails in earnest, without a stand-in."""
    import resource

    write(tmp_path, 2)
    large = make(4)._replace(prompt={"prompt_PD": torch.ones(99_999)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match="File too large; older checkpoints kept: step-00000002"):
            write_checkpoint(tmp_path, large, keep=9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    write(tmp_path, 2)
    broken = make(4)
    broken.optimizer["exp_avg/prompt_PD"][1, 1] = float("inf")
    with pytest.raises(UserError, match="exp_avg/prompt_PD is not finite after step 4"):
        write_checkpoint(tmp_path, broken, keep=1)
    broken = make(4)
    broken.best["prompt_PD"][1, 1] = float("nan")
    with pytest.raises(UserError, match="prompt_PD is not finite after step 4"):
        write_checkpoint(tmp_path, broken, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("method", ["vip", "vip-c", "vip-q", "pt"])
def test_it_is_hardly_larger_than_what_is_trained(method: str, build: Callable[..., Any], tmp_path: Path) -> None:
    model = build(method=method, prompt_length=100)
    trained = dict(model.prompt.named_parameters())
    moments = {f"{key}/{name}": value.detach().clone() for name, value in trained.items() for key in ("exp_avg", "exp_avg_sq")}
    state = model.prompt.state_dict()
    (tmp_path / "checkpoints").mkdir()
    folder = write_checkpoint(tmp_path / "checkpoints", Checkpoint(state, moments, {}, STATE), keep=1)
    size = sum(path.stat().st_size for path in folder.iterdir())
    held = sum(tensor.numel() * tensor.element_size() for tensor in [*state.values(), *moments.values()])
    assert held < size < 1.2 * held
    assert len(save(state)) < size
