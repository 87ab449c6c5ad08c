"""`vip-train push`: uploads an adapter to the Hugging Face hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vip_train.adapter import push_adapter
from vip_train.config import parse


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """One adapter to be uploaded. The right to write comes from the machine's login, or HF_TOKEN."""

    adapter: Path
    """Its folder."""
    repository: str
    """user/name on the hub; made if there is none."""
    private: bool | None = None
    """Whether a repository made here is private; by default as the account has it."""
    revision: str | None = None
    """Branch to commit to, made if there is none; by default the main one."""
    message: str = "Upload VIP adapter"
    """First line of the commit."""


def run(arguments: Sequence[str]) -> None:
    """Uploads an adapter."""
    config = parse(PushConfig, arguments, prog="vip-train push", description="Uploads an adapter to the Hugging Face hub.")
    address = push_adapter(
        config.adapter,
        config.repository,
        private=config.private,
        revision=config.revision,
        commit_message=config.message,
    )
    print(f"commit {address}")
