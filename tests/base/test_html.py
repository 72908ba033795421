"""HTML pages: everything from outside is escaped, pictures are in the file, nothing is loaded."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ppcls_light.base import html

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></figcaption><script>",
    "&lt;b&gt;",
)


class Reader(HTMLParser):
    """Tags with their attributes, and the text, as a browser sees them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def named(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]


def whole_page(text):
    jpeg = html.thumbnail(np.zeros((8, 8, 3), np.uint8))
    return html.page(
        text,
        html.section(text, html.paragraph(text), html.details(text, text), anchor=text),
        html.link(text, text),
        html.table([text], [[text]]),
        html.gallery([html.picture(jpeg, text, text), text]),
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_from_outside_stays_text(attack):
    harmless, read = Reader(whole_page("name")), Reader(whole_page(attack))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in read.tags] == [sorted(each) for _, each in harmless.tags]
    assert read.texts.count(attack) == harmless.texts.count("name") == 11
    assert read.named("img")[0]["alt"] == attack
    assert read.named("a")[0]["href"] == f"#{attack}"
    assert attack in {attributes.get("id") for attributes in read.named("section")}


def test_control_characters_and_broken_bytes_become_their_escapes():
    assert html.text("a\x00b\u202ec\udcff \u200d人") == "a\\x00b\\u202ec\\udcff \u200d人"
    html.page("\udcff").encode("utf-8")


def test_a_page_loads_nothing_and_fits_a_phone():
    read = Reader(whole_page("name"))
    addresses = [value for _, each in read.tags for key, value in each.items() if key in ("src", "href")]
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert not read.named("script")
    assert not read.named("link")
    metas = read.named("meta")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    (policy,) = [meta["content"] for meta in metas if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_markup_stays_as_it_is_and_none_is_nothing():
    assert html.text(html.Markup("<b>")) == "<b>"
    assert html.text(None) == ""


def test_columns_of_numbers_stand_on_the_right():
    read = Reader(html.table(["class", "images"], [["a", 12345], ["7", None]]))
    assert [each.get("class") for each in read.named("td")] == [None, "number", None, "number"]
    assert "12,345" in read.texts


@pytest.mark.parametrize(
    ("shape", "size"), [((400, 200), (56, 112)), ((50, 30), (30, 50)), ((1, 3000), (112, 1))]
)
def test_a_thumbnail_is_a_jpeg_file_within_bounds(shape, size):
    pixels = np.full((*shape, 3), (200, 40, 90), np.uint8)
    (image,) = Reader(html.picture(html.thumbnail(pixels))).named("img")
    data = base64.b64decode(image["src"].split(",", 1)[1])
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("JPEG", size)
        assert np.abs(np.asarray(opened, int) - (200, 40, 90)).max() < 8


def test_a_gallery_counts_those_that_are_left_out():
    assert "and 1,234 more" in html.gallery([html.picture(None, "gone")], 1234)
    assert "more" not in html.gallery([])
