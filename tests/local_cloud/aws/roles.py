"""STS: AssumeRole, and the permissions of assumed roles and of the functions' roles.

The access key id of assumed credentials is the account's number; MiniStack understands it, too.
The session token identifies the role.
"""

from __future__ import annotations

import datetime
import re
import secrets
from typing import Any

from ministack.core.iam_evaluator import fnmatch_iam
from moto.core.responses import BaseResponse

from .. import error_codes
from ..ministack import ASSUMED_TOKEN, FUNCTION_TOKEN
from .cloud_state import CloudState, Role, Session
from .dispatch import AwsError, account_of_key, handles, place_of, unknown_credentials
from .grants import grants_of
from .permissions import needs_of
from .policies import statements_allowing, trust_allows

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?:.+/)?(?P<name>[\w+=,.@-]+)")
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
DEFAULT_SECONDS = 3600


@handles("sts", "AssumeRole")
def assume_role(cloud: CloudState, request: BaseResponse) -> Any:
    """Return credentials of a role whose trust policy allows the caller and external id."""
    arn, name = request._get_param("RoleArn") or "", request._get_param("RoleSessionName") or ""
    found = ROLE_ARN.fullmatch(arn)
    if found is None or not SESSION_NAME.fullmatch(name):
        raise AwsError("ValidationError", f"{arn} is invalid, or the session name {name!r} is")
    external_id = request._get_param("ExternalId")
    role = cloud.find_role(found["account"], found["name"])
    keys = {"sts:ExternalId": external_id} if external_id else {}
    caller = _caller_arn(cloud, request)
    if role is None or not trust_allows(role.trust, caller, arn, request.region, keys):
        raise AwsError(
            "AccessDenied",
            f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}",
        )
    seconds = int(request._get_param("DurationSeconds") or DEFAULT_SECONDS)
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    session = Session(found["account"], found["name"], name, role, expires)
    token = f"{ASSUMED_TOKEN}{session.role_name}/{secrets.token_urlsafe(64)}"
    cloud.sessions[token] = session
    _note_grants(cloud, session.role_name, role)
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


def _caller_arn(cloud: CloudState, request: BaseResponse) -> str:
    """Return the caller's ARN as in `aws:PrincipalArn`: for a session, the ARN of its role."""
    session = session_of(cloud, request)
    account = session.account if session else request.current_account
    name = session.role_name if session else cloud.settings.caller_role
    return f"arn:aws:iam::{account}:role/{name}"


@handles("sts", "GetCallerIdentity")
def get_caller_identity(cloud: CloudState, request: BaseResponse) -> Any:
    """Return the caller: an assumed role, or an account."""
    account = request.current_account
    session = session_of(cloud, request)
    arn = session.arn if session else f"arn:aws:iam::{account}:root"
    return {"UserId": account, "Account": account, "Arn": arn}


def session_of(cloud: CloudState, request: BaseResponse) -> Session | None:
    """Return the session that makes the call; None when the caller is an account.

    An instance's made-up credentials belong to home. Raises AwsError when the session expired or
    never existed.
    """
    token = request.headers.get("X-Amz-Security-Token")
    account = account_of_key(request.headers.get("Authorization") or "")
    if not token or account is None:
        return None
    service = str(request.service_name)
    if token.startswith(FUNCTION_TOKEN):
        return _session_of_function(cloud, account, token.removeprefix(FUNCTION_TOKEN))
    session = cloud.sessions.get(token)
    if session is None or session.account != account:
        raise unknown_credentials(service, "The security token included in the request is invalid")
    if session.expires <= datetime.datetime.now(datetime.UTC):
        expired = {"ec2": "RequestExpired", "sts": "ExpiredToken"}
        code = expired.get(service, "ExpiredTokenException")
        raise AwsError(code, "The security token included in the request is expired")
    return session


def _session_of_function(cloud: CloudState, account: str, name: str) -> Session | None:
    """Return a session of a Lambda's own role; None when no IAM has the role."""
    role = cloud.function_roles.get((account, name)) or cloud.find_role(account, name)
    if role is None:
        return None
    if (account, name) not in cloud.function_roles:
        cloud.function_roles[account, name] = role
        _note_grants(cloud, name, role)
    never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    return Session(account, name, "function", role, never)


def _note_grants(cloud: CloudState, name: str, role: Role) -> None:
    for statement, _ in role.statements:
        cloud.grants.granted.update(grants_of(name, statement))


def require_permission(cloud: CloudState, request: BaseResponse, service: str, action: str) -> None:
    """Raise AwsError when a role's policies do not allow the call; an account may do all."""
    session = session_of(cloud, request)
    if session is None or action == "GetCallerIdentity":
        return
    region = place_of(request).region
    for need in needs_of(cloud, request, f"{service}:{action}"):
        allowing = statements_allowing(session.role, session.arn, *need[:2], region, need.keys)
        for statement in allowing:
            cloud.grants.used.update(
                grant
                for grant in grants_of(session.role_name, statement)
                if fnmatch_iam(need.action, grant.action)
            )
        if allowing:
            continue
        raise AwsError(
            error_codes.denied(service),
            f"User: {session.arn} is not authorized to perform: {need.action} on resource: "
            f"{need.resource} because no identity-based policy allows the {need.action} action",
        )
