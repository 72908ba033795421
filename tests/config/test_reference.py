"""docs/config.md names everything that a config may hold."""

import dataclasses
import re
import typing

import pytest

from ppcls_light.config import schema
from ppcls_light.registry import BATCH_TRANSFORMS, TRANSFORMS


def dataclasses_in(annotation):
    """Yield the dataclasses that an annotation is made of, and those that their fields are made of."""
    if dataclasses.is_dataclass(annotation):
        yield annotation
        hints = typing.get_type_hints(annotation, include_extras=True)
        for field in dataclasses.fields(annotation):
            yield from dataclasses_in(hints[field.name])
    for argument in typing.get_args(annotation):
        yield from dataclasses_in(argument)


@pytest.fixture(scope="module")
def words(root):
    return set(re.findall(r"\w+", (root / "docs/config.md").read_text(encoding="utf-8")))


def test_every_key_is_documented(words):
    keys = {field.name for cls in dataclasses_in(schema.Config) for field in dataclasses.fields(cls)}
    assert keys - {"params"} - words == set()  # `params` stands for a network's own keys


def test_every_section_has_its_table(root):
    page = (root / "docs/config.md").read_text(encoding="utf-8")
    lists = {"Config", "DataLoaderConfig", "LossConfig", "MetricConfig"}  # of sections, described in prose
    refused = {"ReduceOnPlateau"}
    sections = {cls.__name__ for cls in dataclasses_in(schema.Config)} - lists - refused
    assert sections - set(re.findall(r"<!-- generated: (\w+) -->", page)) == set()


def test_every_op_is_documented(words):
    assert {*TRANSFORMS.names(), *BATCH_TRANSFORMS.names()} - words == set()
