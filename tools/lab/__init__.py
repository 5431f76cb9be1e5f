"""A lab: Debian nodes in namespaces of this machine, with systemd as process 1 and a real sshd."""
