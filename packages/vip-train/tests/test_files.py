"""A folder appears whole or not at all, and nothing else is left beside it."""

from pathlib import Path

import pytest
from vip_train.errors import UserError
from vip_train.files import new_file, new_folder


def fill(folder: Path, text: str = "new") -> None:
    (folder / "file.txt").write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with new_folder(target) as temporary:
        fill(temporary)
        assert not target.exists()
        assert temporary.parent == target.parent, "a rename is only safe within one file system"
    assert everything(tmp_path) == {"deep", "deep/target", "deep/target/file.txt"}
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with new_folder(tmp_path / "target") as temporary:
        fill(temporary)
    assert everything(tmp_path) == {"target", "target/file.txt"}


@pytest.mark.parametrize("replace", [False, True])
def test_an_error_leaves_what_was_there(replace: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if replace:
        target.mkdir()
        fill(target, "old")
    before = tree(tmp_path)

    def stop_halfway() -> None:
        with new_folder(target, replace=replace) as temporary:
            fill(temporary)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert tree(tmp_path) == before
    assert everything(tmp_path) == ({"target", "target/file.txt"} if replace else set())


def test_replacing_swaps_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    fill(target, "old")
    (target / "left over.txt").write_text("old")
    with new_folder(target, replace=True) as temporary:
        fill(temporary)
        assert tree(target) == {"file.txt": "old", "left over.txt": "old"}
    assert tree(tmp_path) == {"target/file.txt": "new"}
    assert everything(tmp_path) == {"target", "target/file.txt"}


def refusal(target: Path) -> str:
    with pytest.raises(UserError) as caught, new_folder(target):
        pytest.fail("it was yielded")
    message = str(caught.value)
    assert message.startswith(f"{target}: ")
    assert len(message.splitlines()) == 1
    return message


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "already holds files" in refusal(tmp_path)
    assert tree(tmp_path) == {"file.txt": "new"}


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_is_refused(replace: bool, tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match="is a file"), new_folder(tmp_path / "file.txt", replace=replace):
        pytest.fail("it was yielded")
    assert tree(tmp_path) == {"file.txt": "new"}


def test_a_file_where_a_parent_should_be_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "cannot be created" in refusal(tmp_path / "file.txt" / "target")


def test_the_folder_before_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with new_folder(Path("target")) as temporary:
        fill(temporary)
    assert everything(tmp_path) == {"target", "target/file.txt"}


@pytest.mark.parametrize("replace", [False, True])
def test_a_link_to_nothing_is_refused(replace: bool, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="link: is a link to nothing"), new_folder(tmp_path / "link", replace=replace):
        pass
    assert everything(tmp_path) == {"link"}


# --- files ---


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with new_file(target) as file:
        file.write(b"new")
        assert not target.exists()
        assert [path.parent for path in tmp_path.iterdir()] == [tmp_path], "a rename is only safe within one file system"
    assert everything(tmp_path) == {"file.txt"}
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_file_that_is_there_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(UserError, match="is there already"), new_file(target):
        pass
    with pytest.raises(UserError, match="broken off"), new_file(target, replace=True):
        raise UserError("broken off")
    assert (everything(tmp_path), target.read_text()) == ({"file.txt"}, "old")
    with new_file(target, replace=True) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert (everything(tmp_path), target.read_text()) == ({"file.txt"}, "new")


@pytest.mark.parametrize("name", ["folder", "gone/file.txt", "file.txt/file.txt"])
def test_where_no_file_can_be_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError) as caught, new_file(tmp_path / name, replace=True):
        pass
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert everything(tmp_path) == {"folder", "file.txt"}
