"""Format `web`: the page in Chromium, from a plain file server, answers as `Predictor` does."""

import functools
import json
import re
import tarfile
from operator import attrgetter
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from ppcls_light.bundle.chosen import Chosen
from ppcls_light.bundle.metadata import put_threshold
from ppcls_light.config.postprocess import MultiLabelThreshOutput, ThreshOutput, Topk
from ppcls_light.data.classes import ClassNames
from ppcls_light.errors import ExportError
from ppcls_light.export import export_model
from ppcls_light.export.preprocess import Preprocessing
from ppcls_light.export.verify import prepared
from ppcls_light.export.web import runtime
from ppcls_light.export.web.graph import answers, last_map, write_graphs
from ppcls_light.export.web.page import refresh_page
from ppcls_light.models import create_model
from ppcls_light.prediction import Predictor
from ppcls_light.prediction.neighbours import Index
from ppcls_light.prediction.postprocess import PostProcessor
from ppcls_light.prediction.unknown import at_temperature, distance, energy
from tools.benchmarks.formats import settle
from tools.benchmarks.web import ANSWERS, chromium, chromium_path, served

pytest.importorskip("paddle2onnx", reason="needs paddle2onnx: the extra onnx")
pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: the extra onnx")
skimage = pytest.importorskip("skimage", reason="its photos are those of the test")
pytest.importorskip("playwright.sync_api", reason="drives the browser")

OPS = [("ResizeImage", {"resize_short": 72}), ("CropImage", {"size": 64}), ("NormalizeImage", {"order": ""})]
NAMES = ["a", "b", "犬", "d", "e", "f"]
FAMILIES = ["PPLCNet_x0_25", "FasterNet_T0", "MicroNet_M0", "EdgeNeXt_XX_Small"]
ON_GPU = "PPLCNet_x0_25"  # its folder has WebGPU's runtime, too
# Of a probability: weights are in half precision, and decoders of JPEG may differ by a grey level.
MOST = 0.02


@pytest.fixture(scope="module")
def package():
    """ONNX Runtime Web, fetched once; tests ask no network for anything else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PPCLS_LIGHT_OFFLINE")
        try:
            return runtime.package()
        except ExportError as problem:
            pytest.skip(f"needs ONNX Runtime Web: {problem}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A hundred crops of the photos that scikit-image brings, as JPEG and PNG."""
    folder, source = tmp_path_factory.mktemp("root") / "photos", Path(skimage.__file__).parent / "data"
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"):
        image = cv2.imread(str(source / name))
        for index in range(20):
            top, left = (int(rng.integers(0, side - 150)) for side in image.shape[:2])
            paths.append(folder / f"{name[:-4]}{index}.{'jpg' if index % 2 else 'png'}")
            crop = image[top : top + 90 + 3 * index, left : left + 150 - 2 * index]
            assert cv2.imwrite(str(paths[-1]), crop)
    return paths


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, photos, package):
    return exported(request.param, photos)


@functools.cache
def cached_export(name, root, photos):
    folder = Path(root) / name
    images = np.stack(list(prepared(OPS, (3, 64, 64), photos[::5])))
    paddle.seed(0)
    model = settle(create_model(name, class_num=len(NAMES)), images, spread=1)
    report = export_model(
        model, folder, (3, 64, 64), OPS, NAMES, topk=3, images=photos[::10], web=True, webgpu=name == ON_GPU
    )
    assert 0 < report.web_max_abs_diff < MOST
    return folder


def exported(name, photos):
    return cached_export(name, str(photos[0].parents[1]), tuple(photos))


@pytest.fixture(scope="module")
def address(photos):
    """A server of files, which knows nothing of the page."""
    with served(photos[0].parents[1]) as one:
        yield one


@pytest.fixture(scope="module")
def browser():
    if chromium_path() is None:
        pytest.skip("needs Chromium")
    with chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as one:
        yield one


@pytest.fixture
def page(browser, address):
    """A page of one's own; the test fails when the browser complained, or asked another host."""
    context = browser.new_context(reduced_motion="reduce", locale="en-US")
    one, complaints = context.new_page(), []
    one.on("pageerror", lambda error: complaints.append(str(error)))
    one.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    one.on("request", lambda sent: sent.url.startswith((address, "blob:")) or complaints.append(sent.url))
    yield one
    context.close()
    assert complaints == []


def test_best_classes_are_those_of_predictor_on_a_hundred_photos(folder, page, address, photos):
    page.goto(f"{address}/{folder.name}/web/")
    page.wait_for_selector("#model.ready")
    assert page.locator("#model").text_content() == f"{folder.name} · 6 classes · WebAssembly × 1"
    found = page.evaluate(ANSWERS, [f"/photos/{path.name}" for path in photos])
    expected = Predictor(folder, topk=len(NAMES), engine="onnxruntime").predict(photos)
    for row, right in zip(found, expected):
        scores = dict(zip(right["class_ids"], right["scores"]))
        assert row["scores"] == pytest.approx([scores[place] for place in row["class_ids"]], abs=MOST)
        assert right["scores"][0] - scores[row["class_ids"][0]] <= 2 * MOST
        assert row["label_names"] == [NAMES[place] for place in row["class_ids"]]
    same = [row["class_ids"][0] == right["class_ids"][0] for row, right in zip(found, expected)]
    assert sum(same) >= 98  # the others tie
    assert len({row["class_ids"][0] for row in expected}) > 1


def shown(page, photo):
    page.set_input_files("#file", photo)
    page.wait_for_selector("#caption:visible")
    page.wait_for_selector("main[aria-busy=false] #bars li")


def test_heat_map_camera_broken_file_and_no_network(page, address, photos):
    folder = exported("PPLCNet_x0_25", photos)
    page.goto(f"{address}/{folder.name}/web/")
    page.wait_for_selector("#model.ready")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    shown(page, photos[0])
    assert page.locator("#overlay").is_hidden()
    page.click("#heat")
    page.wait_for_selector("#overlay:visible")
    colours = page.evaluate(
        "[...new Set(document.querySelector('#overlay').getContext('2d').getImageData(0, 0, 99, 90).data)].length"
    )
    assert colours > 50
    best = page.locator("#bars .label").first.text_content()
    assert page.locator("#legend-heat").text_content().startswith(f"Yellow: what speaks most for {best}.")
    page.click("#camera")
    page.wait_for_selector("#capture:visible")
    assert page.locator("#overlay").is_hidden()
    page.click("#capture")
    page.wait_for_selector("#name:text-is('camera.png')")
    page.wait_for_selector("main[aria-busy=false] #bars li")
    assert page.locator("#live").is_hidden()
    page.set_input_files("#file", {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff"})
    page.wait_for_selector("#error:visible")
    assert page.locator("#problem").text_content() == "The browser cannot read x.jpg as an image."
    page.click("#language")
    assert page.locator("#problem").text_content() == "浏览器无法将 x.jpg 作为图片读取。"
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("#model.ready")
    assert page.evaluate("crossOriginIsolated")  # by the service worker, so that there may be threads
    shown(page, photos[0])
    assert page.locator("#bars .label").first.text_content() == best


def test_rows_are_those_of_the_package(page, address, photos):
    page.goto(f"{address}/{exported('PPLCNet_x0_25', photos).name}/web/")
    page.wait_for_selector("#model.ready")
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4) / 2, 20).astype(np.float32)
    two = np.float32([[0.1, 0.9], [0.2, 0.8], [0.11, 0.89]])
    names = ClassNames(("a", "b", "c", "d"), "names")
    limits = [0.1, 0.2, 0.3, 0.4]
    cases = [
        (Topk(topk=3), probs, {"answer": "Topk", "topk": 3}),
        (
            MultiLabelThreshOutput(threshold=limits),
            probs,
            {"answer": "MultiLabelThreshOutput", "threshold": limits},
        ),
        (
            ThreshOutput(threshold=0.6, default_label_index=2),
            *(probs, {"answer": "ThreshOutput", "threshold": 0.6, "otherwise": 2}),
        ),
        (ThreshOutput(threshold=0.9), two, {"answer": "ThreshOutput", "threshold": 0.9, "otherwise": 0}),
    ]
    for kind, given, model in cases:
        model["names"] = list(names)[: given.shape[1]]
        rows = PostProcessor(kind, model["names"])(given, [None] * len(given))
        script = "([all, model]) => all.map((one) => rowOf(one, model))"
        found = page.evaluate(script, [given.tolist(), model])
        assert [(row["class_ids"], row["label_names"]) for row in found] == [
            (row["class_ids"], row["label_names"]) for row in rows
        ]
    logits, embeddings = (rng.normal(0, 3, (20, width)).astype(np.float32) for width in (4, 8))
    training = rng.normal(0, 1, (30, 8)).astype(np.float32)
    reference = Index(training, [""] * 30, "", "")
    page.evaluate("(values) => { self.unitVectors = new Float32Array(values); }", unit(training))
    script = """([logits, embeddings, probs]) => logits.map((_, i) => [
        energy(logits[i]), distance(embeddings[i], self.unitVectors, 4),
        ...calibrated(probs[i], {temperature: 1.7})])"""
    found = np.array(page.evaluate(script, [logits.tolist(), embeddings.tolist(), probs.tolist()]))
    expected = [energy(logits), distance(reference, embeddings, 4), *at_temperature(probs, 1.7).T]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-5)
    script = "(unknown) => doubt({logits: [1, 2]}, [0.3, 0.7], unknown, null).unknown"
    limit = float(energy(np.array([[1.0, 2]]))[0])
    for thresholds, unknown in (([limit + 0.1], False), ([limit - 0.1], True), ([-9, limit + 0.1], False)):
        assert page.evaluate(script, {"score": "energy", "thresholds": thresholds}) == unknown


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).ravel().tolist()


def export_tags(folder, **options):
    """Export a network of no family, which says how red and how green an image is."""
    linear = paddle.nn.Linear(3, 2)
    linear.weight.set_value(paddle.to_tensor([[8.0, 0], [0, 8], [0, 0]]))
    linear.bias.set_value(paddle.to_tensor([0.0, 0.0]))
    network = paddle.nn.Sequential(paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), linear)
    ops = [("ResizeImage", {"size": [8, 8]}), ("NormalizeImage", {"order": ""})]
    kind = MultiLabelThreshOutput(threshold=[0.6, 0.7])
    names = ["red", "green"]
    return export_model(network, folder, (3, 8, 8), ops, names, multilabel=True, postprocess=kind, **options)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("FasterNet_T0", lambda model, place: model.head(model.avgpool_pre_head(place).flatten(1))),
        ("MicroNet_M0", lambda model, place: model.classifier(model.avgpool[1:](place))),
    ],
)
def test_maps_have_the_logits_of_each_place(name, head, tmp_path):
    model = create_model(name, class_num=5)
    model.eval()
    ops = [("ResizeImage", {"size": 64}), ("NormalizeImage", {"order": ""})]
    preprocessing = Preprocessing([*ops, ("ToCHWImage", {})], (3, 64, 64))
    write_graphs(model, tmp_path, preprocessing, True, [], False)
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
    found = answers(tmp_path, "rgb", [photo])
    outputs = []
    layer = attrgetter(last_map(model))(model)
    layer.register_forward_post_hook(lambda layer, inputs, output: outputs.append(output))
    with paddle.no_grad():
        model(preprocessing(paddle.to_tensor(photo[None])))
        expected = head(model, outputs[0][:, :, 1:2, 0:1]).numpy()
    assert found["cam"].shape == (1, 5, 2, 2)
    np.testing.assert_allclose(found["cam"][:, :, 1, 0], expected, atol=2e-3 * np.abs(expected).max())


def test_page_with_a_cdn_is_small_and_goes_with_the_next_export(tmp_path):
    export_tags(tmp_path, web=True, cdn=True, webgpu=True)
    page = tmp_path / "web"
    content = json.loads((page / "model.json").read_text(encoding="utf-8"))
    assert content["answer"] == "MultiLabelThreshOutput"
    assert (content["names"], content["threshold"]) == (["red", "green"], [0.6, 0.7])
    assert content["resize"] == {"short": 0, "size": [8, 8], "crop": [8, 8]}
    for key, (name, digest) in (("runtime", runtime.CPU["binary"]), ("webgpu", runtime.WEBGPU["binary"])):
        url = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{runtime.VERSION}/dist/{name}"
        assert content[key]["binary"] == {"url": url, "integrity": digest}
    assert sum(path.stat().st_size for path in page.rglob("*")) < 300_000
    kept = json.loads(re.match(r"const FILES = (.*);", (page / "worker.js").read_text(encoding="utf-8"))[1])
    remote = {content[key]["api"]["url"] for key in ("runtime", "webgpu")}
    assert {"./", "preprocess.onnx", "model.onnx", *remote} <= set(kept)
    assert "connect-src 'self' blob: https://cdn.jsdelivr.net" in (page / "index.html").read_text("utf-8")
    refresh_page(tmp_path)
    files = {path: path.read_bytes() for path in page.rglob("*.js*")}
    assert json.loads(files[page / "model.json"]) == content  # nothing has changed
    put_threshold(tmp_path, MultiLabelThreshOutput(threshold=[0.2, 0.3]), Chosen("f1", [0.2, 0.3], [{}, {}]))
    refresh_page(tmp_path)
    changed = {path.name for path, before in files.items() if path.read_bytes() != before}
    assert changed == {"model.json", "worker.js"}  # the worker's digest tells browsers
    assert json.loads((page / "model.json").read_text(encoding="utf-8"))["threshold"] == [0.2, 0.3]
    export_tags(tmp_path)
    assert not page.exists()
    page.mkdir()
    (page / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match="web: cannot be replaced"):
        export_tags(tmp_path, web=True, cdn=True)
    assert (page / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_page_of_tags_takes_its_runtime_from_a_cdn_and_compares_it(package, browser, photos, address):
    """The CDN is played by the package, so that the digests are of its files: the browser refuses others."""
    folder = photos[0].parents[1] / "tags"
    export_tags(folder, web=True, cdn=True)
    with tarfile.open(package) as archive:
        contents = {
            name: archive.extractfile(f"package/dist/{name}").read() for name, _ in runtime.CPU.values()
        }

    def give(route):
        name = route.request.url.rpartition("/")[2]
        kind = "text/javascript" if name.endswith("mjs") else "application/wasm"
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": kind}
        route.fulfill(body=contents[name], headers=headers)

    picture = folder / "green.png"
    assert cv2.imwrite(str(picture), np.full((20, 20, 3), (30, 250, 40), np.uint8))
    loader, _ = runtime.CPU["loader"]
    for content, state in ((contents[loader], "ready"), (b"another", "gone")):
        contents[loader] = content
        context = browser.new_context(reduced_motion="reduce", locale="en-US")
        context.route("https://cdn.jsdelivr.net/**", give)
        page = context.new_page()
        page.goto(f"{address}/tags/web/")
        page.wait_for_selector(f"#model.{state}")
        if state == "ready":
            page.set_input_files("#file", picture)
            page.wait_for_selector("#bars .label:text-is('green')")
            assert page.locator("#bars li").count() == 1
            assert page.locator("#note").text_content() == "Threshold: 60–70 %"
        context.close()


@pytest.fixture
def page_with_gpu(browser):
    """A page with an adapter by SwiftShader, a GPU in software."""
    arguments = (
        "--no-sandbox",
        "--disable-gpu",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
    )
    one = browser.browser_type.launch(executable_path=chromium_path(), args=arguments)
    yield one.new_page(locale="en-US")
    one.close()


def test_gpu_answers_as_webassembly_and_is_left_when_lost(page_with_gpu, photos, address):
    page, folder = page_with_gpu, exported(ON_GPU, photos)
    page.goto(f"{address}/{folder.name}/web/?engine=webgpu")  # which it is not by its speed
    page.wait_for_selector("#model.ready")
    if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
        pytest.skip("Chromium gives no adapter of WebGPU")
    page.evaluate("proving")
    label, urls = page.locator("#model"), [f"/photos/{path.name}" for path in photos[::25]]
    assert label.text_content() == f"{ON_GPU} · 6 classes · WebGPU"
    on_gpu = page.evaluate(ANSWERS, urls)
    assert label.text_content().endswith("WebGPU")
    page.evaluate("""async () => {
        const { env } = await import(new URL(model.webgpu.api.url, location.href));
        (await env.webgpu.device).destroy();
    }""")
    in_wasm = page.evaluate(ANSWERS, urls)
    assert label.text_content().endswith("WebAssembly × 1")
    for found, right in zip(on_gpu, in_wasm):
        assert found["class_ids"] == right["class_ids"]
        assert found["scores"] == pytest.approx(right["scores"], abs=1e-2)


def test_page_for_gpus_works_without_one(page, photos, address):
    folder = exported(ON_GPU, photos)
    page.goto(f"{address}/{folder.name}/web/?engine=webgpu")
    page.wait_for_selector("#model.ready")
    page.evaluate("proving")
    assert page.locator("#model").text_content().endswith("WebAssembly × 1")
    others = "[[0.505, 0.495], [0.52, 0.48], [0.499, 0.501], [NaN, 0.49]]"
    found = page.evaluate(f"{others}.map((other) => agree([0.51, 0.49], other))")
    assert found == [True, False, False, False]


def test_runtime_that_cannot_be_had_is_told_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PPCLS_LIGHT_HOME", str(tmp_path))
    monkeypatch.delenv(runtime.REGISTRY_VARIABLE, raising=False)
    place = re.escape(str(tmp_path / "web" / runtime.FILE))
    with pytest.raises(
        ExportError, match=f"^https://registry.npmjs.org/.*OFFLINE is set; .*put it at {place}$"
    ):
        export_tags(tmp_path / "export", web=True)
    assert not (tmp_path / "export").exists()
