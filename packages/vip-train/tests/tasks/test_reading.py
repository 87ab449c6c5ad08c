"""Where files are looked for, and how they are opened: plain, gzip, broken off."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from vip_train.errors import UserError
from vip_train.tasks.reading import find_file, open_text, parse_object, read_json, read_jsonl

Put = Callable[..., Path]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_file_lies_in_its_folder_or_one_level_down(put: Put, tmp_path: Path) -> None:
    path = put("superglue/CB/train.jsonl", [])
    assert find_file(tmp_path, "CB", ("train.jsonl",)) == path
    assert find_file(tmp_path / "superglue", "CB", ("train.jsonl",)) == path
    nearer = put("CB/train.jsonl", [])
    assert find_file(tmp_path, "CB", ("train.jsonl",)) == nearer


def test_the_first_name_that_is_there_counts_plain_before_gzip(put: Put, tmp_path: Path) -> None:
    packed = put("set/b.json.gz", {})
    assert find_file(tmp_path, "set", ("a.json", "b.json")) == packed
    plain = put("set/b.json", {})
    assert find_file(tmp_path, "set", ("a.json", "b.json")) == plain
    first = put("set/a.json.gz", {})
    assert find_file(tmp_path, "set", ("a.json", "b.json")) == first


def test_two_folders_that_could_be_meant_are_named(put: Put, tmp_path: Path) -> None:
    paths = [put(f"{name}/CB/train.jsonl", []) for name in ("new", "old")]
    message = refused(lambda: find_file(tmp_path, "CB", ("train.jsonl",)))
    assert all(str(path) in message for path in paths)


def test_a_missing_file_is_named_where_it_should_be(tmp_path: Path) -> None:
    assert refused(lambda: find_file(tmp_path, "CB", ("a", "b"))) == f"{tmp_path / 'CB' / 'a'}: no such file"


@pytest.mark.parametrize("name", ["set/a.jsonl", "set/a.jsonl.gz"])
def test_lines_are_read_through_gzip(name: str, put: Put) -> None:
    path = put(name, '\ufeff{"a": "Schnee"}\r\n\n{"a": "雪\u2028"}')
    assert list(read_jsonl(path)) == [(f"{path}:1", {"a": "Schnee"}), (f"{path}:3", {"a": "雪\u2028"})]


@pytest.mark.parametrize("kept", [3, 12, 40])
def test_gzip_that_breaks_off_is_named(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:kept])
    assert refused(lambda: list(read_jsonl(path))).startswith(f"{path}: cannot be unpacked: ")


def test_what_is_no_gzip_or_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b'{"a": 1}\n')
    assert refused(lambda: list(read_jsonl(path))).startswith(f"{path}: cannot be unpacked: ")
    data = bytearray(gzip.compress(bytes(range(256)) * 40))
    data[20] ^= 255
    path.write_bytes(data)
    assert refused(lambda: list(read_jsonl(path))).startswith(f"{path}: ")


def test_a_document_that_is_no_json_or_no_utf8_is_named(put: Put, tmp_path: Path) -> None:
    path = put("a.json", '{"a": ')
    assert refused(lambda: read_json(path)).startswith(f"{path}: is not JSON: ")
    path.write_bytes('{"a": "fa\u00e7ade"}'.encode("latin-1"))
    assert refused(lambda: read_json(path)).startswith(f"{path}: cannot be read as UTF-8 text: ")
    gone = tmp_path / "gone.json"
    assert refused(lambda: read_json(gone)) == f"{gone}: no such file"


def test_a_line_that_is_no_object_is_named(put: Put) -> None:
    path = put("a.jsonl", '{"a": 1}\n\n{"a": }\n')
    assert refused(lambda: list(read_jsonl(path))) == f"{path}:3: is not JSON: Expecting value at character 7"
    path = put("a.jsonl", "[1]\n")
    assert refused(lambda: list(read_jsonl(path))) == f"{path}:1: holds list, an object was expected"


def test_what_python_reads_beside_json_can_be_refused() -> None:
    assert parse_object("a:1", '{"a": Infinity}') == {"a": float("inf")}
    assert refused(lambda: parse_object("a:1", '{"a": Infinity}', strict=True)) == "a:1: is not JSON: Infinity is no number"


def test_json_too_deep_to_be_read_is_named(put: Put) -> None:
    path = put("a.jsonl", '{"a": 1}\n' + "[" * 100_000 + "\n")
    assert refused(lambda: list(read_jsonl(path))) == f"{path}:2: is JSON too deep to be read"
    path = put("a.json", '{"a": ' * 100_000)
    assert refused(lambda: read_json(path)) == f"{path}: is JSON too deep to be read"


def test_errors_of_the_reader_itself_pass_through(put: Put) -> None:
    path = put("a.txt", "text")
    with pytest.raises(KeyError), open_text(path):
        raise KeyError("mine")
