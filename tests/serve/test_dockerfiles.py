import fnmatch
import json
import re
from pathlib import Path

import pytest

from ppcls_light.commands.dispatch import command_parser

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "serving").glob("Dockerfile*"))
BUILD = {"setup.py", "requirements.txt", "README.md", "configs", "ppcls_light"}  # what setup.py reads
KNOWN = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}


def instructions(path):
    """Return the (instruction, rest) pairs of a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()]


def extras_of(path):
    return set(re.search(r'"\.\[(.+?)\]"', path.read_text())[1].split(","))


def sent_to_docker(path):
    """Whether .dockerignore leaves `path` in the build context; the last pattern that fits decides."""
    kept = True
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#"):
            bare = pattern.lstrip("!")
            parts = [path, *map(str, Path(path).parents)]
            if any(fnmatch.fnmatch(part, bare) for part in parts):
                kept = pattern.startswith("!")
    return kept


def test_there_is_one_without_paddle_one_with_it_and_one_for_gpus():
    extras = {path.name: extras_of(path) for path in FILES}
    assert extras == {
        "Dockerfile": {"serving", "openvino", "onnxruntime"},
        "Dockerfile.gpu": {"serving"},  # Paddle is from another index
        "Dockerfile.paddle": {"serving", "cpu"},
    }
    assert not any(map(sent_to_docker, (".git/config", "dataset/a.jpg", "output/x", "tests/conftest.py")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_copied_exists_and_the_server_runs_as_a_user(path):
    steps = instructions(path)
    assert {name for name, _ in steps} <= KNOWN
    names = [name for name, _ in steps]
    assert names[0] == "FROM"
    for name, rest in steps:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert sent_to_docker(source), source
    values = dict(steps)
    assert values["USER"] == "server"
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in ("RUN", "COPY"))
    assert {source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]} >= BUILD
    name, command, *options = json.loads(values["ENTRYPOINT"])
    assert (name, command) == ("ppcls-light", "serve")
    entry = command_parser("serve", name).parse_args(options)
    assert (entry.model, entry.host, str(entry.port)) == ("/model", "0.0.0.0", values["EXPOSE"])
    engines = {"Dockerfile": ("openvino", "cpu"), "Dockerfile.gpu": (None, "gpu")}
    assert (entry.engine, entry.device) == engines.get(path.name, (None, "cpu"))
    volumes = values["VOLUME"].split()
    assert volumes[0] == "/model"
    for place in re.findall(r"(?:ENGINE_FILE|CACHE_HOME)=(/\w+)", values["ENV"]):
        assert place in volumes
        assert f"install -d -o server {place}" in path.read_text()  # a new volume belongs to its user
    assert f":{values['EXPOSE']}/health" in json.loads(values["HEALTHCHECK"].split("CMD ")[1])[2]
    assert extras_of(path) <= set(re.findall(r'^ +"(\w+)": \[', (ROOT / "setup.py").read_text(), re.M))
