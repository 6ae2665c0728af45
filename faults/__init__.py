"""Faults on purpose: killed runs, full disks, missing permissions, damaged files and hostile ones; see README.md."""
