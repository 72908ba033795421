"""The images of a /predict request: multipart files or base64 in JSON, read with a bound on every size."""

import asyncio
import base64
import json
import re
import urllib.parse
from dataclasses import dataclass
from typing import List, Optional

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

# A client that still sends does not read the answer; what it sends is thrown away for this long.
_DRAIN_SECONDS = 2
_STANDARD = str.maketrans("-_", "+/")  # for the URL-safe alphabet
_JSON_KEYS = {"image", "images", "topk"}


class RequestRefusedError(Exception):
    """A request that is not answered as asked: an HTTP status and one line for the client."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class _BodyTooLargeError(Exception):
    """`args[0]`: whether more of the body is still to come."""


@dataclass
class Images:
    """What a client sent: the bytes of its files, their names as it gave them (or None), and its `topk`."""

    files: List[bytes]
    names: List[Optional[str]]
    topk: Optional[int] = None


async def read_images(request, max_bytes, max_images, seconds):
    """Return the `Images` of a request.

    Args:
        request: FastAPI's; its body is multipart/form-data with files under any field names, or JSON
            {"image": base64} or {"images": [base64, ...]}, with "topk" as an optional further field of both.
        max_bytes: of the body, with or without a Content-Length.
        max_images: in one request.
        seconds: for the upload.

    Raises:
        RequestRefusedError: 400 malformed, 408 too slow, 413 too large, 415 of another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    reader = {"multipart/form-data": _read_form, "application/json": _read_json}.get(kind)
    if reader is None:
        await discard(request)
        raise RequestRefusedError(
            415, "send multipart/form-data with files, or application/json with base64 images"
        )
    if _declared_length(request) > max_bytes:
        await discard(request)
        raise _too_large(max_bytes)
    bounded = Request(request.scope, _bounded(request.receive, max_bytes))
    try:
        images = await asyncio.wait_for(reader(bounded, max_images), seconds)
    except asyncio.TimeoutError:
        raise RequestRefusedError(408, f"the upload took longer than {seconds:g} s") from None
    except _BodyTooLargeError as error:
        if error.args[0]:
            await discard(request)
        raise _too_large(max_bytes) from None
    except ClientDisconnect:
        raise RequestRefusedError(400, "the upload ended early") from None
    except HTTPException as error:  # Starlette's words on a form
        detail = str(error.detail)
        raise RequestRefusedError(413 if detail.startswith("Too many files") else 400, detail) from None
    if not images.files:
        raise RequestRefusedError(400, 'no image in the request; send a file, or {"image": base64}')
    if len(images.files) > max_images:
        raise RequestRefusedError(413, f"{len(images.files)} images in one request, more than {max_images}")
    return images


def _too_large(max_bytes):
    return RequestRefusedError(
        413, f"the request has more than {max_bytes:,} bytes; send fewer or smaller images"
    )


def _declared_length(request):
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _bounded(receive, limit):
    """Return `receive` that raises _BodyTooLargeError past `limit` bytes, which chunked bodies do not announce."""
    seen = 0

    async def receive_some():
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _BodyTooLargeError(message.get("more_body", False))
        return message

    return receive_some


async def discard(request):
    """Read the rest of a body that is refused, for a while, so that the client gets to read why."""

    async def rest():
        while (await request.receive()).get("more_body"):
            pass

    if request.headers.get("expect", "").lower() != "100-continue":  # such a client waits with its body
        try:
            await asyncio.wait_for(rest(), _DRAIN_SECONDS)
        except asyncio.TimeoutError:
            return


async def _read_form(request, max_images):
    async with request.form(max_files=max_images, max_fields=8, max_part_size=1024) as form:
        images = Images([], [])
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.files.append(await value.read())
                images.names.append(_sendable(value.filename) or None)
            elif key == "topk":
                images.topk = _parse_topk(value)
            else:
                raise RequestRefusedError(
                    400, f"unknown field {key[:40]!r}; send files, and topk if you like"
                )
        return images


def _sendable(name):
    # The form's charset may be one that makes what UTF-8 cannot hold.
    return (name or "").encode("utf-8", "backslashreplace").decode()


async def _read_json(request, _):
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


def _from_base64(text, place):
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


def _parse_topk(value):
    text = str(value)
    if isinstance(value, bool) or not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 10_000):
        raise RequestRefusedError(400, f"topk must be a whole number from 1 to 10000, not {text[:40]!r}")
    return int(text)


def topk_of(request, images):
    """Return the classes a row that the client wants, from the query or the body; None: the model's own."""
    query = request.query_params.get("topk")
    return images.topk if query is None else _parse_topk(query)
