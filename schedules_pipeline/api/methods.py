"""Which methods a path knows. The framework names those of the first route that fits alone."""

import re
from functools import cached_property

from fastapi import FastAPI
from starlette.routing import compile_path


class Methods:
    """Of one application, as its OpenAPI document says; read with the first question."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def allowed(self, path: str) -> str | None:
        """For the header `Allow`; None when the document does not know the path."""
        for pattern, methods in self._paths:
            if pattern.match(path):
                return methods
        return None

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], str]]:
        """Those without parameters first: `/fires/overdue` is no fire."""
        paths = self._app.openapi()["paths"]
        return [
            (compile_path(path)[0], ", ".join(sorted(method.upper() for method in paths[path])))
            for path in sorted(paths, key=lambda path: path.count("{"))
        ]
