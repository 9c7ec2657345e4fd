"""Indented answers for those who read them with their own eyes: curl, Wget, browsers, and whoever asks with `pretty`.

Stage: serve, pure.  In: a request's query and user agent, a whole JSON answer.  Out: the same tree, two spaces a level.
Truth: apimachinery's content negotiation: the `pretty` parameter, else how the user agent begins.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from clusterip.transport.answers import Response

READERS = ("curl", "Wget", "Mozilla/5.0")
TRUE = ("1", "t", "T", "true", "TRUE", "True")


def is_wanted(query: Mapping[str, str], agent: str) -> bool:
    """Whether the caller is to get indented JSON."""
    asked = query.get("pretty", "")
    return asked in TRUE if asked else agent.startswith(READERS)


def indented(response: Response) -> Response:
    """The answer, indented; one that is no JSON stays as it is."""
    if not response.body or not response.content_type.startswith("application/json"):
        return response
    body = orjson.dumps(orjson.loads(response.body), option=orjson.OPT_INDENT_2)
    return Response(response.status, body, response.content_type, response.headers)
