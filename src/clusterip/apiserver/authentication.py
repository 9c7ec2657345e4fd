"""Who asks: a client certificate, a bearer token, or nobody.

Stage: edge.  In: a request.  Out: a User; 401 for credentials that are not believed.
Rules: a certificate was checked by TLS already; tokens are remembered for a few seconds, not longer, since what they
       are bound to may go.
Truth: kubernetes.io/docs/reference/access-authn-authz/authentication.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from clusterip.api.errors import ApiError
from clusterip.apiserver.access import AUTHENTICATED, MASTERS, NOBODY, User
from clusterip.apiserver.core import Core
from clusterip.apiserver.secrettokens import bootstrapper, legacy_user
from clusterip.apiserver.tokens import user_of
from clusterip.transport.request import Request

ADMINISTRATOR = User("kubernetes-admin", (MASTERS, AUTHENTICATED))
REMEMBERED = 2.0  # seconds
MOST_REMEMBERED = 1000


class Authenticator:
    """Finds the user of a request."""

    def __init__(self, core: Core, static: Mapping[str, User]) -> None:
        self._core = core
        self._static = {token.encode(): user for token, user in static.items()}
        self._remembered: dict[str, tuple[float, User]] = {}
        core.known_by_token = self.known

    def user(self, request: Request) -> User:
        """The caller; ApiError 401 when it claims to be someone and is not believed."""
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return self._of_token(token.strip())
        peer = request.peer
        if peer.common_name:
            return User(peer.common_name, (*peer.organizations, AUTHENTICATED))
        return NOBODY

    def _of_token(self, token: str) -> User:
        now = self._core.clock.monotonic()
        known = self._remembered.get(token)
        if known and known[0] > now:
            return known[1]
        user = self._believed(token)
        if user is None:
            raise ApiError.unauthorized()
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = (now + REMEMBERED, user)
        return user

    def known(self, token: str) -> User | None:
        """The user of a token that needs no proof."""
        given = token.encode()
        for secret, user in self._static.items():
            if hmac.compare_digest(secret, given):
                return user
        return None

    def _believed(self, token: str) -> User | None:
        if user := self.known(token):
            return user
        core = self._core
        claims = core.signer.claims(token)
        if claims is None:
            return bootstrapper(core, token)
        if user := legacy_user(core, token, claims):
            return user
        return user_of(claims, core.signer, core.settings.audiences, core.clock.now(), core.exists)
