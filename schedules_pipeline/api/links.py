"""OpenAPI links: what can be done next with an answer, for tools that walk through an API.

The expressions are OpenAPI's: `$response.body#/id` is the answer's `id`.
"""

from typing import Any

_BASE = "agents__agent_id__schedules__schedule_id_"
_WHICH = {"agent_id": "$response.body#/agent_id", "schedule_id": "$response.body#/id"}

FROM_A_SCHEDULE: dict[str, dict[str, Any]] = {
    "see it": {"operationId": f"get_{_BASE}_get"},
    "change it": {"operationId": f"update_{_BASE}_patch"},
    "pause it": {"operationId": f"pause_{_BASE}_pause_post"},
    "resume it": {"operationId": f"resume_{_BASE}_resume_post"},
    "trigger it": {"operationId": f"trigger_{_BASE}_trigger_post"},
    "skip its next occurrence": {
        "operationId": f"skip_{_BASE}_skip_post",
        "requestBody": {"scheduled_time": "$response.body#/next_action_times/0"},
    },
    "take back its first skip": {
        "operationId": f"unskip_{_BASE}_unskip_post",
        "requestBody": {"scheduled_time": "$response.body#/skipped_action_times/0"},
    },
    "see its fires": {"operationId": f"list_fires_{_BASE}_fires_get"},
    "see its history": {"operationId": f"list_changes_{_BASE}_history_get"},
    "account for it": {"operationId": f"audit_{_BASE}_audit_get"},
    "delete it": {"operationId": f"delete_{_BASE}_delete"},
}
for _link in FROM_A_SCHEDULE.values():
    _link["parameters"] = _WHICH
