"""The processes that hold sandboxes' namespaces: containers of their own kind under the runtime.

Each has one small program in an otherwise empty root file system, and a monitor, as containers have: so it
outlives the agent, and the agent finds it again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import trio

from tricorn import limits
from tricorn.model.stdio import NULL_STDIO
from tricorn.ports import BundleRef, Created, Runtime
from tricorn.private_directories import renew_directory
from tricorn.rules.sandbox_spec import PROGRAM
from tricorn.runtime.pause import pause_program
from tricorn.service.bundles import let_through

_MARK = "sandbox+"  # in the runtime's names: no container can be called so


class SandboxHolders:
    """Makes and removes them, below `state`. Removal is idempotent, for recovery repeats it."""

    def __init__(self, state: str, runtime: Runtime) -> None:
        self._directory = os.path.join(state, "sandboxes")
        os.makedirs(self._directory, exist_ok=True)
        os.chmod(self._directory, 0o711)  # noqa: S103 - to be passed, not to be listed
        self._runtime = runtime
        self._limiter = trio.CapacityLimiter(4)

    def name(self, id: str) -> str:
        """Return what a sandbox's process is called where containers have their ids."""
        return _MARK + id

    def rootfs(self, namespace: str, id: str) -> str:
        return os.path.join(self._directory, namespace, id, "rootfs")

    def ref(self, namespace: str, id: str, runtime: str) -> BundleRef:
        bundle = os.path.join(self._directory, namespace, id)
        return BundleRef(namespace, self.name(id), bundle, "", runtime, stdio=NULL_STDIO)

    async def run(self, ref: BundleRef, spec: bytes) -> Created:
        """Make the process and let it go. On failure, or when cancelled, nothing is left of it."""
        program = pause_program()
        try:
            await trio.to_thread.run_sync(_lay_out, ref.bundle, spec, program, limiter=self._limiter)
            created = await self._runtime.create(ref)
            await self._runtime.start(ref)
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                await self.clear(ref)
            raise
        return created

    async def clear(self, ref: BundleRef, created: Created | None = None) -> None:
        """Remove a process and its directory, whatever there is of them."""
        if self.there(ref):
            await self._runtime.delete(ref, created)
            await trio.to_thread.run_sync(_remove, ref.bundle, limiter=self._limiter)

    def there(self, ref: BundleRef) -> bool:
        return os.path.isdir(ref.bundle)

    def on_disk(self) -> set[tuple[str, str]]:
        """Return (namespace, id) of every directory there is."""
        return {
            (namespace, name)
            for namespace in _entries(self._directory)
            for name in _entries(os.path.join(self._directory, namespace))
        }


def _lay_out(bundle: str, spec: bytes, program: bytes) -> None:
    renew_directory(bundle)
    let_through(bundle, spec)
    rootfs = os.path.join(bundle, "rootfs")
    for directory in (rootfs, f"{rootfs}/proc", f"{rootfs}/dev"):
        os.mkdir(directory)
        os.chmod(directory, 0o755)  # noqa: S103 - the process is nobody's; what is above isn't open to others
    for path, data, mode in ((rootfs + PROGRAM, program, 0o555), (f"{bundle}/config.json", spec, 0o600)):
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)


def _remove(bundle: str) -> None:
    shutil.rmtree(bundle, ignore_errors=True)
    with suppress(OSError):
        os.rmdir(os.path.dirname(bundle))


def _entries(path: str) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(path)
    return []
