"""Import what commands and the offline server import at some time, before they are forked."""

import gc
from importlib import import_module
from pkgutil import walk_packages

import smallest_cli

NOT_IMPORTED = ("smallest_cli.__main__", "smallest_cli.server.__main__", "smallest_cli.bench.locust")
LIBRARIES = ("jinja2", "markdown_it", "requests", "rich.live", "rich.table", "tomlkit", "websocket")

for module in walk_packages(smallest_cli.__path__, "smallest_cli."):
    if not module.name.startswith(NOT_IMPORTED):
        import_module(module.name)
for name in LIBRARIES:
    import_module(name)
gc.freeze()  # a collection would copy the pages of all of them
