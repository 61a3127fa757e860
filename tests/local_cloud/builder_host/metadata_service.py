"""The instance metadata service, IMDSv2 only: every request for a document needs a token."""

from __future__ import annotations

import datetime
import json
import secrets
import string
import time
from http.server import BaseHTTPRequestHandler

from .interface import Endpoints, InstanceOptions, InstanceSpec

_LONGEST_TTL_SECONDS = 21600
_UPPERCASE = string.ascii_uppercase + "234567"


def make_up_credentials() -> dict[str, str]:
    """Return well-formed temporary credentials, new each time, so that leaks can be found."""
    return {
        "AccessKeyId": "ASIA" + "".join(secrets.choice(_UPPERCASE) for _ in range(16)),
        "SecretAccessKey": secrets.token_urlsafe(30),
        "Token": secrets.token_urlsafe(150),
    }


class InstanceMetadata:
    """The metadata of one instance."""

    def __init__(self, spec: InstanceSpec, options: InstanceOptions, endpoints: Endpoints) -> None:
        self.credentials = options.credentials or make_up_credentials()
        self._role_name = options.role_name
        self._tokens: dict[str, float] = {}
        self._spec = spec
        self._endpoints = endpoints

    def issue_token(self, ttl: str) -> str | None:
        """Return a session token, or None when its lifetime (seconds) is not allowed."""
        if not ttl.isdigit() or not 1 <= int(ttl) <= _LONGEST_TTL_SECONDS:
            return None
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(ttl)
        return token

    def accepts(self, token: str) -> bool:
        """Whether the token was issued here and is still valid."""
        return self._tokens.get(token, 0.0) > time.monotonic()

    def find(self, path: str) -> str | None:
        """The document at the path, or None."""
        return self._documents().get(path.rstrip("/"))

    def _documents(self) -> dict[str, str]:
        spec, region = self._spec, self._endpoints.region
        documents = {
            "/latest/meta-data/instance-id": spec.instance_id,
            "/latest/meta-data/placement/region": region,
            "/latest/meta-data/placement/availability-zone": f"{region}a",
            "/latest/meta-data/services/domain": "amazonaws.com",
            "/latest/dynamic/instance-identity/document": json.dumps(self._identity(), indent=2),
        }
        if spec.user_data:
            documents["/latest/user-data"] = spec.user_data
        if self._role_name is not None:
            roles = "/latest/meta-data/iam/security-credentials"
            documents[roles] = self._role_name
            documents[f"{roles}/{self._role_name}"] = json.dumps(self._role(), indent=2)
        return documents

    def _identity(self) -> dict[str, str]:
        return {
            "accountId": self._endpoints.account,
            "architecture": self._spec.architecture,
            "availabilityZone": f"{self._endpoints.region}a",
            "instanceId": self._spec.instance_id,
            "region": self._endpoints.region,
            "version": "2017-09-30",
        }

    def _role(self) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        return {
            "Code": "Success",
            "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Type": "AWS-HMAC",
            **self.credentials,
            "Expiration": (now + datetime.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class MetadataHandler(BaseHTTPRequestHandler):
    """Serves the `metadata` of its server."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_PUT(self) -> None:
        """Issue a session token."""
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            return self._answer(405)
        token = self._metadata.issue_token(ttl)
        if token is None:
            return self._answer(400)
        return self._answer(200, token, {"X-aws-ec2-metadata-token-ttl-seconds": ttl})

    def do_GET(self) -> None:
        """Return a document when the request has a valid token."""
        if not self._metadata.accepts(self.headers.get("X-aws-ec2-metadata-token", "")):
            return self._answer(401)
        document = self._metadata.find(self.path)
        return self._answer(404) if document is None else self._answer(200, document)

    @property
    def _metadata(self) -> InstanceMetadata:
        return self.server.metadata  # type: ignore[attr-defined]

    def _answer(self, code: int, body: str = "", headers: dict[str, str] | None = None) -> None:
        content = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: the machine's log must not contain what instances request."""
