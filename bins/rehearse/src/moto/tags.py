"""The tags of a resource, found at once.

Moto 5.2 looks through the tags of everything that ever was for each resource that it describes: a cloud on which much has happened
answers slower and slower.
"""

from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.tags import EC2_PREFIX_TO_RESOURCE
from moto.ec2.utils import get_prefix


def tags(self):
    if not self.id:
        return []
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "")
    own = self.ec2_backend.tags.get(self.id, {})
    return [{"resource_id": self.id, "key": key, "value": value, "resource_type": kind} for key, value in own.items()]


TaggedEC2Resource.get_tags = tags
