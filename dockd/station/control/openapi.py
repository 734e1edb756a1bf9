"""The control API as an OpenAPI document: ``python -m dockd.station.control.openapi``.

Source: OpenAPI Specification 3.1.0.
"""

import inspect
import json
import sys
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from dockd.station.control import requests, views

_BaseT = TypeVar("_BaseT")
_REF = "#/components/schemas/{model}"


def document() -> dict[str, Any]:
    """Return the document."""
    models: list[Any] = [*_below(views.View, views), *_below(requests.Request, requests)]
    _, schema = TypeAdapter.json_schemas(
        [(one.__name__, "validation", TypeAdapter(one)) for one in models], ref_template=_REF
    )
    for model in models:
        # pydantic leaves the docstrings of dataclasses out.
        schema["$defs"][model.__name__]["description"] = inspect.getdoc(model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dockd control API",
            "version": str(views.VERSION),
            "description": "Offered on the daemon's Unix socket. Errors are a Problem.",
        },
        "paths": {
            "/v1/status": {"get": _answer("The status of the station.", views.Status)},
            "/v1/events": {
                "get": _operation(
                    "The status at once and on every change, at most four times a second: events"
                    " named status whose data is a Status; a comment at least every 10 seconds.",
                    {"text/event-stream": {"schema": {"type": "string"}}},
                )
            },
            "/v1/clips": {
                "get": _answer(
                    "Clips, the newest first, at most 1000; if the header Dockd-More is true,"
                    " there are more, with smaller numbers (before).",
                    views.ClipView,
                    many=True,
                )
                | {"parameters": _parameters()}
            },
            "/v1/clips/{name}": {
                "get": _answer("Everything known about a clip.", views.ClipStory)
                | {
                    "parameters": [
                        {
                            "name": "name",
                            "in": "path",
                            "required": True,
                            "description": "Its number, its clip id or a prefix of it, its"
                            " path or its file name; 409 if it is ambiguous.",
                            "schema": {"type": "string"},
                        }
                    ]
                }
            },
            "/v1/resync": {
                "post": _answer(
                    "Resync: rescan and retry now.", views.ResyncAnswer, order=requests.ResyncOrder
                )
            },
            "/v1/pause": {
                "post": _answer(
                    "Pause uploads or wipes; returns what is paused.",
                    views.PauseView,
                    many=True,
                    order=requests.PauseOrder,
                )
            },
            "/v1/resume": {
                "post": _answer(
                    "Resume uploads or wipes; returns what is still paused.",
                    views.PauseView,
                    many=True,
                    order=requests.ResumeOrder,
                )
            },
        },
        "components": {"schemas": schema["$defs"]},
    }


def _below(base: type[_BaseT], module: ModuleType) -> list[type[_BaseT]]:
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, base) and one is not base
    ]


def _answer(
    summary: str,
    model: type[views.View],
    *,
    many: bool = False,
    order: type[BaseModel] | None = None,
) -> dict[str, Any]:
    schema = {"type": "array", "items": _ref(model)} if many else _ref(model)
    operation = _operation(summary, {"application/json": {"schema": schema}})
    if order is not None:
        content = {"application/json": {"schema": _ref(order)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/json": {"schema": _ref(views.Problem)}}
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Success", "content": content},
            "default": {"description": "Error response", "content": problem},
        },
    }


def _parameters() -> list[dict[str, Any]]:
    schema = requests.ClipQuery.model_json_schema()
    return [
        {"name": name, "in": "query", "required": False, "schema": member}
        for name, member in schema["properties"].items()
    ]


def _ref(model: type[views.View | BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2) + "\n")
