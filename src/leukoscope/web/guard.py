"""What every request must pass before a page sees it, and the headers that every answer carries.

A Host header that is not ours is refused, on loopback too (a name that is rebound to 127.0.0.1). A method that changes
something must come from our own pages, as the browser says in Sec-Fetch-Site or Origin; without either it must carry
no cookie. The token in forms is checked beside this, in `sessions`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
MOST_BODY = 1 << 20  # bytes of a request that is no upload
MOST_UPLOAD = 400 << 20
UPLOADS = "/photographs"
# The digest is of the one style that OpenSeadragon puts into a page: its text, and no other.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE=';"
    " img-src 'self'; connect-src 'self'; font-src 'none';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not "no-referrer": with it browsers send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the pages live. origins: the addresses people use, such as http://127.0.0.1:8000; accounts: whether readers
    sign in; secure: whether all of it goes over HTTPS."""

    origins: frozenset[str]
    accounts: bool
    secure: bool

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers that are ours."""
        return frozenset(urlsplit(origin).netloc for origin in self.origins)


class Guard:
    """ASGI middleware: refuses what is not ours before anything else runs."""

    def __init__(self, app: Callable, *, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        wrong = self._wrong(scope, headers)
        if wrong is not None:
            await _refuse(send, *wrong)
            return
        most = MOST_UPLOAD if scope["path"].endswith(UPLOADS) else MOST_BODY
        counted = _Counted(receive, most)

        async def with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], *self._more(message["headers"])]}
            await send(message)

        try:
            await self._app(scope, counted, with_headers)
        except _TooLarge:
            await _refuse(send, 413, f"a request may have {most >> 20} MB")

    def _wrong(self, scope: dict, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._site.hosts:
            return 421, "this server does not answer to that name: use the address that it printed when it started"
        lengths = headers.get("content-length", [])
        most = MOST_UPLOAD if scope["path"].endswith(UPLOADS) else MOST_BODY
        if len(lengths) > 1 or (lengths and (not lengths[0].isdecimal() or int(lengths[0]) > most)):
            return 413, f"a request may have {most >> 20} MB"
        if scope["method"] in SAFE:
            return None
        sites, origins = headers.get("sec-fetch-site", []), headers.get("origin", [])
        if any(site != "same-origin" for site in sites) or any(o not in self._site.origins for o in origins):
            return 403, "that request came from another page"
        if not sites and not origins and "cookie" in headers:
            return 403, "a request with a cookie must say where it comes from; scripts send a token instead"
        return None

    def _more(self, have: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        more = dict(HEADERS)
        if self._site.secure:
            more["strict-transport-security"] = "max-age=31536000"
        names = {name.lower() for name, _ in have}
        if b"cache-control" not in names:
            more["cache-control"] = "no-store"
        return [(name.encode(), value.encode()) for name, value in more.items() if name.encode() not in names]


class _TooLarge(Exception):
    """More bytes came than a request may have."""


class _Counted:
    """`receive` that stops a body without a length once it is too long."""

    def __init__(self, receive: Callable, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> dict:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLarge
        return message


def _headers(scope: dict) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


async def _refuse(send: Callable, status: int, text: str) -> None:
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
