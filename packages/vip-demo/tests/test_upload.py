"""What an upload is read as, and what is said of one that cannot be."""

import gzip
import json
from pathlib import Path

import pytest
from vip_demo import upload
from vip_demo.upload import read_upload
from vip_train import UserError
from vip_train.tasks import Example


def test_jsonl_and_csv_are_read_alike(tmp_path: Path) -> None:
    rows = [{"source": " red dog ", "target": "yes", "domain": "a"}, {"source": "x, y"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text('source,target,domain\nred dog,yes,a\n"x, y",,\n')
    (tmp_path / "a.tsv").write_text("source\ttarget\tdomain\nred dog\tyes\ta\nx, y\t\t\n")
    expected = [Example("red dog", "yes", "a"), Example("x, y", "", "")]
    for ending in ("jsonl", "csv", "tsv"):
        assert read_upload(tmp_path / f"a.{ending}") == expected


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"x", "a.txt: the file must end in .jsonl, .csv or .tsv."),
        ("a.csv", b"text\nred\n", "a.csv:1: column 'source' is missing, found 'text'"),
        ("a.jsonl", b"{\n", "a.jsonl:1: "),
        ("a.jsonl", b'{"source": 3}\n', "a.jsonl:1: column 'source' holds int, text was expected"),
        ("a.csv", b"source\n\xff\n", "a.csv:2: column 'source': holds the byte 0xff"),
        ("a.csv", b"source\n", "a.csv: has no rows."),
        ("a.csv", b"", "a.csv: is empty"),
    ],
)
def test_a_bad_file_is_a_sentence_with_its_own_name(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_upload(tmp_path / name)
    assert str(caught.value).startswith(sentence)
    assert str(tmp_path) not in str(caught.value)


def test_a_packed_file_is_refused_unread(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(b"source\n" + b"x\n" * 10)
    with pytest.raises(UserError, match="unpack the file first"):
        read_upload(tmp_path / "a.csv.gz")


def test_size_and_rows_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("source\n" + "x\n" * 2_001)
    with pytest.raises(UserError, match=r"a\.csv: has more than 2,000 rows"):
        read_upload(tmp_path / "a.csv")
    monkeypatch.setattr(upload, "LARGEST_FILE", 10)
    with pytest.raises(UserError, match="at most"):
        read_upload(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no longer there"):
        read_upload(tmp_path / "b.csv")
