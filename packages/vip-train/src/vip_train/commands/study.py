"""`vip-train study`: trains methods x tasks x seeds and writes one table of them."""

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.commands.flags import divide
from vip_train.config import parse
from vip_train.errors import UserError
from vip_train.files import replace_file
from vip_train.study.figures import Measured, measure, rows
from vip_train.study.file import Study, read_study
from vip_train.study.plan import plan, plan_search
from vip_train.study.plot import draw
from vip_train.study.running import complaint, devices, train_cells
from vip_train.study.search import choose
from vip_train.study.table import markdown


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """One study. All other flags are settings of every run, as `vip-train train` has them."""

    study: Path
    """Its file; `--study` may be left out. See `vip_train.study.file` for what is in it."""
    output: Path | None = None
    """Folder of the study, new or to be continued; by default studies/<name of the file>."""
    workers: int | None = None
    """Runs at a time; by default one for each GPU, or one on a CPU."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} must be at least 1")


def run(arguments: Sequence[str]) -> None:
    """Trains what is not finished yet, and writes the table of all that is."""
    own, others = divide(StudyConfig, arguments, first="--study")
    config = parse(StudyConfig, own, prog="vip-train study", description=StudyConfig.__doc__ or "")
    study = read_study(config.study)
    output = config.output or Path("studies") / config.study.stem
    found = _search(study, output, others, config)
    cells = plan(study, output, others, path=config.study, chosen=choose(study, found))
    unfinished = [cell for cell in cells if not cell.is_finished()]
    print(f"{len(cells)} runs, {len(cells) - len(unfinished)} of them finished; in {output}")
    measure(cells, study.score, found)  # what cannot be read is said before days of training
    try:
        failures = train_cells(unfinished, devices(config.workers)) if unfinished else []
    finally:
        # Also of what a stopped study has finished.
        if measured := measure(cells, study.score, found):
            command = shlex.join(["vip-train", "study", *arguments])
            text = markdown(config.study.stem, study, cells, measured, command, found)
            _write(study, text, measured, output)
            print(f"table {output / 'table.md'}")
    if failures:
        raise UserError(complaint(failures))


def _search(study: Study, output: Path, flags: Sequence[str], config: StudyConfig) -> list[Measured]:
    """Tries what has several candidates; one that fails, as a rate that is too large may, is out if another is left."""
    plan(study, output, flags, path=config.study)  # what is wrong in any run is said before the first
    cells = plan_search(study, output, flags, path=config.study)
    if unfinished := [cell for cell in cells if not cell.is_finished()]:
        print(f"search: {len(cells)} runs, {len(cells) - len(unfinished)} of them finished; in {output}")
        measure(cells)
        failures = train_cells(unfinished, devices(config.workers))
        finished = {cell.place for cell in cells if cell.is_finished()}
        if lost := [failure for failure in failures if failure.cell.place not in finished]:
            raise UserError(complaint(lost))
    return measure(cells)


def _write(study: Study, text: str, measured: Sequence[Measured], output: Path) -> None:
    try:
        replace_file(output / "table.md", text.encode())
        replace_file(output / "runs.csv", _csv(study, measured))
        if not draw(study, measured, output / "plot.png"):
            print("no plot: it needs matplotlib, pip install 'vip-train[study]'")
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror or error}") from error


def _csv(study: Study, measured: Sequence[Measured]) -> bytes:
    found = list(rows(measured, list(study.axes)))
    names = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()
