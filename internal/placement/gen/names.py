#!/usr/bin/env python3
"""Writes data/traits.txt and data/classes.txt from the packages python3-os-traits and python3-os-resource-classes.

Run it inside internal/placement with PYTHONPATH naming the release's packages.
"""
import os_resource_classes
import os_traits


def write(path, names):
    with open(path, "w") as f:
        f.write("".join(name + "\n" for name in names))


write("data/traits.txt", sorted(os_traits.get_traits()))
write("data/classes.txt", os_resource_classes.STANDARDS)
