"""Tables of users: what is read, and which line says what is wrong with a row or a file."""

import gzip
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vip_train.errors import UserError
from vip_train.tasks import table
from vip_train.tasks.table import BadRow, TableRow, read_table, table_ending

NAMES = ("source", "target")
Keep = Callable[..., Path]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Writes a file, packed if its name ends in .gz."""

    def write(name: str, content: bytes | str, encoding: str = "utf-8") -> Path:
        data = content.encode(encoding) if isinstance(content, str) else content
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return tmp_path / name

    return write


def rows(path: Path, encoding: str = "utf-8") -> list[tuple[int, list[Any]]]:
    """Line and values of each row; none may be bad."""
    found = list(read_table(path, NAMES, encoding))
    assert all(isinstance(row, TableRow) for row in found), found
    return [(row.line, list(row.values.values())) for row in found if isinstance(row, TableRow)]


def bad(path: Path, encoding: str = "utf-8") -> list[str]:
    """What is said of bad rows, without the name of the file."""
    said = [str(row) for row in read_table(path, NAMES, encoding) if isinstance(row, BadRow)]
    assert all(len(line.splitlines()) == 1 for line in said)
    return [line.removeprefix(f"{path}:") for line in said]


def fatal(path: Path, encoding: str = "utf-8") -> str:
    """The one line that ends the reading of a file."""
    with pytest.raises(UserError) as caught:
        list(read_table(path, NAMES, encoding))
    assert not isinstance(caught.value, BadRow)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


LINES = {
    ".jsonl": '{"source": "a", "target": "b"}\n{"source": "ä", "target": "\\u96ea"}\n',
    ".csv": "source,target\na,b\nä,雪\n",
    ".tsv": "source\ttarget\na\tb\nä\t雪\n",
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r\n \r\n"])
@pytest.mark.parametrize("ending", LINES)
def test_every_form_is_read_plain_and_packed(ending: str, end: str, mark: str, packed: str, keep: Keep) -> None:
    path = keep(f"a{ending}{packed}", mark + LINES[ending].replace("\n", end))
    step, first = end.count("\n"), 1 if ending == ".jsonl" else 1 + end.count("\n")
    assert rows(path) == [(first, ["a", "b"]), (first + step, ["ä", "雪"])]


@pytest.mark.parametrize("ending", LINES)
def test_the_last_line_needs_no_end(ending: str, keep: Keep) -> None:
    assert len(rows(keep(f"a{ending}", LINES[ending].rstrip("\n")))) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252", "shift_jis"])
@pytest.mark.parametrize("ending", LINES)
def test_other_encodings_are_read(ending: str, encoding: str, keep: Keep) -> None:
    wide = encoding.startswith("utf") or encoding == "shift_jis"
    text = LINES[ending].replace("ä", "x" if encoding == "shift_jis" else "ä").replace("雪", "雪" if wide else "é")
    assert len(rows(keep(f"a{ending}", text, encoding), encoding)) == 2


def test_a_row_that_goes_over_several_lines_stands_where_it_begins(keep: Keep) -> None:
    path = keep("a.csv", 'source,target\r\n"one\r\ntwo ""three""\r\n",b\r\nc,d\r\n')
    assert rows(path) == [(2, ['one\r\ntwo "three"\r\n', "b"]), (5, ["c", "d"])]


@pytest.mark.parametrize("name", ["a.txt", "a", "a.gz", "a.csv.zip", "a.json"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.jsonl, \.csv, \.tsv"):
        table_ending(Path(name))


# --- bad rows ---


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"source": "a"', "is not JSON: Expecting"),
        ('["a", "b"]', "holds list, an object was expected"),
        ("null", "holds NoneType, an object was expected"),
        ('{"source": "a", "tag": "b"}', "column 'target' is missing, found 'source', 'tag'"),
        ("{}", "column 'source' is missing, found none"),
        ("[" * 100_000, "is JSON too deep to be read"),
        ('{"source": ' + "[" * 100_000, "is JSON too deep to be read"),
        ('{"source": ' + "1" * 5000 + "}", "is not JSON: "),
        ('{"source": "a\\ud800", "target": "b"}', "column 'source': holds '\\ud800', which is no text"),
        ('{"source": "a", "target": "b\\u0000"}', "column 'target': holds '\\x00', which is no text"),
        ('{"source": "a", "target": "b\0"}', "holds a NUL; is the file utf-8 text?"),
    ],
)
def test_a_bad_line_of_json_is_said_by_line_and_column(line: str, said: str, keep: Keep) -> None:
    path = keep("a.jsonl", f'{{"source": 1, "target": 2}}\n\n{line}\n{{"source": 3, "target": 4}}\n')
    (found,) = bad(path)
    assert found.startswith(f"3: {said}")
    assert len([row for row in read_table(path, NAMES) if isinstance(row, TableRow)]) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a", "has 1 fields, the header has 2"),
        ("a,b,c", "has 3 fields, the header has 2"),
        ('"a"x,b', "cannot be split into fields: "),
        ("a\rb,c", "cannot be split into fields: "),
        ("a\0,b", "column 'source': holds a NUL; is the file utf-8 text?"),
    ],
)
def test_a_bad_line_of_csv_is_said_by_line(line: str, said: str, keep: Keep) -> None:
    path = keep("a.csv", f"source,target\nb,c\n\n{line}\nd,e\n")
    (found,) = bad(path)
    assert found.startswith(f"4: {said}")
    assert len([row for row in read_table(path, NAMES) if isinstance(row, TableRow)]) == 2


@pytest.mark.parametrize(
    ("name", "start", "end"), [("a.csv", b"source,target\nb,", b"\nd,e\n"), ("a.jsonl", b'\n{"target": "', b'", "source": ""}')]
)
def test_bytes_that_are_no_text_are_said_by_line_and_column(name: str, start: bytes, end: bytes, keep: Keep) -> None:
    path = keep(name, start + b"caf\xe9 x" + end)
    assert bad(path) == ["2: column 'target': holds the byte 0xe9, which is no utf-8 text there"]
    assert not bad(path, "latin-1")


def test_bytes_outside_of_any_column_are_said_by_line(keep: Keep) -> None:
    assert bad(keep("a.jsonl", b'{"a": 1}\xff\n')) == ["1: holds the byte 0xff, which is no utf-8 text there"]


@pytest.mark.parametrize("after", ["", "\n".join(f"{number},x" for number in range(500))])
def test_a_quote_that_is_never_closed_takes_its_own_line_alone(after: str, keep: Keep) -> None:
    path = keep("a.csv", f'source,target\na,b\nc,"d\n{after}')
    (found,) = bad(path)
    assert found.startswith("3: cannot be split into fields: unexpected end of data")
    assert len([row for row in read_table(path, NAMES) if isinstance(row, TableRow)]) == 1 + len(after.splitlines())


def test_a_quote_that_the_next_one_closes_is_said_where_it_began(keep: Keep) -> None:
    path = keep("a.csv", 'source,target\na,"b\nc,d\n"e",f\n')
    (found,) = bad(path)
    assert found.startswith("2: cannot be split into fields: ")
    assert found.endswith("in a field in quotes that goes on over the end of the line")
    assert [row.line for row in read_table(path, NAMES) if isinstance(row, TableRow)] == [3, 4]


@pytest.mark.parametrize("ending", LINES)
def test_a_field_of_ten_megabytes_is_read(ending: str, keep: Keep) -> None:
    field = "long text " * 10**6
    path = keep(f"a{ending}.gz", LINES[ending].replace("b", field, 1))
    assert rows(path)[0][1][1] == field


@pytest.mark.parametrize("ending", LINES)
def test_a_row_that_is_too_long_is_bad_and_the_next_is_not(ending: str, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LONGEST", 100)
    path = keep(f"a{ending}", LINES[ending].replace("b", "x" * 300_000, 1))
    first = 1 if ending == ".jsonl" else 2
    assert bad(path) == [f"{first}: is longer than 100 characters"]
    assert [row.line for row in read_table(path, NAMES) if isinstance(row, TableRow)] == [first + 1]


def test_a_row_of_many_lines_that_is_too_long_is_bad(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LONGEST", 100)
    path = keep("a.csv", 'source,target\n"a\n' + "b,c\n" * 50 + '",d\n')
    said = bad(path)
    assert said[0] == "2: is longer than 100 characters"
    assert said[1].startswith("53: cannot be split into fields: "), "the lines between are rows again"


def test_what_is_too_long_is_never_in_memory_whole(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LONGEST", 2**16)
    path = keep("a.jsonl.gz", b"x" * 2**26)
    tracemalloc.start()
    assert bad(path) == [f"1: is longer than {2**16} characters"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_bytes_that_python_cannot_escape_are_bad_too(keep: Keep) -> None:
    """The space after this lead byte of shift_jis is part of what cannot be decoded; surrogateescape raises there."""
    path = keep("a.csv", b"source,target\na,\x81 b\nc,d\n")
    assert bad(path, "shift_jis") == ["2: column 'target': holds the byte 0x81, which is no shift_jis text there"]


# --- files that cannot be read ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": is empty"),
        ("\n \r\n", ": is empty"),
        ("\ufeff", ": is empty"),
        ("a,b\n", ":1: column 'source' is missing, found 'a', 'b'"),
        ("source;target\n", ":1: column 'source' is missing, found 'source;target'; between fields a .csv has commas"),
        ("source\ttarget\n", ":1: column 'source' is missing, found 'source\\ttarget'; between fields a .csv has commas"),
        ("\nsource,text\n", ":2: column 'target' is missing, found 'source', 'text'"),
        ("source,target,source\n", ":1: column 'source' comes twice"),
        ("source,target,\n", ":1: column 3 has no name"),
        ('source,"target\na,b\n', ":1: cannot be split into fields: unexpected end of data"),
        ("source,target\0\n", ":1: column '2': holds a NUL; is the file utf-8 text?"),
    ],
)
def test_a_header_that_is_none_is_said(text: str, said: str, keep: Keep) -> None:
    assert fatal(keep("a.csv", text)).startswith(said)


def test_a_tsv_of_commas_is_said_to_want_tabs(keep: Keep) -> None:
    said = fatal(keep("a.tsv", LINES[".csv"]))
    assert said == ":1: column 'source' is missing, found 'source,target'; between fields a .csv has commas and a .tsv has tabs"


@pytest.mark.parametrize("longest", [40, 2**24])
@pytest.mark.parametrize("ending", LINES)
def test_lines_that_end_with_cr_alone_are_said(ending: str, longest: int, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LONGEST", longest)
    path = keep(f"a{ending}", LINES[ending].replace("\n", "\r"))
    assert fatal(path) == ": its lines end with CR alone, LF or CRLF was expected"


def test_cr_is_white_space_within_json(keep: Keep) -> None:
    assert rows(keep("a.jsonl", '{"source": "a",\r"target": "b"}')) == [(1, ["a", "b"])]


def test_a_header_alone_has_no_rows(keep: Keep) -> None:
    assert rows(keep("a.csv", "source,target\n")) == rows(keep("a.jsonl", "\n")) == []


def test_utf_16_read_as_utf_8_is_said(keep: Keep) -> None:
    said = fatal(keep("a.csv", LINES[".csv"], "utf-16"))
    assert said.startswith(":1: column '1': holds the byte 0xff, which is no utf-8 text there; the names of the columns")
    found = bad(keep("a.jsonl", LINES[".jsonl"], "utf-16"))
    assert found[0] == "1: holds the byte 0xff, which is no utf-8 text there"
    assert any("holds a NUL; is the file utf-8 text?" in line for line in found[1:])


@pytest.mark.parametrize("ending", LINES)
@pytest.mark.parametrize("kept", [3, 12, 20_000])
def test_gzip_that_breaks_off_ends_the_reading(ending: str, kept: int, tmp_path: Path) -> None:
    rng = random.Random(0)
    lines = "".join(f"{rng.random()},{rng.random()}\n" for _ in range(4000))
    text = {".csv": "source,target\n" + lines, ".tsv": "source\ttarget\n" + lines.replace(",", "\t")}.get(ending, "")
    text = text or "".join(json.dumps({"source": 1, "target": rng.random()}) + "\n" for _ in range(4000))
    path = tmp_path / f"a{ending}.gz"
    path.write_bytes(gzip.compress(text.encode())[:kept])
    where = "before its first line: " if kept < 20_000 else "after line "
    assert fatal(path).startswith(f": cannot be unpacked {where}")


def test_damaged_gzip_and_what_is_none_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"source,target\n")
    assert fatal(path).startswith(": cannot be unpacked before its first line: ")
    data = bytearray(gzip.compress(LINES[".csv"].encode()))
    data[-6] ^= 255
    path.write_bytes(data)
    assert fatal(path).startswith(": cannot be unpacked after line ")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz"])
def test_what_is_no_file_is_said(name: str, tmp_path: Path) -> None:
    assert fatal(tmp_path / name) == ": no such file"
    (tmp_path / name).mkdir()
    assert "Is a directory" in fatal(tmp_path / name)


def test_an_encoding_that_cannot_be_read_line_by_line_is_said(keep: Keep) -> None:
    assert fatal(keep("a.csv", "source,target\n"), "idna").startswith(": cannot be read as IDNA text: ")
