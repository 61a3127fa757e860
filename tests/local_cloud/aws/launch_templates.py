"""Launch templates in pages: moto cuts both lists after 15 without a token."""

from __future__ import annotations

from typing import Any

from moto.ec2.responses._base_response import EC2BaseResponse

from .cloud_state import CloudState
from .dispatch import handles
from .pages import cut_page

LARGEST_PAGE = 200
ALL = 1_000_000


@handles("ec2", "DescribeLaunchTemplates")
def describe_launch_templates(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List the templates by name, id and filter."""
    request.error_on_dryrun()
    templates = request.ec2_backend.describe_launch_templates(
        template_names=request._get_param("LaunchTemplateNames", []),
        template_ids=request._get_param("LaunchTemplateIds", []),
        filters=request._filters_from_querystring(),
    )
    page, token = cut_page(cloud, request, templates, 1, LARGEST_PAGE)
    views = [
        {
            "CreateTime": template.create_time,
            "CreatedBy": f"arn:aws:iam::{request.current_account}:root",
            "DefaultVersionNumber": template.default_version_number,
            "LatestVersionNumber": template.latest_version_number,
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Tags": template.tags,
        }
        for template in page
    ]
    return {"LaunchTemplates": views, "NextToken": token}


@handles("ec2", "DescribeLaunchTemplateVersions")
def describe_launch_template_versions(cloud: CloudState, request: EC2BaseResponse) -> Any:
    """List versions of one template, or the default or latest version of all templates."""
    request.error_on_dryrun()
    found = request.ec2_backend.describe_launch_template_versions(
        template_name=request._get_param("LaunchTemplateName"),
        template_id=request._get_param("LaunchTemplateId"),
        versions=request._get_param("Versions", []),
        min_version=request._get_int_param("MinVersion"),
        max_version=request._get_int_param("MaxVersion"),
        max_results=ALL,
    )
    page, token = cut_page(cloud, request, found, 1, LARGEST_PAGE)
    views = [
        {
            "CreateTime": version.create_time,
            "CreatedBy": f"arn:aws:iam::{request.current_account}:root",
            "DefaultVersion": template.is_default(version),
            "LaunchTemplateData": version.data,
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionDescription": version.description,
            "VersionNumber": version.number,
        }
        for template, version in page
    ]
    return {"LaunchTemplateVersions": views, "NextToken": token}
