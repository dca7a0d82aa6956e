"""Functions of another module, called in a process of its own."""

import importlib


def called(module, function, *arguments):
    return getattr(importlib.import_module(module), function)(*arguments)
