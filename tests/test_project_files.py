"""Files for those who contribute: valid by their schemas, and of one mind with setup.py."""

import json
import re
import subprocess
import sys

import pytest
import yaml

SCHEMAS = {
    "github-workflows": [".github/workflows/tests.yml"],
    "github-issue-forms": [".github/ISSUE_TEMPLATE/fault.yml", ".github/ISSUE_TEMPLATE/idea.yml"],
    "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "citation-file-format": ["CITATION.cff"],
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_file_fits_its_schema(schema, root):
    pytest.importorskip("check_jsonschema", reason="needs the extra package")
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.{schema}",
        *SCHEMAS[schema],
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def workflow(root):
    return yaml.safe_load((root / ".github/workflows/tests.yml").read_text(encoding="utf-8"))


def test_the_workflow_runs_on_the_pythons_that_the_package_is_for(root, workflow):
    text = (root / "setup.py").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'python_requires=">=([\d.]+)"', text)
    stated = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert workflow["jobs"]["core"]["strategy"]["matrix"]["python"] == stated
    assert stated[0] == oldest


def test_the_workflow_installs_extras_that_are_there(root, workflow):
    text = json.dumps(workflow)
    (extras,) = re.findall(r"-e \\\".\[([\w,]+)\]", text)
    setup = (root / "setup.py").read_text(encoding="utf-8")
    for extra in extras.split(","):
        assert f'"{extra}": [' in setup


def test_a_report_of_a_fault_asks_for_the_doctor(root):
    form = yaml.safe_load((root / ".github/ISSUE_TEMPLATE/fault.yml").read_text(encoding="utf-8"))
    (doctor,) = [part for part in form["body"] if part.get("id") == "doctor"]
    assert doctor["validations"]["required"]
    assert "ppcls-light doctor" in doctor["attributes"]["description"]
