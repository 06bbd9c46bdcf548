"""What rides along in Kafka's headers, so that one like can be followed from the page to the consumer."""

from starlette.requests import Request

from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT, TraceContext
from services.inference.http.request_context import request_id_of


def kafka_headers(request: Request, place: TraceContext) -> dict[str, str]:
    """Return the ids of a request as headers of the records that it causes at this place of its trace.

    Nothing when the trace is not sampled: nobody downstream would use it.
    """
    if not place.sampled:
        return {}
    return {TRACEPARENT: place.header, REQUEST_ID_HEADER: request_id_of(request) or ""}
