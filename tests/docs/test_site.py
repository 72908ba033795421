import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """The site, built from docs/; a warning of mkdocs is an error."""
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter"):
        pytest.importorskip(package, reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-d", folder]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_site_has_every_page_and_the_reference(site, root):
    for page in (root / "docs").rglob("*.md"):
        path = page.relative_to(root / "docs").with_suffix("")
        assert (site / (path.parent if path.name == "index" else path) / "index.html").is_file(), page
    api = (site / "api/index.html").read_text(encoding="utf-8")
    assert 'id="ppcls_light.Predictor.predict"' in api


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="?(https?://[^"\s>]+)', page.read_text(encoding="utf-8")
        )
        assert loaded == [], page
