"""YAML as a person wrote it: every scalar but null is the text that stands there, for a setting's type says what it is.

So labels [yes, no] are no booleans, 2020-01-01 is no date, and 1e-4, for YAML 1.1 no number, is as good as 0.0001.
"""

from collections.abc import Hashable
from typing import Any

import yaml


class _AsWritten(yaml.SafeLoader):
    """Also refuses a key that comes twice, of which YAML's readers take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} comes twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_AsWritten.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """The value of a document.

    Raises:
        yaml.YAMLError: it is none, or a key comes twice.
    """
    return yaml.load(text, _AsWritten)
