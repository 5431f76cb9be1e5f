"""The guest: this machine's own file system, which it can't write to, under another kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from guest_kernel.initramfs import write_initramfs
from guest_kernel.kernel import Kernel, Unusable

_HERE: Final = Path(__file__).parent
_MODULES: Final = ("virtio_pci", "virtio-rng", "9pnet_virtio", "9p", "overlay")
_MEBIBYTES: Final = 4096  # what is written in the guest is in its memory
_END: Final = re.compile(rb"test-guest ends with (\d+)")


def run(kernel: Kernel, seconds: float) -> int:
    """Run the trial in a guest, show what it says, and return its exit status.

    TimeoutError after so many seconds. Nothing outlives the call.
    """
    qemu, busybox = _program("qemu-system-x86_64", "qemu-system-x86"), _program("busybox", "busybox-static")
    if _HERE.is_relative_to("/tmp"):
        raise Unusable("this checkout is below /tmp, where the guest has a directory of its own: move it")
    with tempfile.TemporaryDirectory() as directory:
        initramfs = Path(directory) / "initramfs"
        modules = kernel.closure(_MODULES)
        write_initramfs(initramfs, Path(busybox), _HERE / "init.sh", modules)
        return _shown(_command(qemu, kernel, initramfs), seconds)


def _program(name: str, package: str) -> str:
    if path := shutil.which(name):
        return path
    raise Unusable(f"there is no {name} here: apt-get install --no-install-recommends {package}")


def _command(qemu: str, kernel: Kernel, initramfs: Path) -> list[str]:
    # on a busy machine the guest's clocks are late, which its kernel would take for broken ones
    usual = "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off no_timer_check"
    said = f"{usual} tricorn.guest={_HERE}/guest.sh"
    shared = "security_model=passthrough,readonly=on,multidevs=remap"
    return [
        qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(_MEBIBYTES), "-no-reboot",
        "-display", "none", "-monitor", "none", "-nic", "none", "-serial", "stdio",
        "-kernel", str(kernel.image), "-initrd", str(initramfs), "-append", said, "-device", "virtio-rng-pci",
        "-virtfs", f"local,path=/,mount_tag=root,{shared}",
        "-virtfs", f"local,path={kernel.tree},mount_tag=kernel,{shared}",
    ]  # fmt: skip


def _shown(command: list[str], seconds: float) -> int:
    guest = subprocess.Popen(
        ["timeout", "--signal=KILL", f"{seconds:g}", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    status = None
    try:
        assert guest.stdout is not None
        for line in guest.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            if match := _END.search(line):
                status = int(match[1])
    finally:
        guest.terminate()
        code = guest.wait()
    if status is not None:
        return status
    if code in {124, 137, -9}:
        raise TimeoutError(f"the trial hasn't come to its end in {seconds:g} s")
    raise Unusable(f"the guest ended before its trial did (qemu: {code})")
