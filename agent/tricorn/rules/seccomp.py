"""The default seccomp profile: what is allowed of the kernel's calls, depending on capabilities. Pure.

The semantics are those of the profile that Docker and containerd have agreed on: anything not named fails
with EPERM, calls that need a capability are there with that capability only, and clone3 (whose flags a
filter can't see) fails with ENOSYS so that C libraries fall back to clone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_EPERM, _ENOSYS = 1, 38
_NAMESPACE_FLAGS: Final = 0x7E020000  # CLONE_NEW* without NEWTIME
_AF_VSOCK: Final = 40
_ALL: Final = 0xFFFFFFFF
# PER_LINUX, PER_LINUX32, and both with UNAME26; _ALL asks without setting
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, _ALL)

# By theme; x86's and the 32-bit ABIs' old names are among them
_ALLOWED: Final = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64
fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr ioctl lchown lchown32 lgetxattr link
linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat
name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile sendfile64
setxattr splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate
truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev

inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit

brk madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
mprotect mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
remap_file_pages

capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid
getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid
getresuid32 getrlimit get_robust_list getrusage getsid get_thread_area gettid getuid getuid32 ioprio_get
ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open
pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid set_thread_area set_tid_address setuid
setuid32 ugetrlimit vfork wait4 waitid waitpid

futex futex_time64 futex_waitv ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
semtimedop_time64 shmat shmctl shmdt shmget

rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill

adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times

getrandom sysinfo uname
""".split()  # noqa: SIM905 - as a list it would take four times the lines

_BY_CAPABILITY: Final[Mapping[str, str]] = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
    "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname "
    "setns syslog umount umount2 unshare",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

# machine → (seccomp's names of the ABIs it runs, calls of its own)
_MACHINES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    # Without the x32 ABI: distributions' kernels have it switched off, and each ABI makes libseccomp
    # compile the whole filter once more, for every container (6 of 30 ms with crun 1.8).
    "amd64": (("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "arch_prctl modify_ldt"),
    "386": (("SCMP_ARCH_X86",), "modify_ldt"),
    "arm64": (
        ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    "arm": (
        ("SCMP_ARCH_ARM",),
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    "ppc64le": (("SCMP_ARCH_PPC64LE",), "swapcontext sync_file_range2"),
    "riscv64": (("SCMP_ARCH_RISCV64",), "riscv_flush_icache"),
    "s390x": (
        ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
}


def default_profile(capabilities: Iterable[str], architecture: str) -> dict[str, Any]:
    """Return the OCI member `linux.seccomp` for a process with these capabilities on this machine."""
    granted = set(capabilities)
    abis, own = _MACHINES.get(architecture, ((), ""))
    allowed = {*_ALLOWED, *own.split()}
    for name, calls in _BY_CAPABILITY.items():
        if name in granted:
            allowed.update(calls.split())
    rules = [_rule(sorted(allowed))]
    rules += [_rule(["personality"], (0, value, "EQ")) for value in _PERSONALITIES]
    rules.append(_rule(["socket"], (0, _AF_VSOCK, "NE")))
    if "CAP_SYS_ADMIN" not in granted:
        flags = 1 if architecture == "s390x" else 0  # there the flags are the second argument
        rules.append(_rule(["clone"], (flags, _NAMESPACE_FLAGS, "MASKED_EQ")))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(abis),
        "syscalls": rules,
    }


def _rule(names: list[str], *arguments: tuple[int, int, str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if arguments:
        rule["args"] = [
            {"index": index, "value": value, "op": f"SCMP_CMP_{op}"} for index, value, op in arguments
        ]
    return rule
