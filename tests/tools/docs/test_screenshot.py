import functools
import shutil

import pytest
from PIL import Image

pytest.importorskip("playwright", reason="needs the extra dev")


@pytest.fixture
def tool(run_tool):
    """A function that runs the tool with arguments."""
    return functools.partial(run_tool, "docs/screenshot")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium is on the PATH")
def test_a_picture_is_of_the_window_at_a_heading(tool, tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    rest = "<div style='height: 2000px; background: #00ff00'></div>"
    page.write_text(f"<body style='margin: 0; background: #ff0000'><p>top</p><h2>Fruit</h2>{rest}")
    tool(page, "--out", picture, "--width", 300, "--height", 200, "--scroll-to", "Fruit")
    with Image.open(picture) as image:
        assert image.size == (300, 200)
        assert image.convert("RGB").getpixel((150, 199)) == (0, 255, 0)


def test_without_chromium_one_line_says_so(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as exit_:
        tool(tmp_path, "--out", tmp_path / "page.png")
    assert exit_.value.code == 2
    assert "install it" in capsys.readouterr().err
