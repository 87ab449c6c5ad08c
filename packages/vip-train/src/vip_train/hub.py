"""Folders on the Hugging Face hub: finding one by name, and uploading one. Only the files asked for travel, never a pickle.

Where the hub is (`HF_ENDPOINT`), whether it may be asked (`HF_HUB_OFFLINE`), where downloads are kept (`HF_HOME`) and who asks
(`HF_TOKEN`, or a login) are settings of huggingface_hub.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vip_train.errors import UserError


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of the hub, `user/name`. A relative path may have it too."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def find_folder(
    name: Path | str, needed: Sequence[str], *, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """The folder of that name, which is downloaded if there is none here.

    Args:
        name: a folder, which wins, or text that is a hub id.
        needed: names of the files a download has to bring. README.md comes along where there is one; all others stay there.
        revision: branch, tag or commit on the hub.
        token: of the hub; None takes the login of this machine, False takes none.

    Raises:
        UserError: it is neither, the hub has no such repository, revision or file, or it cannot be reached.
    """
    folder = Path(name)
    if isinstance(name, Path) or folder.is_dir():
        if revision is not None:
            raise UserError(f"{name}: is a folder, and revision={revision!r} is for the hub alone")
        return folder
    if not is_hub_id(name):
        raise UserError(f"{name}: is neither a folder nor of the form user/name, an id of the hub")
    try:
        folder = Path(snapshot_download(name, revision=revision, token=token, allow_patterns=[*needed, "README.md"]))
    # Its client lets errors of its HTTP library through, and that has changed from release to release.
    except Exception as error:
        raise UserError(f"{name}: is no folder, and cannot be had from the hub: {_reason(error, revision)}") from error
    if absent := [file for file in needed if not (folder / file).is_file()]:
        raise UserError(f"{name}: holds no {absent[0]} on the hub")
    return folder


def upload_folder(
    folder: Path,
    repo_id: str,
    files: Sequence[str],
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Uploads files of a folder in one commit; the repository, and the branch, are made where there are none.

    Args:
        folder: where the files are.
        repo_id: `user/name`.
        files: names of those to upload.
        private: whether a repository made here is private; None leaves it to the account's setting.
        revision: branch to commit to; None is the main one.
        commit_message: first line of the commit; None lets the hub word it.
        token: with the right to write; None takes the login of this machine.

    Returns:
        Address of the commit.

    Raises:
        UserError: the name is none, the token may not write there, or the hub cannot be reached.
    """
    if not is_hub_id(repo_id):
        raise UserError(f"repo_id={repo_id!r} must have the form user/name")
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=list(files),
        )
    except Exception as error:  # as above
        raise UserError(f"{repo_id}: cannot be uploaded to the hub: {_reason(error, revision)}") from error
    return str(commit.commit_url)


def _reason(error: BaseException, revision: str | None) -> str:
    """One line for what may be four of the client's."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return f"{_reason(error.__cause__, revision)}; and it has not been downloaded before"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, GatedRepoError):
        return "its owner has to grant access first"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or the token may not use it"
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision={revision!r}"
    return _line(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
