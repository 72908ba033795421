"""Folder `web/` of an export: a page that classifies in the browser, for any static host."""

from __future__ import annotations

import hashlib
import json
import os
from importlib import resources
from typing import Any, Dict, List

import numpy as np

from ...base.files import checksum
from ...bundle.folder import UNKNOWN_FILE, Bundle
from ...bundle.metadata import metadata
from ...config.postprocess import OF_TAGS, PostProcess, ScoreOutput, ThreshOutput, Topk
from ...explanation.overlay import VIRIDIS
from ...prediction.attributes import thresholds
from ...prediction.neighbours import Index
from ...prediction.postprocess import PostProcessor
from ..preprocess import Preprocessing
from . import runtime

FOLDER = "web"
MODEL_FILE = "model.onnx"
DESCRIPTION = "model.json"
_REFERENCE = "reference.bin"
_WORKER = "worker.js"
_TOPK = 5  # bars of one class per image
_SHARED = ("page.css", "page.js", "texts.js", "icon.svg")  # with the server's page
_OWN = ("local.css", "local.js", "rows.js")
# What index.html of the server has, and what stands there without one.
_WITHOUT_SERVER = {
    '  <link rel="stylesheet" href="/static/page.css">\n': (
        '  <link rel="stylesheet" href="/static/page.css">\n  <link rel="stylesheet" href="/static/local.css">\n'
    ),
    '  <script src="/static/server.js" defer></script>\n': (
        '  <script src="/static/rows.js" defer></script>\n  <script src="/static/local.js" defer></script>\n'
    ),
    '  <footer><a href="/docs" data-text="interface">The HTTP interface</a></footer>\n': "",
    "; /predict works without it": "",
    "/static/": "",
}


def write_page(folder: str, bundle: Bundle, preprocessing: Preprocessing, cdn: bool) -> None:
    """Write the page into `folder`, where `MODEL_FILE` is, for a model that answers as `bundle` says.

    The graph has `preprocessing` in it. With `cdn` the page takes the runtime from there.
    """
    places = runtime.on_cdn() if cdn else runtime.write_runtime(os.path.join(folder, "ort"))
    served, own = resources.files("ppcls_light.serve") / "static", resources.files(__package__) / "static"
    for source, names in ((served, _SHARED), (own, _OWN)):
        for name in names:
            _write(folder, name, (source / name).read_bytes())
    _write(folder, "index.html", _page((served / "index.html").read_text("utf-8"), cdn).encode())
    resize = preprocessing.resize
    content = {
        **_description(bundle, places),
        "channels": preprocessing.channels,
        "resize": {"short": resize.short, "size": resize.size, "crop": list(preprocessing.crop)[::-1]},
    }
    if bundle.unknown is not None and bundle.unknown.score == "distance":
        _write(folder, _REFERENCE, _reference(bundle))
        content["reference"] = _REFERENCE
    _write(folder, DESCRIPTION, json.dumps(content, ensure_ascii=False).encode())
    remote = [place["url"] for place in places.values()] if cdn else []
    _write(folder, _WORKER, _worker(folder, remote) + (own / _WORKER).read_bytes())


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


def _description(bundle: Bundle, places: Dict[str, runtime.Place]) -> Dict[str, Any]:
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
        "runtime": {
            "api": places[runtime.API],
            "loader": places[runtime.LOADER],
            "binary": places[runtime.BINARY],
        },
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


def _worker(folder: str, remote: List[str]) -> bytes:
    """Return the first lines of the service worker: the files that it keeps, and a digest of their contents."""
    paths = sorted(
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
        if name != "LICENSE"
    )
    digest = hashlib.sha256("".join(checksum(os.path.join(folder, path)) for path in paths).encode())
    files = ["./", *(path for path in paths if path != "index.html"), *remote]
    return f"const FILES = {json.dumps(files)};\nconst DIGEST = {json.dumps(digest.hexdigest()[:16])};\n\n".encode()
