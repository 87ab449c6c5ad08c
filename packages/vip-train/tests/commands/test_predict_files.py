"""`vip-train predict` with files and tables, and as a program with pipes and Ctrl-C."""

import functools
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., list[dict[str, Any]]]
COMMAND = (sys.executable, "-W", "error", "-m", "vip_train.cli", "predict")


# --- files ---


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.txt", "rows.txt.gz", "rows"])
def test_the_name_of_a_file_says_what_is_in_it(name: str, ask: Ask, tmp_path: Path) -> None:
    data = b"Ba ke.\nLo.\n" if "txt" in name else b'{"source": "Ba ke."}\n{"source": "Lo."}\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert ask("", "--input", tmp_path / name) == ask("Ba ke.\nLo.")


def test_a_name_that_says_nothing_is_asked_about(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "rows.log").write_text("Ba ke.")
    assert "ends in none of .jsonl, .txt, .csv, .tsv; say what it is by --input-format" in refused(
        "predict", "--input", tmp_path / "rows.log"
    )
    assert ask("", "--input", tmp_path / "rows.log", "--input-format", "text") == ask("Ba ke.")


def test_a_table_is_answered_row_by_row(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    """A row stands on the line on which it begins; a field may hold line ends."""
    path = tmp_path / "rows.csv"
    path.write_text('id,source\n7,"Ba\nke."\n8,Lo.\n9,\n', encoding="utf-8")
    found = ask("", "--input", path, "--skip-bad-rows", "true")
    assert [(one["line"], one["id"]) for one in found] == [(2, "7"), (4, "8")]
    assert [one["scores"] for one in found] == [one["scores"] for one in ask('{"source": "Ba\\nke."}\n{"source": "Lo."}\n')]
    assert refused("predict", "--input", path) == f"{path}:5: column 'source' is blank"
    said = refused("predict", "--input", path, "--source-column", "text")
    assert said == f"{path}:1: column 'text' is missing, found 'id', 'source'"


def test_a_table_comes_by_stdin_or_under_another_name_or_in_another_encoding(ask: Ask, tmp_path: Path) -> None:
    table = "id,source\n7,Bä ke.\n"
    (found,) = ask(table, "--input-format", "csv")
    assert (found["line"], found["id"]) == (2, "7")
    (path := tmp_path / "rows.log").write_text(table.replace(",", "\t"), encoding="latin-1")
    assert ask("", "--input", path, "--input-format", "tsv", "--encoding", "latin-1") == [found]


def test_a_table_is_worded_by_a_task(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("hypothesis\tpremise\nlo mi\tba ke\n", encoding="utf-8")
    (found,) = ask("", "--input", path, "--task", "superglue/cb")
    (same,) = ask('{"premise": "ba ke", "hypothesis": "lo mi"}', "--task", "superglue/cb")
    assert found["scores"] == same["scores"]
    path.write_text("hypothesis\tpremise\nlo mi\t \n", encoding="utf-8")
    assert refused("predict", "--input", path, "--task", "superglue/cb") == f"{path}:2: column 'premise' is blank"


def test_a_broken_archive_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    whole = gzip.compress(b"Ba ke.\n" * 10)
    path = tmp_path / "rows.txt.gz"
    for content in (whole[:-9], b"no archive"):
        path.write_bytes(content)
        assert refused("predict", "--input", path).startswith(f"{path}: cannot be unpacked")


def test_a_file_has_the_answers_when_all_are_there(ask: Ask, tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    assert ask("Ba ke.\nLo.", "--output", output) == []
    assert [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()] == ask("Ba ke.\nLo.")
    assert output.stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_there_is_kept_unless_it_may_go(ask: Ask, refused: Callable[..., str], tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    output.write_text("mine")
    said = refused("predict", "--output", output, "--backbone", "/nowhere/t5", stdin="Ba ke.")
    assert said == f"{output}: is there already; choose another name, or say --overwrite true"
    assert output.read_text() == "mine"
    ask("Ba ke.", "--output", output, "--overwrite", "true")
    assert json.loads(output.read_text())["line"] == 1


def test_an_error_leaves_no_file(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refused("predict", "--batch-size", 1, "--output", tmp_path / "out" / "found.jsonl", stdin="Ba ke.\n\nLo.")
    assert list((tmp_path / "out").iterdir()) == []


# --- as a program ---


@contextmanager
def running(*flags: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command with pipes to it, which is killed when it takes too long."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(part) for part in (*COMMAND, *flags)]
    pipe = subprocess.PIPE
    # A shell that runs the tests in the background has its programs ignore Ctrl-C, and that is inherited.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heed) as process:
        limit = threading.Timer(240, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def test_a_batch_is_answered_before_the_next_one_is_read(saved: Path) -> None:
    with running("--adapter", saved, "--batch-size", 2, "--length-window", 1) as process:
        assert process.stdin
        assert process.stdout
        for first in (1, 3):
            process.stdin.write(b"Ba ke.\nLo mi tu.\n")
            process.stdin.flush()
            assert [json.loads(process.stdout.readline())["line"] for _ in range(2)] == [first, first + 1]
        rest, said = process.communicate()
        assert (process.returncode, rest) == (0, b""), said


def test_control_c_ends_it_in_one_line(saved: Path) -> None:
    with running("--adapter", saved, "--batch-size", 1, "--input-format", "text") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"Ba ke.\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert (process.returncode, said) == (130, b"vip-train: interrupted\n")


def test_who_reads_only_the_beginning_of_endless_answers_is_not_told_off(
    saved: Path, execute: Callable[..., Any], tmp_path: Path
) -> None:
    """Input without an end shows too that no more of it is read than is answered."""
    command = f"{' '.join(COMMAND)} --adapter {saved} --batch-size 4 --length-window 2 2> {tmp_path / 'said'}"
    run = execute("bash", "-c", f'yes \'{{"source": "Ba ke."}}\' | {command} | head -3; echo ${{PIPESTATUS[1]}}')
    *lines, status = run.stdout.splitlines()
    assert [json.loads(line)["line"] for line in lines] == [1, 2, 3]
    assert status == "141"
    assert (tmp_path / "said").read_text() == ""


def test_a_full_disk_is_one_line(saved: Path, execute: Callable[..., Any]) -> None:
    run = execute("bash", "-c", f"echo Ba ke. | {' '.join(COMMAND)} --adapter {saved} > /dev/full")
    assert (run.returncode, run.stderr) == (2, "vip-train: <stdout>: cannot be written: No space left on device\n")
