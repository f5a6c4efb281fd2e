"""Snapshots as AWS has them: moto 5.2 shows everybody's, knows one form of sharing, and shares what can't be shared."""

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from volumes import is_managed


def owners(backend, asked):
    return {backend.account_id if owner == "self" else owner for owner in asked}


def describe_snapshots(self):
    """Moto knows no owners, and shows everybody's snapshots."""
    asked = owners(self.ec2_backend, self._get_param("OwnerIds", []))
    snapshots = self.ec2_backend.describe_snapshots(
        snapshot_ids=self._get_param("SnapshotIds", []), filters=self._filters_from_querystring()
    )
    return ActionResult({"Snapshots": [one for one in snapshots if not asked or one.owner_id in asked]})


def refuse_sharing(backend, snapshot, added):
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html"""
    if added and snapshot.encrypted and is_managed(backend, snapshot.kms_key_id):
        raise EC2ClientError("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
    if snapshot.encrypted and any("Group" in one for one in added):
        raise EC2ClientError("OperationNotPermitted", "Encrypted snapshots cannot be made public")


def modify_snapshot_attribute(self):
    """Moto knows the older form of the request only, and shares what can't be shared."""
    backend = self.ec2_backend
    snapshot = backend.get_snapshot(self._get_param("SnapshotId"))
    changes = self._get_param("CreateVolumePermission", {})
    operation = self._get_param("OperationType")
    added, removed = list(changes.get("Add", [])), list(changes.get("Remove", []))
    named = [{"UserId": user} for user in self._get_param("UserIds", [])]
    named += [{"Group": group} for group in self._get_param("GroupNames", [])]
    (removed if operation == "remove" else added).extend(named)
    backend.validate_permission_targets(added + removed)
    self.error_on_dryrun()
    refuse_sharing(backend, snapshot, added)
    for one in added:
        kind = snapshot.create_volume_permission_groups if "Group" in one else snapshot.create_volume_permission_userids
        kind.add(one.get("Group") or one["UserId"])
    for one in removed:
        kind = snapshot.create_volume_permission_groups if "Group" in one else snapshot.create_volume_permission_userids
        kind.discard(one.get("Group") or one["UserId"])
    return EmptyResult()


def reset_snapshot_attribute(self):
    snapshot = self.ec2_backend.get_snapshot(self._get_param("SnapshotId"))
    self.error_on_dryrun()
    snapshot.create_volume_permission_groups.clear()
    snapshot.create_volume_permission_userids.clear()
    return EmptyResult()


for action in (describe_snapshots, modify_snapshot_attribute, reset_snapshot_attribute):
    setattr(ElasticBlockStore, action.__name__, action)
