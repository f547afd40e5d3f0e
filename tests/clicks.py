"""A person's clicks on a backfill in the Dagster UI, through the GraphQL that its pages use."""

from collections.abc import Sequence

from tests.stack import Stack

REPOSITORY = {
    "repositoryLocationName": "schedules_pipeline",
    "repositoryName": "__repository__",
}
PARTITION_SET = "agent_runs_partition_set"
BACKFILL = """
    mutation ($params: LaunchBackfillParams!) {
      launchPartitionBackfill(backfillParams: $params) {
        __typename
        ... on LaunchBackfillSuccess { backfillId }
        ... on PythonError { message } } }
"""
BACKFILL_STATUS = """
    query ($backfill: String!) {
      partitionBackfillOrError(backfillId: $backfill) { ... on PartitionBackfill { status } } }
"""
PARTITIONS = """
    query ($repository: RepositorySelector!) {
      partitionSetOrError(
        repositorySelector: $repository, partitionSetName: "agent_runs_partition_set") {
        __typename
        ... on PartitionSet { partitionStatusesOrError { __typename
          ... on PartitionStatuses { results { partitionName runStatus } } } } } }
"""


def missing_partitions(stack: Stack) -> list[str]:
    """The job's partitions that no run succeeded for, as its page shows them."""
    answer = stack.graphql(PARTITIONS, repository=REPOSITORY)["partitionSetOrError"]
    statuses = answer["partitionStatusesOrError"]["results"]
    return [each["partitionName"] for each in statuses if each["runStatus"] != "SUCCESS"]


def launch_backfill(stack: Stack, keys: Sequence[str]) -> str:
    """Click: a backfill of these partitions. Returns its id; nothing has begun yet."""
    params = {
        "selector": {"repositorySelector": REPOSITORY, "partitionSetName": PARTITION_SET},
        "partitionNames": list(keys),
    }
    answer = stack.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill: str = answer["backfillId"]
    return backfill


def end_of_backfill(stack: Stack, backfill: str, timeout: float = 180) -> str:
    """The status in which it ends, as Dagster says."""

    def look() -> str | None:
        found = stack.graphql(BACKFILL_STATUS, backfill=backfill)
        status: str = found["partitionBackfillOrError"]["status"]
        return status if status not in ("REQUESTED", "IN_PROGRESS") else None

    ended: str = stack.wait_for(look, timeout)
    return ended
