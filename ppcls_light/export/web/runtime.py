"""ONNX Runtime Web, the runtime of the browser's page: a package of npm, fetched once and kept."""

from __future__ import annotations

import gzip
import os
import tarfile
from importlib import resources
from typing import Dict, Mapping, Tuple

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
Place = Dict[str, str]  # url, and of another site integrity
# The files of a build with their digests: the API, what starts the WebAssembly, and that, with SIMD, and threads where
# the page may have them.
Build = Dict[str, Tuple[str, str]]
CPU: Build = {
    "api": ("ort.wasm.min.mjs", "sha384-SfFfy/pvthiOsgaw3KX0bV5TfQ6Iq+oY9KutMe4SxIuHH4cl+DCSD4rTsYOoG1tJ"),
    "loader": (
        "ort-wasm-simd-threaded.mjs",
        "sha384-XcXA/MtAf0WpB8e023xQH9CM7RIjiugakT7x99DIwpFf7k56BIFFcAPerIF7FDad",
    ),
    "binary": (
        "ort-wasm-simd-threaded.wasm",
        "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
    ),
}
WEBGPU: Build = {  # its own CPU provider lacks the float64 of the preprocessing
    "api": ("ort.webgpu.min.mjs", "sha384-FPQBMbud8ICuP0Ii+Gr95KWEX9pKHtUC3lacIp0aPI8WYluKvTsEGQ3AE2Ze3QlL"),
    "loader": (
        "ort-wasm-simd-threaded.asyncify.mjs",
        "sha384-qViEcCGzsR/m8nlQwIsbYh7afN4thuraqFYDQY6huvmoLVoZq/eYawQ1wrv8nnhA",
    ),
    "binary": (
        "ort-wasm-simd-threaded.asyncify.wasm",
        "sha384-EPVDLTxuO663dkZO/pcKJF6vOyyfq/5z9FY1oksN0UWFX2ABH4wDDZQHeNoUleWR",
    ),
}
LICENCE = "LICENSE.onnxruntime"


def package() -> str:
    """Return the path of the package, fetched from npm's registry where it is missing.

    Raises ExportError: no registry gives it; the message has the address, and the path where the file belongs.
    """
    registry = os.environ.get(REGISTRY_VARIABLE) or REGISTRY
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/{FILE}"
    return kept.obtain(url, os.path.join(cache_folder("web"), FILE), MEGABYTES, SHA256, error=ExportError)


def write_runtime(folder: str, builds: Mapping[str, Build]) -> Dict[str, Dict[str, Place]]:
    """Write `builds` and their licence into the new `folder`, and return where the page beside it finds each file.

    The WebAssembly is compressed, which static hosts seldom do; the page unpacks it. Raises ExportError: see `package`.
    """
    archive_file, place = package(), os.path.basename(folder)
    wanted = {f"package/dist/{name}": name for build in builds.values() for name, _ in build.values()}
    os.makedirs(folder)
    with tarfile.open(archive_file, "r|gz") as archive:  # read once from end to end: it unpacks to 170 MB
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted else None
            if content is not None:
                file, data = _packed(wanted[member.name]), content.read()
                with open(os.path.join(folder, file), "wb") as target:
                    target.write(gzip.compress(data, 6, mtime=0) if file.endswith(".gz") else data)
    licence = resources.files(__package__) / "static" / LICENCE
    with open(os.path.join(folder, "LICENSE"), "wb") as target:
        target.write(licence.read_bytes())
    return {
        key: {role: {"url": f"{place}/{_packed(name)}"} for role, (name, _) in build.items()}
        for key, build in builds.items()
    }


def _packed(name: str) -> str:
    return f"{name}.gz" if name.endswith(".wasm") else name


def on_cdn(builds: Mapping[str, Build]) -> Dict[str, Dict[str, Place]]:
    """Return where the page finds each file of `builds` on a CDN, with the digest that its content must have."""
    return {
        key: {role: {"url": f"{CDN}/{name}", "integrity": digest} for role, (name, digest) in build.items()}
        for key, build in builds.items()
    }
