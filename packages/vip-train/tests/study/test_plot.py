"""The picture of a study."""

import sys
from pathlib import Path

import pytest
from vip_train.config import TrainConfig
from vip_train.study.figures import Measured
from vip_train.study.file import Study
from vip_train.study.plan import Cell
from vip_train.study.plot import draw

STUDY = Study(config=None, base={}, methods={"PT": {}, "VIP": {}}, tasks={}, seeds=(0,), axes={}, baseline=None)


def runs(count: int) -> list[Measured]:
    return [
        Measured(
            Cell(f"a $\\x$ {task}", method, (), 0, Path(), Path(), (), TrainConfig()),
            {"validation_accuracy": 0.5, "majority_accuracy": 0.3},
        )
        for task in range(count)
        for method in ("PT", "VIP")
    ]


@pytest.mark.parametrize("count", [1, 4])
def test_it_is_a_png_with_a_row_for_every_three_tasks(tmp_path: Path, count: int) -> None:
    pytest.importorskip("matplotlib", reason="needs vip-train[study]")
    path = tmp_path / "plot.png"
    assert draw(STUDY, runs(count), path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    height = int.from_bytes(data[20:24], "big")
    assert height == pytest.approx(110 * (2.6 * (1 if count == 1 else 2) + 0.3), abs=1)


def test_of_the_test_split_seen_and_unseen_tasks_have_panels_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs vip-train[study]")
    names = ("seen", "unseen", "accuracy/a", "accuracy/b")
    results = {f"{before}{name}": 0.4 for before in ("test_", "test_constant_") for name in names}
    tested = [Measured(one.cell, results, "test") for one in runs(2)]
    assert draw(STUDY, tested, tmp_path / "plot.png")
    height = int.from_bytes((tmp_path / "plot.png").read_bytes()[20:24], "big")
    assert height == pytest.approx(110 * (2.6 * 2 + 0.3), abs=1), "four panels, three in a row"


def test_without_matplotlib_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not draw(STUDY, runs(1), tmp_path / "plot.png")
    assert list(tmp_path.iterdir()) == []
