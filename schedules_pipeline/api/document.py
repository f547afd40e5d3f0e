"""The OpenAPI document as it is committed: `python -m schedules_pipeline.api.document`."""

import json
import sys

from schedules_pipeline.api.app import create_app
from schedules_pipeline.settings import Settings
from schedules_pipeline.wiring import Wiring


def document() -> str:
    """What the API says of itself. No database is asked, so any URL will do."""
    app = create_app(Wiring(Settings(database_url="postgresql://127.0.0.1:1/none")))
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
