# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugins that carry a module's conversation themselves.

A module costs the node some hundred milliseconds of start-up. The same conversation needs a few when the
controller holds it: straight over the socket when the node is this machine, else through a dozen lines of
Python at the far end of the task's own connection. Where neither is possible the module runs as usual.
"""

from __future__ import annotations

import base64
import shlex

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.plugins.connection.ssh import Connection as SshConnection
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._client import (
    AgentError,
    parse,
    unanswered,
    unreachable,
)
from ansible_collections.tricorn.containerd.plugins.module_utils._conversation import CONVERSATIONS, converse
from ansible_collections.tricorn.containerd.plugins.module_utils._module import failure, over_socket, patience
from ansible_collections.tricorn.containerd.plugins.plugin_utils import _progress, _stream
from ansible_collections.tricorn.containerd.plugins.plugin_utils._container import InContainer

DEFAULT_PYTHON = "/usr/bin/python3"
MARK = "tricorn-relay "

# One base64 line in per request, one marked line out per response or, with "!", per errno. Requests come over
# stdin: they may hold passwords, and a command line is everybody's to read. The line "ready" parts an interpreter
# that does not work, where the module may take over, from a relay that broke later, where a second try could
# execute something twice.
PROGRAM = """\
import binascii, socket, sys
print("tricorn-relay ready", flush=True)
for line in sys.stdin.buffer:
    try:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(float(sys.argv[2]) or None)
        s.connect(sys.argv[1])
        s.sendall(binascii.a2b_base64(line))
        answer = b"".join(iter(lambda: s.recv(65536), b""))
        text = binascii.b2a_base64(answer, newline=False).decode()
    except socket.timeout:
        text = "!timeout"
    except OSError as e:
        text = "!%d" % e.errno
    print("tricorn-relay " + text)
"""


class RelayUnavailable(Exception):
    """The node cannot run the relay, and nothing was sent; the module has to go there."""


def command(python, path, timeout):
    """Return the shell command that runs the relay on the node."""
    words = [python, "-I", "-S", "-c", PROGRAM, path, "%g" % timeout]
    return " ".join(shlex.quote(word) for word in words)


def pack(requests):
    """Return what the relay reads from its standard input."""
    return b"".join(base64.b64encode(message.encode()) + b"\n" for message in requests)


def unpack(output, count, path, timeout):
    """Return the responses in the relay's output, which may be mixed with other lines of a login."""
    lines = [line[len(MARK):].strip() for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise RelayUnavailable
    if len(lines) != count + 1:
        raise AgentError("The connection to the node broke before the agent's answer was there")
    return [_response(line, path, timeout) for line in lines[1:]]


def _response(line, path, timeout):
    if line == "!timeout":
        raise unanswered(path, timeout)
    if line.startswith("!"):
        raise unreachable(path, int(line[1:]))
    return parse(base64.b64decode(line))


def _validated(name, arguments):
    """Return the options with defaults and types, as AnsibleModule would have them."""
    validation = ArgumentSpecValidator(**MODULES[name]).validate(arguments)
    if validation.error_messages:
        unknown = isinstance(validation.errors[0], UnsupportedError)
        prefix = "Unsupported parameters for (%s) module: " % name if unknown else ""
        raise AnsibleActionFail(prefix + validation.errors.msg)
    return validation.validated_parameters


def _secrets(name, options):
    specification = MODULES[name]["argument_spec"]
    return [options[key] for key, rules in specification.items() if rules.get("no_log") and options.get(key)]


class Watched:
    """Delivers requests one by one over streams, and tells of each one's progress as it comes."""

    def __init__(self, action, options, task_vars, otherwise):
        self._action = action
        self._options = options
        self._task_vars = task_vars
        self._otherwise = otherwise
        self._host = task_vars.get("inventory_hostname") or ""
        subject = str(options.get("name") or options.get("container") or "")
        self._what = (action._task.action.rpartition(".")[2] + " " + subject).strip()

    def deliver(self, requests):
        try:
            stream = self._action.stream(self._options, self._task_vars)
        except _stream.NoStream:
            return self._otherwise(requests)
        responses = []
        try:
            for each in requests:
                with stream or self._action.stream(self._options, self._task_vars) as open_one:
                    responses.append(_progress.watch(open_one, each, self._report))
                stream = None
        except _stream.NoStream as error:
            raise AgentError("The connection to the node broke: %s" % error)
        finally:
            _progress.tell(self._host, self._what)
        return responses

    def _report(self, progress):
        _progress.tell(self._host, self._what, progress)


class RelayAction(ActionBase):
    """Base of the twins of all modules that only talk to the agent; the twin's name is the module's."""

    TRANSFERS_FILES = False
    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        name = self._task.action.rpartition(".")[2]
        if not self._can_relay():
            return self._as_module(task_vars)
        options = _validated(name, self._task.args)
        try:
            result = converse(CONVERSATIONS[name](self._given(options), self._task.check_mode), self._carrier(options, task_vars))
        except RelayUnavailable:
            return self._as_module(task_vars)
        except AgentError as error:
            result = failure(error)
        if not self._task.diff:
            result.pop("diff", None)
        result["invocation"] = {"module_args": options}
        return remove_values(result, _secrets(name, options))

    def _given(self, options):
        """Return what the conversation is to know; a twin may add what only the controller has."""
        return options

    def _as_module(self, task_vars):
        return self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)

    def _can_relay(self):
        """Tell whether nothing about the task asks for a module on the node."""
        become = self._connection.become
        return not self._task.async_val and (
            self._is_here()
            or (self._connection.has_pipelining and not C.DEFAULT_KEEP_REMOTE_FILES)
            and (become is None or become.pipelining and not become.require_tty)
        )

    def _is_here(self):
        return self._connection.transport == "local" and self._connection.become is None

    def _carrier(self, options, task_vars):
        """Return what delivers requests; where somebody looks on, it tells how far they are."""
        deliver = self._deliverer(options, task_vars)
        return Watched(self, options, task_vars, deliver).deliver if _progress.wanted() else deliver

    def _deliverer(self, options, task_vars):
        if self._is_here():
            return over_socket(options)
        wait = patience(options)
        relay = command(self._python(task_vars), options["socket"], wait)

        def deliver(requests):
            done = self._low_level_execute_command(relay, in_data=pack(requests))
            return unpack(done["stdout"], len(requests), options["socket"], wait)

        return deliver

    def stream(self, options, task_vars):
        """Return a stream to the agent. Raises C(NoStream) where the task's connection has none."""
        wait, path = patience(options), options["socket"]
        if self._is_here():
            return _stream.local(path, wait)
        return _stream.through(self._through_ssh(_stream.command(self._python(task_vars), path)), path, wait)

    def _through_ssh(self, command):
        """Return the words that run a command on the node by the ssh connection that is open already."""
        connection = self._connection
        if not isinstance(connection, SshConnection) or isinstance(connection, InContainer):
            raise _stream.NoStream("the connection is not ssh")
        if connection.get_option("password") or self._play_context.password:
            raise _stream.NoStream("ssh asks for a password")
        if connection.become is not None:
            command = connection.become.build_become_command(command, shell=connection._shell)
            if connection.become.expect_prompt():
                raise _stream.NoStream("becoming another user takes a password")
        connection.host = connection.get_option("host") or self._play_context.remote_addr
        return connection._build_command(connection.get_option("ssh_executable"), "ssh", connection.host, command)

    def _python(self, task_vars):
        """Return the node's interpreter as far as it is known: any Python 3 can relay."""
        if self._task.delegate_to:
            task_vars = (task_vars.get("ansible_delegated_vars") or {}).get(self._task.delegate_to) or {}
        known = self._templar.template(task_vars.get("ansible_python_interpreter"))
        known = known or (task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
        known = known or C.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        return known if known and known.startswith("/") else DEFAULT_PYTHON
