"""OpenAPI schema of the server: requests and responses of /predict and the health probes."""

from typing import Dict, List, Optional, Union

from pydantic import BaseModel


class Row(BaseModel):
    """The answer on one image: classes in order of their scores, the most probable one first, or tags in their order.

    `unknown` and `unknown_score` come of a model that knows images of no class; true: it is one.
    """

    file_name: Optional[str]
    class_ids: List[int]
    scores: List[float]
    label_names: List[str]
    unknown: Optional[bool] = None
    unknown_score: Optional[float] = None


class Attributes(BaseModel):
    """The answer of a model of attributes: in words, and 1 for each tag above its threshold, else 0."""

    file_name: Optional[str]
    attributes: Union[List[str], str]
    output: List[int]


class Scores(BaseModel):
    """The numbers that the network gives on one image."""

    file_name: Optional[str]
    scores: List[float]


class FailedRow(BaseModel):
    """One line on an image that has no answer, and the status it would have alone."""

    file_name: Optional[str]
    error: str
    status: int


class Answer(BaseModel):
    """One row per image, in the order sent; milliseconds by stage."""

    results: List[Union[Row, Attributes, Scores]]
    milliseconds: Dict[str, float]
    request_id: str


class Error(BaseModel):
    """One line on the problem; with several images, the rows of all of them."""

    error: str
    results: Optional[List[Union[Row, Attributes, Scores, FailedRow]]] = None
    milliseconds: Optional[Dict[str, float]] = None
    request_id: Optional[str] = None


class Health(BaseModel):
    status: str


class Ready(BaseModel):
    ready: bool
    model: str
    classes: Optional[int]
    engine: str
    topk: Optional[int]
    answer: str
    threshold: Union[float, List[float], None]
    max_bytes: int
    max_images: int


class NotReady(BaseModel):
    ready: bool
    status: str


_REFUSALS = {
    400: "neither a form nor JSON as described, or a Host that is not allowed",
    408: "the upload is too slow",
    413: "too many bytes, pixels or images",
    415: "neither a form nor JSON, a charset or a format of images that is not read",
    422: "a damaged image, or a strip",
    500: "the worker or the network failed on this batch",
    503: "busy, or the network is not loaded; Retry-After gives the time to come back",
    504: "no answer in time",
}
UNAUTHORIZED = {401: {"model": Error, "description": "without the bearer token"}}
PREDICT = {
    200: {"model": Answer, "description": "one row per image"},
    **{status: {"model": Error, "description": text} for status, text in _REFUSALS.items()},
}
READY = {503: {"model": NotReady, "description": "the network is not loaded, or the server drains"}}
METRICS = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text"}
}

_TOPK = {
    "type": "integer",
    "minimum": 1,
    "maximum": 10_000,
    "description": "best classes or tags per row; default: the answer that the model gives, by its own kind",
}
_BASE64 = {
    "type": "string",
    "description": "a file in base64 (RFC 4648), in either alphabet, or a data: URL (RFC 2397)",
}
_FILE = {"type": "string", "format": "binary"}
PREDICT_EXTRA = {
    "parameters": [
        {"name": "topk", "in": "query", "schema": _TOPK},
        {
            "name": "X-Request-ID",
            "in": "header",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "files under any field names",
                    "properties": {"file": {"type": "array", "items": _FILE, "minItems": 1}, "topk": _TOPK},
                    "required": ["file"],
                    "additionalProperties": _FILE,
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "either image or images",
                    "properties": {
                        "image": _BASE64,
                        "images": {"type": "array", "items": _BASE64, "minItems": 1},
                        "topk": _TOPK,
                    },
                    "oneOf": [{"required": ["image"]}, {"required": ["images"]}],
                    "additionalProperties": False,
                }
            },
        },
    },
}
