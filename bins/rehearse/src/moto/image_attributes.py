"""What can be changed of an image: who may launch it, what it asks of metadata, until when it is recommended. Moto 5.2 shares with
accounts alone, and what can't be shared, too; it knows no deprecation."""

import re
from datetime import datetime, timedelta, timezone

import volumes
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIAttributeItemValueError
from moto.ec2.models.amis import AmiBackend
from moto.ec2.responses.amis import AmisResponse

ARNS = {
    "OrganizationArn": r"arn:aws[a-z-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}",
    "OrganizationalUnitArn": r"arn:aws[a-z-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}",
}


def own(backend, image_id):
    """An image that may be changed: one of the account's own."""
    image = (backend.describe_images(ami_ids=[image_id]) or [None])[0]
    if image is None:
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
    if image.owner_id != backend.account_id:
        raise EC2ClientError("AuthFailure", f"Not authorized for image:{image_id}")
    return image


def refuse_sharing(backend, image, added):
    """As EC2 says it (github.com/hashicorp/packer/issues/7410)."""
    snapshot = image.ebs_snapshot
    if snapshot.encrypted and any("Group" in one for one in added):
        raise EC2ClientError(
            "UnsupportedOperation", "Encrypted snapshots can't be shared publicly. Specify another snapshot."
        )
    if added and snapshot.encrypted and volumes.is_managed(backend, snapshot.kms_key_id):
        raise EC2ClientError(
            "InvalidParameter",
            "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.",
        )


def validate_permission_targets(self, permissions):
    for one in permissions:
        if "UserId" in one and not re.fullmatch(r"\d{12}", one["UserId"]):
            raise InvalidAMIAttributeItemValueError("userId", one["UserId"])
        if "Group" in one and one["Group"] != "all":
            raise InvalidAMIAttributeItemValueError("UserGroup", one["Group"])
        for kind, pattern in ARNS.items():
            if kind in one and not re.fullmatch(pattern, one[kind]):
                raise InvalidAMIAttributeItemValueError(kind[0].lower() + kind[1:], one[kind])


AmiBackend.validate_permission_targets = validate_permission_targets


def modify_image_attribute(self):
    """Moto knows launch permissions alone, of the first of several, and shares what can't be shared."""
    backend = self.ec2_backend
    image = own(backend, self._get_param("ImageId"))
    attribute, value = self._get_param("Attribute"), self._get_param("Value")
    description = self._get_param("Description.Value") or (value if attribute == "description" else None)
    imds = self._get_param("ImdsSupport.Value") or (value if attribute == "imdsSupport" else None)
    changes = self._get_param("LaunchPermission", {})
    added, removed = list(changes.get("Add", [])), list(changes.get("Remove", []))
    named = [
        {member: one}
        for member, parameter in (
            ("UserId", "UserIds"),
            ("Group", "UserGroups"),
            ("OrganizationArn", "OrganizationArns"),
            ("OrganizationalUnitArn", "OrganizationalUnitArns"),
        )
        for one in self._get_param(parameter, [])
    ]
    if self._get_param("OperationType") in ("add", "remove"):
        (added if self._get_param("OperationType") == "add" else removed).extend(named)
    if imds is not None and imds != "v2.0":
        raise EC2ClientError("InvalidParameterValue", f"Value ({imds}) for parameter imdsSupport is invalid.")
    backend.validate_permission_targets(added + removed)
    self.error_on_dryrun()
    refuse_sharing(backend, image, added)
    image.launch_permissions += [one for one in added if one not in image.launch_permissions]
    image.launch_permissions = [one for one in image.launch_permissions if one not in removed]
    if description is not None:
        image.description = description
    if imds is not None:
        image.imds_support = imds
    return EmptyResult()


describe_attribute = AmisResponse.describe_image_attribute


def describe_image_attribute(self):
    attribute = self._get_param("Attribute")
    named = {
        "description": ("Description", "description"),
        "bootMode": ("BootMode", "boot_mode"),
        "imdsSupport": ("ImdsSupport", "imds_support"),
        "sriovNetSupport": ("SriovNetSupport", "sriov"),
        "deregistrationProtection": ("DeregistrationProtection", "deregistration_protection"),
    }
    if attribute not in named and attribute != "launchPermission":
        return describe_attribute(self)
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    if attribute == "launchPermission":
        return ActionResult({"ImageId": image.id, "LaunchPermissions": image.launch_permissions})
    member, name = named[attribute]
    value = getattr(image, name)
    return ActionResult({"ImageId": image.id, member: {"Value": value} if value is not None else {}})


def reset_image_attribute(self):
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    image.launch_permissions = []
    return EmptyResult()


def enable_image_deprecation(self):
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html"""
    image = own(self.ec2_backend, self._get_param("ImageId"))
    at = self._get_param("DeprecateAt")
    if not isinstance(at, datetime):
        at = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    at = at.replace(tzinfo=at.tzinfo or timezone.utc).astimezone(timezone.utc)
    at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    now = datetime.now(timezone.utc)
    latest = now + timedelta(days=3653)
    if image.is_public:
        created = image.creation_date
        latest = created.replace(tzinfo=created.tzinfo or timezone.utc) + timedelta(days=731)
    if not now - timedelta(minutes=1) <= at <= latest:
        raise EC2ClientError(
            "InvalidParameterValue", f"Value ({at:%Y-%m-%dT%H:%M:%SZ}) for parameter DeprecateAt is invalid."
        )
    self.error_on_dryrun()
    image.deprecation_time = f"{at:%Y-%m-%dT%H:%M:%S.000Z}"
    return ActionResult({"Return": True})


def disable_image_deprecation(self):
    image = own(self.ec2_backend, self._get_param("ImageId"))
    self.error_on_dryrun()
    image.deprecation_time = None
    return ActionResult({"Return": True})


for action in (
    modify_image_attribute,
    describe_image_attribute,
    reset_image_attribute,
    enable_image_deprecation,
    disable_image_deprecation,
):
    setattr(AmisResponse, action.__name__, action)
