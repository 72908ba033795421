"""Description of an export for programs that do not read inference.yml: images, classes and answers, as JSON.

inference.onnx carries it in its metadata; beside files of other formats it is METADATA_FILE.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import asdict
from typing import Any, Dict

from ..base.files import StrPath, atomic_path, checksum, write_text
from ..config.postprocess import PostProcess
from ..config.tree import dump_yaml, read_tree
from ..config.types import plain
from ..errors import ExportError
from .chosen import Chosen
from .folder import CONFIG_FILE, METADATA_FILE, ONNX_FILE, Bundle, for_us, read_bundle
from .paddlex import for_others, plain_op


def metadata(bundle: Bundle) -> Dict[str, Any]:
    """Return what inference.yml says of images and answers, for JSON.

    class_names (null without), multilabel, output ("probs" or "logits"), outputs (all, in order), postprocess,
    unknown (null without), channels of the photos that the graph takes (null: it takes prepared images), image_shape
    (C, H, W) of those, and transform_ops, the preprocessing.
    """
    unknown = bundle.unknown and asdict(bundle.unknown)
    return {
        "class_names": bundle.class_names and list(bundle.class_names),
        "multilabel": bundle.multilabel,
        "output": bundle.output,
        "outputs": bundle.outputs,
        "postprocess": {"name": bundle.postprocess.name, **plain(bundle.postprocess)},
        "unknown": unknown and {key: value for key, value in unknown.items() if key != "measured"},
        "channels": bundle.photos and bundle.photos.channels,
        "image_shape": bundle.image_shape,
        "transform_ops": [plain_op(op) for op in (*bundle.decode, *(bundle.transform_ops or ()))],
    }


def describe(folder: StrPath, beside: bool = False) -> None:
    """Put the `metadata` of an export into its inference.onnx, and `beside` the others or where it is, METADATA_FILE.

    Their checksums in inference.yml follow. Raises ExportError: onnx is missing, or a file cannot be written.
    """
    bundle = read_bundle(folder)
    content, written = metadata(bundle), []
    if bundle.onnx_file is not None and ONNX_FILE in bundle.files:
        _put_into_onnx(bundle.onnx_file, content)
        written.append(ONNX_FILE)
    if beside or METADATA_FILE in bundle.files:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        write_text(os.path.join(folder, METADATA_FILE), f"{text}\n", ExportError)
        written.append(METADATA_FILE)
    if not written:
        return
    file = os.path.join(folder, CONFIG_FILE)
    described = read_tree(file).plain()
    for name in written:
        described["ppcls_light"]["files"][name] = checksum(os.path.join(folder, name))
    write_text(file, dump_yaml(described), ExportError)


def put_threshold(folder: StrPath, kind: PostProcess, chosen: Chosen) -> None:
    """Let the export in `folder` answer in `kind`, by a threshold that was chosen for its weights; the rest stays.

    inference.yml says so, and what `describe` writes. Raises ExportError: see there.
    """
    if ONNX_FILE in read_bundle(folder).files:
        _require_onnx()  # before a file says otherwise than the others
    path = os.path.join(folder, CONFIG_FILE)
    content = read_tree(path).plain()
    (section,) = (content.get("PostProcess") or {"": None}).values()
    labels = {key: section[key] for key in ("label_list",) if key in (section or ())}
    content["PostProcess"] = for_others(kind, labels)
    content["ppcls_light"].update(postprocess=for_us(kind), chosen=chosen.outcome())
    write_text(path, dump_yaml(content), ExportError)
    describe(folder)


def _require_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise ExportError(
            f'the metadata of {ONNX_FILE} need onnx, which is not here; pip install "ppcls_light[onnx]"'
        )


def _put_into_onnx(file: str, content: Dict[str, Any]) -> None:
    _require_onnx()
    import onnx

    model = onnx.load(file)
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in content.items()}
    onnx.helper.set_model_props(model, texts)
    with atomic_path(file, ExportError) as temporary:
        onnx.save(model, temporary)
