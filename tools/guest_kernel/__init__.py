"""A machine in qemu with another kernel: what this one refuses is tried there."""
