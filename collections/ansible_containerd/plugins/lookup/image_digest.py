# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: image_digest
short_description: Digests of images, by a registry or an agent
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - The digest that each reference stands for, such as V(sha256:…).
  - The Tricorn agent of the controller asks the registry as it would for a pull, with the mirrors, certificates and
    credentials that its configuration has for it. Nothing is pulled.
options:
  _terms:
    description: References of images.
    type: list
    elements: str
    required: true
  source:
    description:
      - Who is asked. V(registry) is what the reference stands for now, V(agent) the image that the agent has by that
        name.
    type: str
    choices: [registry, agent]
    default: registry
  pinned:
    description:
      - Return references that hold the digest instead of the digest alone, as C(docker.io/library/redis@sha256:…).
    type: bool
    default: false
  platform:
    description:
      - The digest of the image for this platform, such as V(linux/arm64), instead of that of the index.
      - Registries are not read for this, so the agent needs to have the index that the reference stands for.
    type: str
  socket:
    description: Path of the unix socket of the agent on the controller.
    type: str
    default: /run/tricorn/tricorn.sock
    vars:
      - name: tricorn_lookup_socket
    env:
      - name: TRICORN_SOCKET
  namespace:
    description: Namespace of the agent.
    type: str
    default: default
  plain_http:
    description: Talk to the registry without TLS.
    type: bool
    default: false
  registry_username:
    description: User at the registry, in place of the agent's own credentials.
    type: str
  registry_password:
    description:
      - Password at the registry. Take it from a vault or a variable, and set C(no_log) on tasks that show their
        arguments; the lookup itself never shows it.
    type: str
  timeout:
    description: Seconds that the agent may take for one reference.
    type: float
    default: 60
notes:
  - For an image of several platforms it is the digest of its index, which is the same on all of them, unless O(platform)
    is set.
"""

EXAMPLES = r"""
- name: Run what the tag stands for now, on all nodes the same
  tricorn.containerd.container:
    name: cache
    image: "{{ lookup('tricorn.containerd.image_digest', image, plain_http=true, pinned=true) }}"
    plain_http: true
"""

RETURN = r"""
_raw:
  description: One digest, or reference with digest, per term.
  type: list
  elements: str
"""

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, exchange, parse, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils._words import as_text


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        return [as_text(self._one(term)) for term in terms]

    def _one(self, term):
        if not isinstance(term, str) or not term:
            raise AnsibleLookupError("image_digest: %r is no reference" % (term,))
        try:
            known = self._known(term)
            if self.get_option("platform"):
                known = dict(known, digest=self._for_platform(known["digest"]))
        except AgentError as error:
            raise AnsibleLookupError("image_digest: %s: %s" % (term, self._without_secrets(str(error)))) from None
        return pinned(known["name"], known["digest"]) if self.get_option("pinned") else known["digest"]

    def _for_platform(self, digest):
        """Return the digest of the image for the wanted platform: one of the index, or the image itself."""
        wanted = self.get_option("platform")
        response = self._ask(request("GET", self.get_option("namespace"), "content", digest, "data"))
        if response.missing:
            raise AgentError("the agent does not have %s (hint: pull the image for this or any platform first)" % digest)
        index = response.result()
        if "manifests" not in index:
            return digest
        found = [each["digest"] for each in index["manifests"] if platform(each.get("platform") or {}).startswith(wanted)]
        if not found:
            raise AgentError("%s has nothing for the platform %s" % (digest, wanted))
        return found[0]

    def _known(self, term):
        namespace = self.get_option("namespace")
        if self.get_option("source") == "agent":
            return self._call(request("GET", namespace, "images", term))
        body = {"reference": term, "pull": "always", "plain_http": self.get_option("plain_http"), "unpack": False}
        user, password = self.get_option("registry_username"), self.get_option("registry_password")
        if (user is None) != (password is None):
            raise AgentError("registry_username and registry_password are needed together")
        if user is not None:
            body["auth"] = {"username": user, "password": password}
        change = self._call(request("PUT", namespace, "images", query=[("plan", "true")], body=body))
        return change["after"]

    def _call(self, wanted):
        return self._ask(wanted).result()

    def _ask(self, wanted):
        return parse(exchange(self.get_option("socket"), wanted.encode(), self.get_option("timeout")))

    def _without_secrets(self, text):
        password = self.get_option("registry_password")
        return text.replace(password, "********") if password else text


def platform(described):
    """Return the words of a platform in an index: linux/arm/v7."""
    return "/".join(described[key] for key in ("os", "architecture", "variant") if described.get(key))


def pinned(name, digest):
    """Return a reference by digest; the tag goes, which nobody would look at any more."""
    name = name.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return "%s@%s" % (head if colon and "/" not in tag else name, digest)
