"""Folder `web/` of an export: a page that classifies in the browser, for any static host."""

from __future__ import annotations

import hashlib
import json
import os
from importlib import resources
from typing import Any, Dict, List

import numpy as np

from ...base.files import checksum, write_text
from ...bundle.folder import UNKNOWN_FILE, Bundle, read_bundle
from ...bundle.metadata import metadata
from ...config.postprocess import OF_TAGS, PostProcess, ScoreOutput, ThreshOutput, Topk
from ...errors import ExportError
from ...explanation.overlay import VIRIDIS
from ...prediction.attributes import thresholds
from ...prediction.neighbours import Index
from ...prediction.postprocess import PostProcessor
from ..preprocess import Preprocessing
from . import runtime
from .graph import MODEL_FILE

FOLDER = "web"
DESCRIPTION = "model.json"
_REFERENCE = "reference.bin"
_WORKER = "worker.js"
_TOPK = 5  # bars of one class per image
_SHARED = ("page.css", "page.js", "texts.js", "icon.svg")  # with the server's page
_OWN = ("local.css", "rows.js", "engine.js", "local.js")
# What index.html of the server has, and what stands there without one.
_WITHOUT_SERVER = {
    '  <link rel="stylesheet" href="/static/page.css">\n': (
        '  <link rel="stylesheet" href="/static/page.css">\n  <link rel="stylesheet" href="/static/local.css">\n'
    ),
    '  <script src="/static/server.js" defer></script>\n': (
        "".join(f'  <script src="/static/{name}" defer></script>\n' for name in _OWN if name.endswith(".js"))
    ),
    '  <footer><a href="/docs" data-text="interface">The HTTP interface</a></footer>\n': "",
    "; /predict works without it": "",
    "/static/": "",
}


def write_page(folder: str, bundle: Bundle, preprocessing: Preprocessing, cdn: bool, webgpu: bool) -> None:
    """Write the page into `folder`, where the graphs are, for a model that answers as `bundle` says.

    With `cdn` the page takes the runtime from there, with `webgpu` also the one for GPUs.
    """
    builds = {"runtime": runtime.CPU, **({"webgpu": runtime.WEBGPU} if webgpu else {})}
    places = runtime.on_cdn(builds) if cdn else runtime.write_runtime(os.path.join(folder, "ort"), builds)
    served, own = resources.files("ppcls_light.serve") / "static", resources.files(__package__) / "static"
    for source, names in ((served, _SHARED), (own, _OWN)):
        for name in names:
            _write(folder, name, (source / name).read_bytes())
    _write(folder, "index.html", _page((served / "index.html").read_text("utf-8"), cdn).encode())
    resize = preprocessing.resize
    content = {
        **_description(bundle),
        **places,
        "channels": preprocessing.channels,
        "resize": {"short": resize.short, "size": resize.size, "crop": list(preprocessing.crop)[::-1]},
    }
    if bundle.unknown is not None and bundle.unknown.score == "distance":
        _write(folder, _REFERENCE, _reference(bundle))
        content["reference"] = _REFERENCE
    _write_description(folder, content)


def refresh_page(folder: str) -> None:
    """Let the page in the export `folder`, if there is one, answer as inference.yml says by now."""
    if not has_page(folder):
        return
    page = os.path.join(folder, FOLDER)
    with open(os.path.join(page, DESCRIPTION), encoding="utf-8") as file:
        old = json.load(file)
    _write_description(page, {**old, **_description(read_bundle(folder)), "channels": old["channels"]})


def has_page(folder: str) -> bool:
    """Return whether the folder `web` in `folder` is of an export, and not of the user."""
    return all(os.path.isfile(os.path.join(folder, FOLDER, name)) for name in (MODEL_FILE, DESCRIPTION))


def _write_description(folder: str, content: Dict[str, Any]) -> None:
    """Write `DESCRIPTION` and the service worker, which knows by a digest that something changed."""
    write_text(os.path.join(folder, DESCRIPTION), json.dumps(content, ensure_ascii=False), ExportError)
    builds = [content[key] for key in ("runtime", "webgpu") if key in content]
    remote = [place["url"] for build in builds for place in build.values() if "integrity" in place]
    own = (resources.files(__package__) / "static" / _WORKER).read_text("utf-8")
    write_text(os.path.join(folder, _WORKER), _worker(folder, remote) + own, ExportError)


def _write(folder: str, name: str, content: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)


def _page(html: str, cdn: bool) -> str:
    sources = f"'self' blob:{' https://' + runtime.CDN.split('/')[2] if cdn else ''}"
    policy = (
        "default-src 'none'; style-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        f"img-src 'self' blob:; media-src blob:; connect-src {sources}"
    )
    charset = '  <meta charset="utf-8">\n'
    changes = {
        charset: f'{charset}  <meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        **_WITHOUT_SERVER,
    }
    for old, new in changes.items():
        assert old in html, f"index.html has no {old}"
        html = html.replace(old, new)
    return html


def _description(bundle: Bundle) -> Dict[str, Any]:
    """Return what the page knows of the model: `metadata`, and its words and limits as the rows have them."""
    kind = bundle.postprocess
    shown = PostProcessor(kind, bundle.class_names).shown
    limit = _limit(kind)
    return {
        **metadata(bundle),
        "model": bundle.model_name,
        "classes": bundle.class_num,
        # Attributes are shown as tags: those that reach their thresholds.
        "answer": "MultiLabelThreshOutput" if isinstance(kind, OF_TAGS) and limit is not None else kind.name,
        "names": None if shown is None else list(shown),
        "threshold": limit,
        "topk": min(kind.topk, _TOPK) if isinstance(kind, Topk) else None,
        "otherwise": kind.default_label_index if isinstance(kind, ThreshOutput) else None,
        "decimals": kind.decimal_places if isinstance(kind, ScoreOutput) else None,
        "palette": VIRIDIS,
    }


def _limit(kind: PostProcess) -> Any:
    if isinstance(kind, (Topk, ScoreOutput)):
        return None
    return kind.limit if hasattr(kind, "limit") else thresholds(kind).tolist()


def _reference(bundle: Bundle) -> bytes:
    """Return the embeddings that unknown images are far from, float32 of length 1, in a row."""
    embeddings = Index.read(os.path.join(bundle.folder, UNKNOWN_FILE)).embeddings
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.maximum(lengths, 1e-12)).astype("<f4").tobytes()


def _worker(folder: str, remote: List[str]) -> str:
    """Return the first lines of the service worker: the files that it keeps, and a digest of their contents."""
    paths = sorted(
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
        if name not in ("LICENSE", _WORKER)
    )
    digest = hashlib.sha256("".join(checksum(os.path.join(folder, path)) for path in paths).encode())
    files = ["./", *(path for path in paths if path != "index.html"), *remote]
    return f"const FILES = {json.dumps(files)};\nconst DIGEST = {json.dumps(digest.hexdigest()[:16])};\n\n"
