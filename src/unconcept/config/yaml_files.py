"""YAML in which nothing silently becomes something else. Imported only where a file is read."""

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")


class StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, and numbers that have two readings.

    YAML 1.1 reads 010 as 8, 1:30 as 90 and 1_0 as 10.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, each key of which is given once.

        Args:
            node: Of the document.
            deep: Of PyYAML: construct what is inside at once.

        Raises:
            ConstructorError: A key is given twice; YAML itself would take the last.
        """
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise ConstructorError(None, None, f'"{key}" is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_plain_integer(self, node: yaml.ScalarNode) -> int:
        """Read an integer that every YAML parser reads alike.

        Args:
            node: A scalar that YAML 1.1 takes for an integer: "12" or "0x1f", but also "010",
                "1_000" and "1:30", which other parsers read otherwise.

        Returns:
            The number: plain decimal or hexadecimal digits.

        Raises:
            ConstructorError: It is written in another way.
        """
        if not PLAIN_NUMBER.fullmatch(node.value):
            message = f'"{node.value}" has several readings as a number: write its digits alone'
            raise ConstructorError(None, None, message, node.start_mark)
        return self.construct_yaml_int(node)


StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_plain_integer)


def load_yaml(data: bytes) -> Any:
    """The content of a YAML file.

    Args:
        data: UTF-8, with a byte order mark or without.

    Raises:
        yaml.YAMLError: It is not YAML, or not UTF-8.
    """
    try:
        return yaml.load(data.decode("utf-8-sig"), StrictLoader)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError("it is not UTF-8 text: save it as UTF-8") from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise yaml.YAMLError(f"it holds something that cannot be read ({error})") from error
