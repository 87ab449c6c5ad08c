"""Tables of users: 100 of 100 rows in each form, and files of any bytes."""

import csv
import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vip_train.errors import UserError
from vip_train.tasks.table import BadRow, TableRow, read_table

NAMES = ("source", "target")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
MEAN = st.text(st.sampled_from(" \t\r\n,;\"'\\{}[]:x\x0b\x1c\x85\u2028\ufeff"), max_size=8)
FIELD = st.one_of(TEXT, MEAN)
MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def hundred(draw: st.DrawFn) -> list[tuple[str, str]]:
    """A hundred rows: some fields drawn, then put together at random, which is faster than drawing them all."""
    fields = draw(st.lists(FIELD, min_size=12, max_size=24))
    chosen = random.Random(draw(st.integers(0, 2**32)))
    return [(chosen.choice(fields) + chosen.choice(fields), chosen.choice(fields)) for _ in range(100)]


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_what_the_csv_module_writes_is_read_back(ending: str, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"

    @MANY
    @given(hundred())
    def check(written: list[tuple[str, str]]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([NAMES, *written])
        found = [row for row in read_table(path, NAMES) if isinstance(row, TableRow)]
        assert [tuple(row.values.values()) for row in found] == written

    check()


@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_the_json_module_writes_is_read_back(ascii_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    @MANY
    @given(hundred())
    def check(written: list[tuple[str, str]]) -> None:
        lines = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=ascii_only) + "\n" for row in written]
        path.write_bytes("".join(lines).encode())
        expected = [TableRow(line, dict(zip(NAMES, row, strict=True))) for line, row in enumerate(written, start=1)]
        assert list(read_table(path, NAMES)) == expected

    check()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis"])
def test_any_bytes_give_rows_or_reasons(name: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / name
    pieces = [b"source,target\n", b"source\ttarget\r\n", b'{"source": "a", "target": "b"}\n', b'"', b"\n", b",", b"\0", b"\xff"]
    some = st.lists(st.one_of(st.sampled_from(pieces), st.binary(max_size=9)), max_size=30).map(b"".join)

    @MANY
    @given(some, st.booleans())
    def check(content: bytes, packed: bool) -> None:
        start = b"" if name.startswith("a.jsonl") else NAMES[0].encode() + (b"," if ".csv" in name else b"\t") + b"target\n"
        path.write_bytes(gzip.compress(start + content) if packed else start + content)
        try:
            found = list(read_table(path, NAMES, encoding))
        except UserError as error:
            found = [BadRow(str(error))]
        for row in found:
            if isinstance(row, BadRow):
                assert len(str(row).split("\n")) == 1
                assert str(row).startswith(str(path))
            else:
                assert set(NAMES) <= set(row.values)

    check()
