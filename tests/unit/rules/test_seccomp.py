from __future__ import annotations

import pytest

from tricorn.model.spec import CAPABILITIES
from tricorn.rules.capabilities import DEFAULT
from tricorn.rules.seccomp import default_profile


def allowed(profile, name: str) -> list[dict]:
    return [
        rule for rule in profile["syscalls"] if name in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW"
    ]


def test_the_default_denies_what_is_not_named():
    profile = default_profile(DEFAULT, "amd64")
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    for name in ("mount", "bpf", "kexec_load", "add_key", "keyctl", "userfaultfd", "unshare", "setns", "init_module",
                 "io_uring_setup", "perf_event_open", "reboot", "swapon", "open_by_handle_at"):  # fmt: skip
        assert allowed(profile, name) == [], name
    for name in ("read", "execve", "openat2", "chroot", "ptrace", "arch_prctl", "statx", "futex"):
        assert allowed(profile, name), name


@pytest.mark.parametrize(
    ("capability", "name"),
    [("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "clone3"), ("CAP_SYS_MODULE", "init_module"), ("CAP_SYS_TIME", "settimeofday"),
     ("CAP_BPF", "bpf"), ("CAP_DAC_READ_SEARCH", "open_by_handle_at"), ("CAP_SYS_NICE", "mbind"), ("CAP_SYSLOG", "syslog")],
)  # fmt: skip
def test_a_capability_brings_its_calls(capability, name):
    assert allowed(default_profile((*DEFAULT, capability), "amd64"), name)
    assert not allowed(default_profile(set(CAPABILITIES) - {capability, "CAP_SYS_ADMIN"}, "amd64"), name)


def test_new_namespaces_need_sys_admin():
    profile = default_profile(DEFAULT, "amd64")
    [clone] = allowed(profile, "clone")
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}]
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in profile["syscalls"]
    assert allowed(default_profile(DEFAULT, "s390x"), "clone")[0]["args"][0]["index"] == 1


def test_architectures_bring_their_abis_and_calls():
    assert "SCMP_ARCH_X86" in default_profile(DEFAULT, "amd64")["architectures"]
    assert allowed(default_profile(DEFAULT, "arm64"), "cacheflush")
    assert not allowed(default_profile(DEFAULT, "amd64"), "cacheflush")
    assert default_profile(DEFAULT, "sparc")["architectures"] == []
