"""ONNX Runtime Web, the runtime of the browser's page: a package of npm, fetched once and kept."""

from __future__ import annotations

import gzip
import os
import tarfile
from importlib import resources
from typing import Dict

from ...base import kept
from ...base.cache import cache_folder
from ...errors import ExportError

VERSION = "1.30.0"
FILE = f"onnxruntime-web-{VERSION}.tgz"
# Of the package, which npm's registry tells with the SHA-512
# q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==.
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
MEGABYTES = 33
REGISTRY = "https://registry.npmjs.org"
REGISTRY_VARIABLE = "npm_config_registry"  # npm's own, for mirrors
CDN = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist"
# Of the CPU, with SIMD, and threads where the page may have them: the API, what starts the WebAssembly, and that.
API, LOADER, BINARY = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
DIGESTS = {
    API: "sha384-SfFfy/pvthiOsgaw3KX0bV5TfQ6Iq+oY9KutMe4SxIuHH4cl+DCSD4rTsYOoG1tJ",
    LOADER: "sha384-XcXA/MtAf0WpB8e023xQH9CM7RIjiugakT7x99DIwpFf7k56BIFFcAPerIF7FDad",
    BINARY: "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
}
LICENCE = "LICENSE.onnxruntime"

Place = Dict[str, str]  # url, and of another site integrity


def package() -> str:
    """Return the path of the package, fetched from npm's registry where it is missing.

    Raises ExportError: no registry gives it; the message has the address, and the path where the file belongs.
    """
    registry = os.environ.get(REGISTRY_VARIABLE) or REGISTRY
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/{FILE}"
    return kept.obtain(url, os.path.join(cache_folder("web"), FILE), MEGABYTES, SHA256, error=ExportError)


def write_runtime(folder: str) -> Dict[str, Place]:
    """Write the runtime and its licence into the new `folder`, and return where the page beside it finds each file.

    The WebAssembly is compressed, which static hosts seldom do; the page unpacks it. Raises ExportError: see `package`.
    """
    archive_file, place, found = package(), os.path.basename(folder), {}
    os.makedirs(folder)
    with tarfile.open(archive_file, "r|gz") as archive:  # read once from end to end: it unpacks to 170 MB
        for member in archive:
            name = os.path.basename(member.name)
            content = archive.extractfile(member) if member.name == f"package/dist/{name}" else None
            if name in DIGESTS and content is not None:
                file = f"{name}.gz" if name == BINARY else name
                data = gzip.compress(content.read(), 6, mtime=0) if name == BINARY else content.read()
                with open(os.path.join(folder, file), "wb") as target:
                    target.write(data)
                found[name] = {"url": f"{place}/{file}"}
    licence = resources.files(__package__) / "static" / LICENCE
    with open(os.path.join(folder, "LICENSE"), "wb") as target:
        target.write(licence.read_bytes())
    return found


def on_cdn() -> Dict[str, Place]:
    """Return where the page finds each file on a CDN, with the digest that its content must have."""
    return {name: {"url": f"{CDN}/{name}", "integrity": digest} for name, digest in DIGESTS.items()}
