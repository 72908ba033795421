"""Parsing of /predict requests: images as multipart files or base64 in JSON."""

from __future__ import annotations

import base64
import email.message
import json
import re
import urllib.parse
from dataclasses import dataclass
from typing import Any, Awaitable, Callable

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .body import Body, RequestRefusedError

_STANDARD = str.maketrans("-_", "+/")  # for the URL-safe alphabet
_JSON_KEYS = {"image", "images", "topk"}
# Python knows a hundred more, of which some are no text, some take long, and some fail in ways of their own.
_CHARSETS = {"utf-8", "utf8", "us-ascii", "iso-8859-1"}


@dataclass
class Images:
    """A client's images: the bytes of its files, their names as it gave them (or None), and its `topk`."""

    files: list[bytes]
    names: list[str | None]
    topk: int | None = None


async def read_images(request: Request, body: Body, max_images: int) -> Images:
    """Return the `Images` of a request, at most `max_images`.

    It is multipart/form-data with files under any field names, or JSON {"image": base64} or {"images": [base64, ...]},
    with "topk" as an optional further field of both.

    Raises RequestRefusedError: 400 malformed, 413 too many, 415 of another type, and the errors of `Body.receive`.
    """
    header = email.message.Message()
    header["content-type"] = request.headers.get("content-type", "")
    reader = _READERS.get(header.get_content_type())
    if reader is None:
        raise RequestRefusedError(
            415, "send multipart/form-data with files, or application/json with base64 images"
        )
    charset = header.get_param("charset", "utf-8")
    if not isinstance(charset, str) or charset.lower() not in _CHARSETS:
        raise RequestRefusedError(415, "this charset is not read; send the text as UTF-8")
    images = await reader(Request(request.scope, body.receive), header, max_images)
    if not images.files:
        raise RequestRefusedError(400, 'no image in the request; send a file, or {"image": base64}')
    if len(images.files) > max_images:
        raise RequestRefusedError(413, f"{len(images.files)} images in one request, more than {max_images}")
    return images


class _FormParser(MultiPartParser):
    # No file on the disk: the body is bounded, and the files of many requests would be too many to open.
    spool_max_size = max_file_size = 0  # the name since Starlette 0.46, and before


async def _read_form(request: Request, header: email.message.Message, max_images: int) -> Images:
    boundary, charset = header.get_param("boundary"), header.get_param("charset", "utf-8")
    if not isinstance(boundary, str) or not re.fullmatch(r'[^\x00-\x1f\x7f-\U0010ffff"\\]{1,200}', boundary):
        raise RequestRefusedError(
            400, "multipart/form-data needs a boundary of 1 to 70 characters in its header"
        )
    kind = Headers({"content-type": f'multipart/form-data; charset={charset}; boundary="{boundary}"'})
    limits = {"max_files": max_images, "max_fields": 8, "max_part_size": 1024}
    try:
        form = await _FormParser(kind, request.stream(), **limits).parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 400
        raise RequestRefusedError(status, error.message) from None
    except ValueError as error:  # python-multipart's own, before Starlette 1
        raise RequestRefusedError(400, f"no multipart/form-data: {error}") from None
    images = Images([], [])
    for key, value in form.multi_items():
        if isinstance(value, UploadFile):
            images.files.append(await value.read())
            images.names.append(value.filename or None)
        elif key == "topk":
            images.topk = _parse_topk(value)
        else:
            raise RequestRefusedError(400, f"unknown field {key[:40]!r}; send files, and topk if you like")
    return images


async def _read_json(request: Request, *_: object) -> Images:
    try:
        content = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise RequestRefusedError(400, "the body is not JSON") from None
    if not isinstance(content, dict) or ("image" in content) == ("images" in content):
        raise RequestRefusedError(400, 'send {"image": base64} or {"images": [base64, ...]}')
    unknown = sorted(set(content) - _JSON_KEYS)
    if unknown:
        raise RequestRefusedError(400, f"unknown key {unknown[0][:40]!r}; known are image, images and topk")
    texts = content["images"] if "images" in content else [content["image"]]
    if not isinstance(texts, list):
        raise RequestRefusedError(400, "images must be a list of base64 texts")
    topk = None if content.get("topk") is None else _parse_topk(content["topk"])
    return Images([_from_base64(text, place) for place, text in enumerate(texts)], [None] * len(texts), topk)


_READERS: dict[str, Callable[[Request, email.message.Message, int], Awaitable[Images]]] = {
    "multipart/form-data": _read_form,
    "application/json": _read_json,
}


def _from_base64(text: Any, place: int) -> bytes:
    """Return the bytes of base64 (RFC 4648), of a data: URL (RFC 2397) too.

    Either alphabet will do, white space is left out, as the line breaks of `base64`, and padding may be missing.
    """
    try:
        if text[:5].lower() == "data:":
            kind, comma, text = text.partition(",")
            if not comma or kind.rpartition(";")[2].strip().lower() != "base64":
                raise ValueError
            text = urllib.parse.unquote(text)
        bare = "".join(text.split()).rstrip("=").translate(_STANDARD)
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (TypeError, AttributeError, ValueError):
        raise RequestRefusedError(
            400,
            f"image {place} is not base64; send the bytes of the file in base64, or a data:...;base64,... URL",
        ) from None


def _parse_topk(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 10_000):
        raise RequestRefusedError(400, f"topk must be a whole number from 1 to 10000, not {text[:40]!r}")
    return int(text)


def topk_of(request: Request, images: Images) -> int | None:
    """Return the classes per row that the client wants, from the query or the body; None: the model's own."""
    query = request.query_params.get("topk")
    return images.topk if query is None else _parse_topk(query)
