import fnmatch
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "serving").glob("Dockerfile*"))
KNOWN = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}


def instructions(path):
    """Return the (instruction, rest) pairs of a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()]


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


def test_there_is_one_for_the_cpu_and_one_for_gpus():
    assert [path.name for path in FILES] == ["Dockerfile", "Dockerfile.gpu"]
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
    assert values["VOLUME"] == "/model"
    entry = json.loads(values["ENTRYPOINT"])
    assert entry[entry.index("--model") + 1] == "/model"
    assert entry[entry.index("--port") + 1] == values["EXPOSE"]
    assert f":{values['EXPOSE']}/health" in json.loads(values["HEALTHCHECK"].split("CMD ")[1])[2]
    assert (ROOT / entry[1]).is_file()
    extras = set(re.search(r'"\.\[(.+?)\]"', path.read_text())[1].split(","))
    assert extras <= set(re.findall(r'^ +"(\w+)": \[', (ROOT / "setup.py").read_text(), re.M))
