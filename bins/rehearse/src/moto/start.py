"""Starts moto's server, with what can only be mended inside it."""

import os
import sys

# Python runs isolated: not even the script's own folder is looked into.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import image_attributes  # noqa: E402, F401
import images  # noqa: E402, F401
import snapshots  # noqa: E402, F401
import tags  # noqa: E402, F401
import volumes  # noqa: E402, F401
from moto.ec2.models.instances import Instance
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.subnets import Subnet
from moto.ec2.utils import parse_user_data
from moto.server import main

create_version = LaunchTemplate.create_version


def create_version_with_user_data(self, data, description):
    # Moto 5.2 decodes the user data of a template's first version only; a group that uses a later one fails.
    # The first version comes here decoded already.
    if isinstance(data.get("UserData"), str):
        data = {**data, "UserData": parse_user_data(data["UserData"])}
    return create_version(self, data, description)


LaunchTemplate.create_version = create_version_with_user_data

terminate = Instance.terminate


def terminate_with_interfaces(self):
    # Moto 5.2 keeps the interfaces of a terminated instance for ever; AWS deletes the one it made with the instance.
    before = terminate(self)
    for index, interface in self.nics.items():
        if index == 0 or interface.delete_on_termination:
            self.ec2_backend.enis.pop(interface.id, None)
    return before


Instance.terminate = terminate_with_interfaces

next_address = Subnet.get_available_subnet_ip


def next_address_not_used_before(self, instance):
    # Moto 5.2 gives a freed address to the very next instance, while the body that had it still shuts down, and
    # connections of that body still stand at the endpoint: new ones with the same ports would be mistaken for them.
    freed, self._unused_ips = self._unused_ips, set()
    try:
        return next_address(self, instance)
    except StopIteration:
        self._unused_ips, freed = freed, set()
        return next_address(self, instance)
    finally:
        self._unused_ips |= freed


Subnet.get_available_subnet_ip = next_address_not_used_before

main()
