"""Starts moto's server, with what can only be mended inside it."""

from moto.ec2.models.launch_templates import LaunchTemplate
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

main()
