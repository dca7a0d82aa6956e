import importlib
import pkgutil

import landscope
from landscope.results import result_kinds
from landscope.storage.kinds import MODULES


def test_the_table_of_kinds_is_that_of_the_classes():
    for module in pkgutil.walk_packages(landscope.__path__, "landscope."):
        if not module.name.endswith("__main__") and ".adapters" not in module.name:
            importlib.import_module(module.name)
    there = {
        kind: cls.__module__.removeprefix("landscope.")
        for kind, cls in result_kinds().items()
        if cls.__module__.startswith("landscope.")
    }
    assert there == MODULES
