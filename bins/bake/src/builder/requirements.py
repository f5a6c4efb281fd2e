"""Puts what the playbook's requirements files ask for where Ansible finds it, behind the app's own."""

import configparser
import os

from bootstrap import fetch, unpack


def configuration(playbook):
    """The app's ansible.cfg, read as Ansible reads it (ansible/config/manager.py)."""
    config = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    config.read(playbook + "/ansible.cfg", encoding="utf-8")
    return config


def bring(bundles, work):
    """Unpacks the bundles, and gives the variables that tell Ansible of them."""
    if not bundles:
        return {}
    folders = []
    for number, bundle in enumerate(bundles):
        folders.append("%s/galaxy/%d" % (work, number))
        unpack(fetch(bundle, "%s/galaxy-%d.tar.gz" % (work, number)), folders[-1])
    playbook = work + "/playbook"
    config = configuration(playbook)

    def path(setting, kind):
        # A variable hides the setting, so that must go before: what stands there is the app's own.
        own = [config.get("defaults", setting)] if config.has_option("defaults", setting) else []
        return ":".join([os.path.join(playbook, kind), *own, *(folder + "/" + kind for folder in folders)])

    return {
        "ANSIBLE_ROLES_PATH": path("roles_path", "roles"),
        "ANSIBLE_COLLECTIONS_PATH": path("collections_path", "collections"),
    }
