import base64
import re
import shutil

import paddle
import pytest

from ppcls_light import Predictor
from ppcls_light.config.postprocess import MultiLabelThreshOutput
from ppcls_light.export import export_model

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")
httpx = pytest.importorskip("httpx", reason="a real HTTP client")
playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

DROP = """([data, name, type]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type}));
    const target = document.querySelector("#drop");
    for (const kind of ["dragenter", "dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""

PASTE = """([data, name, type]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type}));
    document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: carried, bubbles: true}));
}"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield one
        one.close()


@pytest.fixture
def page(browser, server, request):
    """The page; the test fails when the browser complained, about the content security policy for one.

    The browser's language is the parameter, by default en-US.
    """
    context = browser.new_context(reduced_motion="reduce", locale=getattr(request, "param", "en-US"))
    one, complaints = context.new_page(), []
    one.on("pageerror", lambda error: complaints.append(str(error)))
    one.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    one.on("request", lambda sent: sent.url.startswith((server.url, "blob:")) or complaints.append(sent.url))
    one.on("filechooser", lambda _: None)  # from now on no dialog opens that nobody could see
    one.goto(server.url)
    one.wait_for_selector("#model.ready")
    yield one
    context.close()
    # What the browser says about every answer that is not 200 is no complaint.
    assert [text for text in complaints if "status of 4" not in text] == []


def file_of(path):
    return [base64.b64encode(path.read_bytes()).decode(), path.name, "image/jpeg"]


def shown(page):
    """Return what the page shows: (names, scores in words, widths of the bars as parts of their tracks)."""
    widths = "all => all.map((b) => b.getBoundingClientRect().width / b.parentElement.getBoundingClientRect().width)"
    return (
        page.locator("#bars .label").all_text_contents(),
        page.locator("#bars .score").all_text_contents(),
        page.eval_on_selector_all("#bars .fill", widths),
    )


def check_bars(page, model, path):
    row = Predictor(model, topk=5).predict([path])[0]
    page.wait_for_selector(f"#bars li:first-child .label:text-is('{row['label_names'][0]}')")
    # Not wait_for_function, which evaluates text: the page's Content-Security-Policy forbids that.
    page.wait_for_selector("#bars li:first-child .fill[style*='width']", state="attached")
    names, scores, widths = shown(page)
    assert names == row["label_names"]
    assert scores == [f"{100 * score:.1f} %" for score in row["scores"]]
    assert widths == pytest.approx(row["scores"], abs=0.01)
    assert page.locator("#summary").text_content() == f"Most probable: {names[0]}, {scores[0]}"
    assert page.locator("#error").is_hidden()
    assert page.locator("#name").text_content() == path.name
    size = page.eval_on_selector("#picture", "image => image.decode().then(() => image.naturalWidth)")
    assert size == 60


@pytest.fixture(scope="module")
def tags(launch, tmp_path_factory):
    """A server whose classes are tags: which of red and green an image has, from a third of the light on."""
    linear = paddle.nn.Linear(3, 2)
    linear.weight.set_value(paddle.to_tensor([[8.0, 0], [0, 8], [0, 0]]))
    linear.bias.set_value(paddle.to_tensor([0.0, 0.0]))
    network = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), linear)
    ops = [("ResizeImage", {"size": [32, 32]}), ("NormalizeImage", {"order": ""})]
    folder = tmp_path_factory.mktemp("tags") / "inference"
    kind = MultiLabelThreshOutput(threshold=0.6)
    export_model(
        network, folder, (3, 32, 32), ops, ["red", "green"], "Tags", multilabel=True, postprocess=kind
    )
    with launch.running(folder) as one:
        yield one


def test_a_model_of_tags_shows_those_that_reach_the_threshold(browser, tags, photo):
    context = browser.new_context(reduced_motion="reduce", locale="zh-CN")
    page = context.new_page()
    page.goto(tags.url)
    page.wait_for_selector("#model.ready")
    assert page.locator("#waiting").text_content() == "结果将显示在这里。"
    assert page.locator("#model").text_content() == "Tags · 2 个标签 · paddle"
    page.set_input_files("#file", photo(1))
    page.wait_for_selector("#bars .label:text-is('green')")
    assert page.locator("#bars .label").all_text_contents() == ["green"]
    assert page.locator("#summary").text_content() == "标签：green"
    assert page.locator("#note").text_content() == "阈值：60 %"
    page.set_input_files("#file", photo(2))
    page.wait_for_selector("#note:text-is('没有标签达到阈值 60 %。')")
    assert page.locator("#bars li").count() == 0
    page.click("#language")
    assert page.locator("#note").text_content() == "No tag reaches the threshold 60 %."
    context.close()


def test_a_request_to_a_model_of_tags_is_answered_by_them_or_by_the_best(tags, photo):
    data = {"file": photo(1).read_bytes()}
    own = httpx.post(f"{tags.url}/predict", files=data, timeout=20).json()["results"][0]
    best = httpx.post(f"{tags.url}/predict?topk=2", files=data, timeout=20).json()["results"][0]
    assert (own["label_names"], best["label_names"]) == (["green"], ["green", "red"])
    ready = httpx.get(f"{tags.url}/ready").json()
    assert (ready["answer"], ready["topk"], ready["threshold"]) == ("MultiLabelThreshOutput", None, 0.6)


def number(page, selector):
    text = page.locator(selector).text_content()
    assert text.endswith(" ms")
    return float(text[:-3])


def test_choosing_dropping_and_pasting(page, model, photo):
    assert page.locator("#model").text_content() == "Paint · 6 classes · paddle"
    page.set_input_files("#file", photo(0))
    check_bars(page, model, photo(0))
    assert 0 < number(page, "#server") <= number(page, "#trip")
    assert page.locator("#legend li").count() == 5
    page.evaluate(DROP, file_of(photo(1)))
    check_bars(page, model, photo(1))
    page.evaluate(PASTE, file_of(photo(2)))
    check_bars(page, model, photo(2))


def test_the_file_dialog_opens_by_keyboard(page, model, photo):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "language"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.labels[0].innerText").startswith("Drop an image here")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photo(1))
    check_bars(page, model, photo(1))


def test_errors_are_words_and_the_next_image_clears_them(page, model, photo, tmp_path):
    page.set_input_files("#file", {"name": "<i>x.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"})
    page.wait_for_selector("#error:visible")
    expected = "<i>x.pdf: not an image: no known format begins like this file (read here: JPEG, PNG, "
    assert page.locator("#problem").text_content() == "This is no image of a format that is read here"
    assert page.locator("#detail").text_content().startswith(expected)
    assert page.locator("#error").get_attribute("role") == "alert"
    assert page.locator("#bars li").count() == 0
    page.set_input_files("#file", {"name": "big.png", "mimeType": "image/png", "buffer": bytes(400_000)})
    page.wait_for_selector("#error:has-text('this server takes 0.3 MB at most')")
    page.evaluate(DROP, file_of(photo(2)))
    check_bars(page, model, photo(2))


def test_a_server_with_a_token_is_asked_again_with_it(page, model, photo):
    def guard(route):
        if route.request.headers.get("authorization") == "Bearer s3cret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": "send a token"})

    page.route("**/predict*", guard)
    page.set_input_files("#file", photo(1))
    page.wait_for_selector("#ask:visible")
    for token in ("wrong", "s3cret"):
        page.fill("#token", token)
        page.keyboard.press("Enter")
    check_bars(page, model, photo(1))
    assert page.locator("#ask").is_hidden()


def test_the_interface_is_described_from_this_server_alone(page, server):
    page.click("footer a")
    page.wait_for_selector("main section")
    assert page.locator("h2").all_text_contents() == [
        *("POST /predict", "GET /health", "GET /ready", "GET /metrics")
    ]
    assert page.locator("section:first-child summary").all_text_contents()[:4] == [
        *("topk (query)", "X-Request-ID (header)", "multipart/form-data", "application/json")
    ]
    page.locator("section:first-child summary").nth(3).click()
    assert '"images"' in page.locator("section:first-child pre").nth(3).text_content()
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_unknown_image_is_said_to_be_one(page, photo):
    row = {"class_ids": [1], "scores": [0.5], "label_names": ["green"], "file_name": "a.jpg"}
    answer = {"results": [row], "milliseconds": {"total": 1.0}, "request_id": "a"}
    page.route("**/predict?*", lambda route: route.fulfill(json=answer))
    for unknown in (True, False):
        row.update(unknown=unknown, unknown_score=0.626)
        page.set_input_files("#file", photo(unknown))
        page.wait_for_selector("#bars li")
        page.wait_for_function(f"document.querySelector('#unknown').hidden === {str(not unknown).lower()}")
        if unknown:
            assert page.locator("#unknown").text_content().startswith("Unknown (0.63): not like the images")
    assert page.locator("#summary").text_content() == "Most probable: green, 50.0 %"


def test_dark_and_narrow(page, photo):
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 360, "height": 700})
    page.set_input_files("#file", photo(0))
    page.wait_for_selector("#bars li")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


HAN = re.compile("[\u4e00-\u9fff]")


def language_of(page):
    return page.get_attribute("html", "lang"), page.locator("#empty strong").text_content()


@pytest.mark.parametrize("page", ["zh-CN", "zh-TW"], indirect=True)
def test_a_browser_in_chinese_gets_chinese_and_the_switch_is_remembered(page, server, photo):
    assert language_of(page) == ("zh-CN", "将图片拖到此处")
    assert page.title() == "图像分类"
    assert page.locator("#model").text_content() == "Paint · 6 个类别 · paddle"
    page.set_input_files("#file", photo(0))
    page.wait_for_selector("#bars li")
    assert re.fullmatch(r"最可能：red，\d+\.\d %", page.locator("#summary").text_content())
    words = page.locator(
        ":is(h2, dt, label, strong, #hint, #legend li, footer a):not([hidden])"
    ).all_text_contents()
    assert len(words) > 12
    assert all(map(HAN.search, words)), words
    page.set_input_files("#file", {"name": "x.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"})
    page.wait_for_selector("#error:visible")
    assert page.locator("#problem").text_content() == "这不是可读取的图片格式"
    assert page.locator("#detail[lang=en]").text_content().startswith("x.pdf: not an image")

    page.click("#language")
    assert language_of(page) == ("en", "Drop an image here")
    assert page.locator("#problem").text_content() == "This is no image of a format that is read here"
    assert page.locator("#language").text_content() == "中文"
    page.goto(f"{server.url}/docs")
    page.wait_for_selector("main section")
    assert page.locator("section:first-child > p").first.text_content() == "Classify images"
    page.click("#language")
    assert page.locator("section:first-child > p").first.text_content() == "对图片分类"
    page.goto(server.url)
    assert language_of(page)[0] == "zh-CN"


@pytest.mark.parametrize("page", ["de-DE"], indirect=True)
def test_other_languages_get_english(page):
    assert language_of(page) == ("en", "Drop an image here")


def described(content):
    """Return every summary and description of operations and answers in OpenAPI `content`."""
    operations = [one for methods in content["paths"].values() for one in methods.values()]
    answers = [answer for one in operations for answer in one["responses"].values()]
    return {one["summary"] for one in operations} | {answer["description"] for answer in answers}


def test_both_languages_have_every_text(page, client):
    from ppcls_light.serve.app import STATIC
    from ppcls_light.serve.schema import UNAUTHORIZED

    english, chinese = page.evaluate("[TEXTS.en, TEXTS.zh]")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        placeholders = re.findall(r"{\w+}", text)
        assert sorted(re.findall(r"{\w+}", chinese[key])) == sorted(placeholders), key
    for name in ("index.html", "docs.html"):
        html = (STATIC / name).read_text(encoding="utf-8")
        for key, text in re.findall(r'data-text="(\w+)"[^>]*>([^<]*)<', html):
            assert english[key] == text  # shown until the script has run
    sentences = described(client.get("/openapi.json").json())
    sentences |= {answer["description"] for answer in UNAUTHORIZED.values()}
    assert set(page.evaluate("Object.keys(OPENAPI.zh)")) == sentences
