"""STS: assuming a role of another account, and what the role may then do.

The access key id of assumed credentials is the account's number, which MiniStack understands as
well; the session token says which role it is.
"""

from __future__ import annotations

import datetime
import re
import secrets
from typing import Any

from moto.core.responses import BaseResponse

from .dispatch import AwsError, account_of_key, handles, place_of, unknown_credentials
from .policies import identity_allows, trust_allows
from .world import Session, World

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?:.+/)?(?P<name>[\w+=,.@-]+)")
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
DEFAULT_SECONDS = 3600


@handles("sts", "AssumeRole")
def assume_role(world: World, request: BaseResponse) -> Any:
    """Credentials of a role whose trust policy admits the caller's account and external id."""
    arn, name = request._get_param("RoleArn") or "", request._get_param("RoleSessionName") or ""
    found = ROLE_ARN.fullmatch(arn)
    if found is None or not SESSION_NAME.fullmatch(name):
        raise AwsError("ValidationError", f"{arn} is invalid, or the session name {name!r} is")
    external_id = request._get_param("ExternalId")
    role = world.find_role(found["account"], found["name"])
    keys = {"sts:ExternalId": external_id} if external_id else {}
    caller = _caller_arn(world, request)
    if role is None or not trust_allows(role.trust, caller, arn, request.region, keys):
        raise AwsError(
            "AccessDenied",
            f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}",
        )
    seconds = int(request._get_param("DurationSeconds") or DEFAULT_SECONDS)
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    session = Session(found["account"], found["name"], name, role, expires)
    token = secrets.token_urlsafe(64)
    world.sessions[token] = session
    return {
        "Credentials": {
            "AccessKeyId": session.account,
            "SecretAccessKey": secrets.token_urlsafe(30),
            "SessionToken": token,
            "Expiration": expires,
        },
        "AssumedRoleUser": {"AssumedRoleId": f"AROALOCALCLOUD:{name}", "Arn": session.arn},
        "PackedPolicySize": 1,
    }


def _caller_arn(world: World, request: BaseResponse) -> str:
    """Who calls, as `aws:PrincipalArn` has it: of an assumed role the role."""
    session = session_of(world, request)
    account = session.account if session else request.current_account
    name = session.role_name if session else world.settings.caller_role
    return f"arn:aws:iam::{account}:role/{name}"


@handles("sts", "GetCallerIdentity")
def get_caller_identity(world: World, request: BaseResponse) -> Any:
    """The caller: an assumed role, or an account."""
    account = request.current_account
    session = session_of(world, request)
    arn = session.arn if session else f"arn:aws:iam::{account}:root"
    return {"UserId": account, "Account": account, "Arn": arn}


def session_of(world: World, request: BaseResponse) -> Session | None:
    """The assumed role that makes the call, if it is one. Raises AwsError for a session that
    ended or never was; an instance's made-up credentials are home's."""
    token = request.headers.get("X-Amz-Security-Token")
    account = account_of_key(request.headers.get("Authorization") or "")
    if not token or account is None:
        return None
    service = str(request.service_name)
    session = world.sessions.get(token)
    if session is None or session.account != account:
        raise unknown_credentials(service, "The security token included in the request is invalid")
    if session.expires <= datetime.datetime.now(datetime.UTC):
        code = "RequestExpired" if service == "ec2" else "ExpiredTokenException"
        raise AwsError(code, "The security token included in the request is expired")
    return session


def require_permission(world: World, request: BaseResponse, service: str, action: str) -> None:
    """Refuse an assumed role what its policies do not allow; accounts themselves may do all."""
    session = session_of(world, request)
    if session is None or action == "GetCallerIdentity":
        return
    place = place_of(request)
    for resource in _resources(request, service):
        if identity_allows(
            session.role.policies, session.arn, f"{service}:{action}", resource, place.region
        ):
            continue
        code = "UnauthorizedOperation" if service == "ec2" else "AccessDeniedException"
        raise AwsError(
            code,
            f"User: {session.arn} is not authorized to perform: {service}:{action} on resource: "
            f"{resource} because no identity-based policy allows the {service}:{action} action",
        )


def _resources(request: BaseResponse, service: str) -> list[str]:
    """The ARNs that a call is about, for Parameter Store; else a wildcard."""
    if service != "ssm":
        return ["*"]
    named = request._get_param("Names") or request._get_param("Name") or request._get_param("Path")
    place = place_of(request)
    return [
        f"arn:aws:ssm:{place.region}:{place.account}:parameter/{_bare(name)}"
        for name in (named if isinstance(named, list) else [named or "*"])
    ]


def _bare(name: str) -> str:
    # A version or label is no part of the parameter's ARN.
    return name.partition(":")[0].lstrip("/")
