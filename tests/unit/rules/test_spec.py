from __future__ import annotations

import copy

import pytest
from attrs import evolve

from tricorn.errors import InvalidArgument, NotFound, TricornError
from tricorn.model.oci import ImageConfig
from tricorn.model.requests import ContainerDesired, ExecRequest, Mount, Resources, Rlimit
from tricorn.model.spec import CAPABILITIES, Account, Accounts, DeviceNode, Group, HostLimits
from tricorn.rules.spec import build_spec, exec_process, image_labels

ACCOUNTS = Accounts(
    (Account("root", 0, 0, "/root"), Account("app", 1000, 1000, "/home/app")),
    (Group("media", 44, ("app",)),),
)
HOST = HostLimits(
    sources={"/srv/data": "/srv/data", "/srv/link": "/mnt/real"},
    devices={"/dev/fuse": DeviceNode("/dev/fuse", "c", 10, 229, 0o666)},
    profiles={"/etc/p.json": {"defaultAction": "SCMP_ACT_ALLOW"}},
)
IMAGE = ImageConfig(entrypoint=("/entry",), cmd=("serve",), env=("PATH=/bin", "LANG=C"), working_dir="/srv")


def build(image: ImageConfig = IMAGE, host: HostLimits = HOST, **desired):
    request = ContainerDesired(image="x", **desired)
    return build_spec(request, image, id="web-1", namespace="default", accounts=ACCOUNTS, host=host)


def spec_of(*args, **kwargs):
    return build(*args, **kwargs)[0]


def environment(spec) -> dict[str, str]:
    return dict(word.split("=", 1) for word in spec["process"]["env"])


def refused(**desired) -> TricornError:
    with pytest.raises(TricornError) as caught:
        build(**desired)
    return caught.value


# ---------------------------------------------------------------- the default
def test_the_default_spec_is_confined():
    spec, warnings = build()
    process, linux = spec["process"], spec["linux"]
    assert warnings == ()
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert len(process["capabilities"]["bounding"]) == 14
    assert process["noNewPrivileges"] is True
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}]
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware", "/sys/devices/virtual/powercap"} <= set(
        linux["maskedPaths"]
    )
    assert "/proc/sys" in linux["readonlyPaths"]
    assert {entry["type"] for entry in linux["namespaces"]} == {
        "pid",
        "ipc",
        "uts",
        "mount",
        "network",
        "cgroup",
    }
    assert linux["cgroupsPath"] == "/tricorn/default/web-1"
    assert linux["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert spec["hostname"] == "web-1"
    assert [m["destination"] for m in spec["mounts"]][:3] == ["/proc", "/dev", "/dev/pts"]


def test_two_specs_of_one_image_share_nothing():
    """CVE-2021-21334."""
    host = evolve(HOST, profiles={"/etc/p.json": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}})
    first, second = (spec_of(host=host, seccomp="/etc/p.json") for _ in range(2))
    expected = copy.deepcopy(second)

    def ruin(value) -> None:
        for child in list(value.values() if isinstance(value, dict) else value):
            if isinstance(child, dict | list):
                ruin(child)
        value.clear()

    ruin(first)
    assert second == expected
    assert spec_of(host=host, seccomp="/etc/p.json") == expected


def test_v1_hosts_get_no_cgroup_namespace_and_no_cgroup_mounts():
    spec = spec_of(host=evolve(HOST, cgroup_mode="v1"))
    assert "cgroup" not in {entry["type"] for entry in spec["linux"]["namespaces"]}
    assert "/sys/fs/cgroup" not in {m["destination"] for m in spec["mounts"]}


# ---------------------------------------------------------------- command and environment
@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        ({}, ["/entry", "serve"]),
        ({"args": ("a", "b")}, ["/entry", "a", "b"]),
        ({"entrypoint": ("/other",)}, ["/other"]),
        ({"entrypoint": (), "args": ("sh",)}, ["sh"]),
        ({"args": ()}, ["/entry"]),
    ],
)
def test_the_command(desired, expected):
    assert spec_of(**desired)["process"]["args"] == expected


def test_no_command_and_a_nul_are_refused():
    assert refused(entrypoint=(), args=()).field == "args"
    assert refused(args=("a\0b",)).field == "args"


def test_nothing_of_the_host_gets_into_the_environment(monkeypatch):
    """CVE-2020-14370, CVE-2026-57231: bare names and `*` would copy the host's variables."""
    monkeypatch.setenv("SECRET", "host")
    image = evolve(IMAGE, env=("SECRET", "*", "*=x", "=x", "OK=1", "N\0=1", "V=a\0b"))
    assert environment(spec_of(image)) == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": "web-1", "HOME": "/root", "OK": "1",
    }  # fmt: skip


def test_the_request_wins_over_the_image_and_the_image_over_defaults():
    found = environment(spec_of(env={"LANG": "de", "A": "b=c"}, terminal=True, user="app"))
    assert found["PATH"] == "/bin"
    assert found["LANG"] == "de"
    assert found["A"] == "b=c"
    assert found["TERM"] == "xterm"
    assert found["HOME"] == "/home/app"


@pytest.mark.parametrize("name", ["", "a=b", "a\0", "*", "a\nb"])
def test_malformed_variables_of_a_request_are_refused(name):
    assert refused(env={name: "x"}).field.startswith("env.")


# ---------------------------------------------------------------- directory and user
@pytest.mark.parametrize(
    "path",
    [
        "relative",
        "/a/../b",
        "/a//b",
        "/a/",
        "//a",
        "/proc/self/fd/7",
        "/proc/1/cwd",
        "/dev/fd/3",
        "/a\nb",
        "/proc",
    ],
)
def test_unsafe_directories_are_refused(path):
    """CVE-2024-21626."""
    error = refused(cwd=path)
    assert isinstance(error, InvalidArgument)
    assert error.field == "cwd"


@pytest.mark.parametrize("path", ["/proc/self/fd/7", "/x/../proc/self/fd/7", "proc/self/fd/9", "/dev/fd/8"])
def test_an_image_s_unsafe_directory_is_refused(path):
    with pytest.raises(InvalidArgument):
        build(evolve(IMAGE, working_dir=path))


@pytest.mark.parametrize(
    ("path", "expected"), [("", "/"), ("app/", "/app"), ("/a/./b/", "/a/b"), ("/../..", "/")]
)
def test_an_image_s_directory_is_cleaned(path, expected):
    assert spec_of(evolve(IMAGE, working_dir=path))["process"]["cwd"] == expected


def test_supplementary_groups():
    """CVE-2023-25173."""
    assert spec_of(user="app")["process"]["user"]["additionalGids"] == [1000, 44]
    assert spec_of(user="1:1")["process"]["user"]["additionalGids"] == [1]
    assert spec_of(user="app", groups=("7",))["process"]["user"]["additionalGids"] == [1000, 44, 7]
    assert refused(groups=("4294967296",)).field == "groups"


def test_the_image_s_user_is_checked_too():
    with pytest.raises(InvalidArgument):
        build(evolve(IMAGE, user="4294967296"))


# ---------------------------------------------------------------- privileges
def test_capabilities_with_and_without_prefix():
    drop = spec_of(cap_drop=("ALL",), cap_add=("net_admin", "CAP_CHOWN"))
    assert drop["process"]["capabilities"]["effective"] == ["CAP_CHOWN", "CAP_NET_ADMIN"]
    every = spec_of(cap_add=("ALL",), cap_drop=("sys_admin",))["process"]["capabilities"]["bounding"]
    assert set(every) == set(CAPABILITIES) - {"CAP_SYS_ADMIN"}
    assert refused(cap_add=("SYS_GOD",)).field == "cap_add[0]"


def test_capabilities_that_the_agent_lacks_are_left_out_with_a_warning():
    host = evolve(HOST, capabilities=tuple(name for name in CAPABILITIES if name != "CAP_SYS_RESOURCE"))
    spec, warnings = build(host=host, cap_add=("SYS_RESOURCE",))
    assert "CAP_SYS_RESOURCE" not in spec["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_RESOURCE" in warnings[0]


def test_privileged():
    spec = spec_of(privileged=True)
    assert spec["process"]["capabilities"]["bounding"] == list(CAPABILITIES)
    assert spec["process"]["noNewPrivileges"] is False
    linux = spec["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])
    assert "seccomp" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert [device["path"] for device in linux["devices"]] == ["/dev/fuse"]


def test_seccomp_choices():
    assert "seccomp" not in spec_of(seccomp="unconfined")["linux"]
    assert spec_of(seccomp="/etc/p.json")["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert isinstance(refused(seccomp="/etc/none.json"), NotFound)
    assert isinstance(refused(seccomp="strict"), InvalidArgument)


# ---------------------------------------------------------------- limits
def test_rlimits_are_clamped_to_what_the_host_grants():
    host = evolve(HOST, has_cap_sys_resource=False, rlimits={"RLIMIT_NOFILE": 512})
    spec, warnings = build(host=host)
    assert spec["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]
    assert "RLIMIT_NOFILE" in warnings[0]
    assert build(host=evolve(host, has_cap_sys_resource=True))[1] == ()


@pytest.mark.parametrize(
    "entry",
    [Rlimit("RLIMIT_X", 1, 1), Rlimit("nofile", 2, 1), Rlimit("nofile", -2, 1), Rlimit("nofile", -1, 5)],
)
def test_malformed_rlimits_are_refused(entry):
    assert refused(rlimits=(entry,)).field.startswith("rlimits[0]")


def test_rlimits_without_bound():
    found = spec_of(rlimits=(Rlimit("core", -1, -1),))["process"]["rlimits"]
    assert {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1} in found


def test_resources():
    wanted = Resources(
        memory=2**26, memory_swap=2**27, memory_reservation=2**25, cpus=1.5, cpu_shares=512,
        cpuset_cpus="0-1", cpuset_mems="0", pids=100,
    )  # fmt: skip
    found = spec_of(resources=wanted)["linux"]["resources"]
    assert found["memory"] == {"limit": 2**26, "reservation": 2**25, "swap": 2**27}
    assert found["cpu"] == {"quota": 150000, "period": 100000, "shares": 512, "cpus": "0-1", "mems": "0"}
    assert found["pids"] == {"limit": 100}


def test_resources_that_the_host_has_no_controller_for_are_warned_of():
    host = evolve(HOST, cgroup_controllers=("cpu",), swap_accounting=False)
    spec, warnings = build(host=host, resources=Resources(memory=2**26, memory_swap=2**26, pids=5))
    assert set(spec["linux"]["resources"]) == {"devices"}
    assert len(warnings) == 3


@pytest.mark.parametrize(
    "wanted",
    [
        Resources(memory=1000), Resources(memory=2**26, memory_swap=2**20), Resources(cpus=0), Resources(cpus=-1.0),
        Resources(cpu_shares=1), Resources(cpuset_cpus="a"), Resources(cpuset_mems="0,"), Resources(pids=-5),
        Resources(memory_reservation=-1), Resources(memory=2**63), Resources(memory_swap=10**40),
        Resources(memory_reservation=2**63), Resources(pids=10**400),
    ],
)  # fmt: skip
def test_malformed_resources_are_refused(wanted):
    assert refused(resources=wanted).field.startswith("resources.")


# ---------------------------------------------------------------- mounts and devices
def test_bind_mounts_use_real_paths_and_are_private():
    spec = spec_of(
        mounts=(
            Mount("/data/deep", "/srv/link"),
            Mount("/data", "/srv/data", options=("ro", "bind", "rshared")),
        )
    )
    added = spec["mounts"][-2:]
    assert added[0] == {
        "destination": "/data",
        "type": "bind",
        "source": "/srv/data",
        "options": ["ro", "bind", "rshared"],
    }
    assert added[1] == {
        "destination": "/data/deep",
        "type": "bind",
        "source": "/mnt/real",
        "options": ["rbind", "rprivate"],
    }


def test_a_request_s_mount_replaces_the_default_one():
    mounts = spec_of(mounts=(Mount("/dev/shm", type="tmpfs", options=("size=1g",)),))["mounts"]
    assert [m["options"] for m in mounts if m["destination"] == "/dev/shm"] == [["size=1g"]]


@pytest.mark.parametrize(
    ("mount", "error"),
    [
        (Mount("/x", "/srv/none"), NotFound),
        (Mount("/x", "relative"), InvalidArgument),
        (Mount("x", "/srv/data"), InvalidArgument),
        (Mount("/", "/srv/data"), InvalidArgument),
        (Mount("/a/../../etc", "/srv/data"), InvalidArgument),
        (Mount("/proc", "/srv/data"), InvalidArgument),
        (Mount("/proc/sys/kernel", "/srv/data"), InvalidArgument),
        (Mount("/proc/self/fd", "/srv/data"), InvalidArgument),
        (Mount("/x", "/srv/data", options=("ro,exec",)), InvalidArgument),
        (Mount("/x", type="ext4"), InvalidArgument),
        (Mount("/x\n/y", "/srv/data"), InvalidArgument),
    ],
)
def test_hostile_mounts_are_refused(mount, error):
    """CVE-2019-19921, CVE-2023-28642 and the like."""
    found = refused(mounts=(mount,))
    assert isinstance(found, error)
    assert found.field.startswith("mounts[0]")


def test_known_targets_below_proc_are_let_through():
    assert (
        spec_of(mounts=(Mount("/proc/meminfo", "/srv/data"),))["mounts"][-1]["destination"] == "/proc/meminfo"
    )


def test_mounting_twice_on_one_target_is_refused():
    assert refused(mounts=(Mount("/x", "/srv/data"), Mount("/x", "/srv/data"))).field == "mounts"


@pytest.mark.parametrize(
    ("text", "path", "access"),
    [
        ("/dev/fuse", "/dev/fuse", "rwm"),
        ("/dev/fuse:/dev/f", "/dev/f", "rwm"),
        ("/dev/fuse:/dev/f:r", "/dev/f", "r"),
        ("/dev/fuse:rw", "/dev/fuse", "rw"),
    ],
)
def test_devices(text, path, access):
    linux = spec_of(devices=(text,))["linux"]
    assert linux["devices"] == [
        {"path": path, "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    assert linux["resources"]["devices"][1] == {
        "allow": True,
        "type": "c",
        "major": 10,
        "minor": 229,
        "access": access,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/dev/none",
        "/dev/fuse:/etc/passwd",
        "/dev/fuse:/dev/../x",
        "/dev/fuse:/dev/a:x",
        "a:b:c:d",
        "/dev/fuse:",
    ],
)
def test_malformed_devices_are_refused(text):
    assert refused(devices=(text,)).field == "devices[0]"


# ---------------------------------------------------------------- namespaces and sysctls
def test_namespaces():
    def kinds(**desired):
        return {entry["type"]: entry.get("path", "") for entry in spec_of(**desired)["linux"]["namespaces"]}

    assert "network" not in kinds(network="host")
    assert kinds(network="/run/netns/a")["network"] == "/run/netns/a"
    assert "pid" not in kinds(namespaces={"pid": "host"})
    assert isinstance(refused(namespaces={"user": "private"}), InvalidArgument)
    for bad in ({"mount": "host"}, {"nope": "private"}, {"pid": "relative"}, {"time": "host"}):
        assert isinstance(refused(namespaces=bad), InvalidArgument)
    assert kinds(network="path:/run/netns/a")["network"] == "/run/netns/a"
    for name in ("none", "private", "front", "cni:front", "container:c1"):  # its path follows
        assert kinds(network=name)["network"] == ""
    assert isinstance(refused(network="re/lative"), InvalidArgument)


@pytest.mark.parametrize(
    ("desired", "field"),
    [
        ({"sysctls": {"kernel.shmmax": "1+2"}}, "sysctls.kernel.shmmax"),
        ({"sysctls": {"kernel.shmmax": "1\nkernel.x=2"}}, "sysctls.kernel.shmmax"),
        ({"sysctls": {"kernel.core_pattern": "x"}}, "sysctls.kernel.core_pattern"),
        ({"sysctls": {"kernel/core_pattern": "x"}}, "sysctls.kernel/core_pattern"),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}, "network": "host"}, "sysctls.net.ipv4.ip_forward"),
        ({"sysctls": {"kernel.sem": "1"}, "namespaces": {"ipc": "host"}}, "sysctls.kernel.sem"),
        ({"sysctls": {"net..x": "1"}}, "sysctls.net..x"),
        ({"sysctls": {"+net.x": "1"}}, "sysctls.+net.x"),
    ],
)
def test_sysctls_that_reach_the_host_are_refused(desired, field):
    """CVE-2022-0811, CVE-2022-0532."""
    error = refused(**desired)
    assert isinstance(error, InvalidArgument)
    assert error.field == field


def test_namespaced_sysctls_are_set():
    wanted = {
        "net.ipv4.ip_forward": "1",
        "kernel.shmmax": "65536",
        "fs.mqueue.msg_max": "10",
        "net.ipv4.tcp_rmem": "1 2 3",
    }
    assert spec_of(sysctls=wanted)["linux"]["sysctl"] == wanted


@pytest.mark.parametrize("name", ["a b", "-a", "a_b", "x" * 64, "a\nb", "a..b", "."])
def test_malformed_hostnames_are_refused(name):
    assert refused(hostname=name).field == "hostname"


def test_hostnames():
    assert spec_of(hostname="db.local")["hostname"] == "db.local"
    assert "hostname" not in spec_of(namespaces={"uts": "host"})
    assert refused(hostname="a", namespaces={"uts": "host"}).field == "hostname"


# ---------------------------------------------------------------- annotations, labels, exec
def test_powerful_annotations_are_inert():
    """CVE-2023-6476, CVE-2026-53492."""
    spec, warnings = build(annotations={"run.oci.handler": "krun", "cdi.k8s.io/x": "y", "mine": "1"})
    assert spec["annotations"] == {"mine": "1"}
    assert len(warnings) == 2
    assert {key: value for key, value in spec.items() if key != "annotations"} == {
        key: value for key, value in spec_of().items() if key != "annotations"
    }


def test_reserved_labels_of_an_image_are_never_copied():
    """CVE-2026-53488."""
    labels = {
        "containerd.io/restart.loguri": "binary:///x",
        "io.cri-containerd.x": "1",
        "tricorn.x": "2",
        "maintainer": "me",
    }
    assert image_labels(evolve(IMAGE, labels=labels)) == {"maintainer": "me"}


def test_image_volumes_are_warned_of():
    assert "volumes" in build(evolve(IMAGE, volumes=("/data",)))[1][0]


def test_exec_takes_the_container_s_process_with_the_request_over_it():
    spec = spec_of(env={"A": "1"}, user="app")
    before = copy.deepcopy(spec)
    found = exec_process(
        spec, ExecRequest(args=("ls",), env={"B": "2"}, cwd="/tmp", user="0:0", terminal=True), ACCOUNTS
    )
    assert found["args"] == ["ls"]
    assert {"A=1", "B=2", "HOME=/root", "TERM=xterm"} <= set(found["env"])
    assert found["cwd"] == "/tmp"
    assert found["user"]["uid"] == 0
    assert set(found["capabilities"]) == {"bounding", "effective", "permitted"}
    found["env"].clear()
    found["capabilities"]["bounding"].clear()
    assert spec == before


def test_exec_clears_inheritable_capabilities_of_any_spec():
    """CVE-2022-29162."""
    spec = spec_of()
    spec["process"]["capabilities"]["inheritable"] = ["CAP_CHOWN"]
    spec["process"]["capabilities"]["ambient"] = ["CAP_CHOWN"]
    found = exec_process(spec, ExecRequest(args=("ls",)), ACCOUNTS)
    assert not {"inheritable", "ambient"} & set(found["capabilities"])


def test_a_privileged_exec_gets_what_the_host_has():
    found = exec_process(
        spec_of(), ExecRequest(args=("ls",), privileged=True), ACCOUNTS, host_capabilities=("CAP_SYS_ADMIN",)
    )
    assert found["capabilities"]["bounding"] == ["CAP_SYS_ADMIN"]
    assert found["noNewPrivileges"] is False


@pytest.mark.parametrize(
    "request_", [ExecRequest(args=()), ExecRequest(args=("",)), ExecRequest(args=("a",), cwd="/proc/self/fd/3"), ExecRequest(args=("a",), user="4294967296"), ExecRequest(args=("a",), timeout=-1)]
)  # fmt: skip
def test_malformed_execs_are_refused(request_):
    with pytest.raises(InvalidArgument):
        exec_process(spec_of(), request_, ACCOUNTS)
