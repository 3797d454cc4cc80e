"""Error bodies that do not depend on the request (waves/api.md, 5a)."""

from __future__ import annotations

from typing import Any

UNAUTHORIZED = {"error": "Unauthorized", "message": "Bearer token is missing or invalid."}
NOT_FOUND = {"error": "Not Found"}
BUSY = {"error": "Concurrency limit reached"}
INVALID = {"error": "Invalid input data"}
BAD_MODEL = {"error": "InvalidRequest", "message": "Invalid model"}
INTERNAL = {"error": "InternalServerError", "message": "An unexpected error occurred."}

_STATUS_BODIES: dict[int, dict[str, Any]] = {
    401: UNAUTHORIZED,
    402: {"error": "Insufficient credits"},
    403: {"error": "Forbidden", "message": "Usage limit reached."},
    404: NOT_FOUND,
    429: BUSY,
    500: INTERNAL,
    503: {"error": "Service temporarily unavailable"},
}


def status_body(status: int) -> dict[str, Any]:
    """Return the body of a status; a plain one for an undocumented status."""
    return _STATUS_BODIES.get(status, {"error": f"Failure {status} on request"})


def retired(endpoint: str) -> dict[str, Any]:
    """Return the 410 body of a retired model, with the endpoint to use instead."""
    return {
        "status": "error",
        "error_code": "MODEL_DEPRECATED",
        "message": f"This model is retired. Please migrate to lightning-v3.1 via {endpoint}.",
        "recommended_endpoint": endpoint,
    }
