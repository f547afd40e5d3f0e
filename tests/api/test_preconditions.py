"""`If-Match`: a change is made to the version that its maker has seen, or not at all."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from schedules_pipeline.api.preconditions import read_if_match
from schedules_pipeline.errors import Rejected
from schedules_pipeline.services.preconditions import ANY, Expected
from tests.api.factories import Api

NOMINAL = {"scheduled_time": "2090-01-01T00:00:00Z"}
CHANGES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("PATCH", "", {"description": "new"}),
    ("POST", "/pause", None),
    ("POST", "/resume", None),
    ("POST", "/trigger", None),
    ("POST", "/skip", NOMINAL),
    ("POST", "/unskip", NOMINAL),
    ("DELETE", "", None),
]


def _change(
    api: Api, place: str, method: str, act: str, body: Any, if_match: str
) -> httpx.Response:
    headers = {"if-match": if_match}
    return api.client.request(method, f"{api.url}/{place}{act}", json=body, headers=headers)


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ('"3"', {3}),
        ('W/"3"', {3}),
        ('"1", "2"', {1, 2}),
        ('W/"1" , "22",', {1, 22}),
        ('"foreign,tag"', set()),
        ('"03"', set()),
        ('"99999999999999999999"', set()),
        ('""', set()),
    ],
)
def test_tags_name_versions(text: str, versions: set[int]) -> None:
    assert read_if_match(text) == Expected(frozenset(versions))


@pytest.mark.parametrize("text", ["*", " * "])
def test_a_star_means_any_version(text: str) -> None:
    assert read_if_match(text) == ANY


@pytest.mark.parametrize(
    "text", ["", "3", '"3', 'w/"3"', '"1" "2"', "*, *", '*, "1"', ",", '"a b"']
)
def test_what_is_no_list_of_tags_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_if_match(text)
    assert str(refused.value) == (
        'If-Match: must be the ETag of an answer, in its quotes, such as "3"; several are '
        "divided by commas; or *"
    )


# The contract knows skip and unskip by id only.
@pytest.mark.parametrize(
    ("method", "act", "body", "by_name"),
    [(*change, False) for change in CHANGES]
    + [(*change, True) for change in CHANGES if change[2] != NOMINAL],
)
def test_a_change_of_another_version_is_refused_and_changes_nothing(
    api: Api, method: str, act: str, body: Any, by_name: bool
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    place = "name/hourly" if by_name else schedule["id"]
    response = _change(api, place, method, act, body, '"7", W/"8"')
    assert response.status_code == 412
    assert response.json() == {
        "message": f"Run schedule '{schedule['id']}' is at version 1, which If-Match does not "
        "name: read it again, and repeat the change if it still makes sense.",
        "code": 412,
        "data": None,
    }
    found = api.client.get(f"{api.url}/{schedule['id']}")
    assert found.json() == schedule
    assert _change(api, place, method, act, body, "3").status_code == 400


@pytest.mark.parametrize(
    ("method", "act", "body"), [change for change in CHANGES if change[1] != "/unskip"]
)
def test_a_change_of_the_version_that_was_seen_is_made(
    api: Api, method: str, act: str, body: Any
) -> None:
    schedule = api.created(fire_at="2090-01-01T00:00:00Z")
    seen = api.client.get(f"{api.url}/{schedule['id']}").headers["etag"]
    response = _change(api, schedule["id"], method, act, body, f'"99", W/{seen}')
    assert response.status_code == 200, response.text


def test_every_answer_that_is_a_schedule_carries_its_version(api: Api) -> None:
    created = api.create(fire_at="2090-01-01T00:00:00Z")
    place = f"{api.url}/{created.json()['id']}"
    answers = [
        created,
        api.client.get(place),
        api.client.get(f"{api.url}/name/hourly"),
        api.client.patch(place, json={"description": "new"}),
        api.client.post(f"{place}/pause"),
        api.client.post(f"{place}/resume"),
        api.client.post(f"{place}/skip", json=NOMINAL),
        api.client.post(f"{place}/unskip", json=NOMINAL),
        api.client.post(f"{place}/trigger"),
    ]
    tags = [answer.headers["etag"] for answer in answers]
    assert tags == [f'"{answer.json()["version"]}"' for answer in answers]
    assert tags == [f'"{version}"' for version in (1, 1, 1, 2, 3, 4, 5, 6, 6)]


def test_a_schedule_that_is_gone_is_not_found_whatever_is_expected(api: Api) -> None:
    assert _change(api, "absent", "PATCH", "", {}, "*").status_code == 404


def test_of_twenty_that_saw_one_version_one_changes_it(api: Api) -> None:
    schedule = api.created()

    def change(number: int) -> int:
        body = {"description": str(number)}
        return _change(api, schedule["id"], "PATCH", "", body, '"1"').status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = sorted(threads.map(change, range(20)))
    assert statuses == [200] + [412] * 19
    assert api.client.get(f"{api.url}/{schedule['id']}").json()["version"] == 2


def test_a_patch_and_a_pause_at_once_are_both_kept(api: Api) -> None:
    for number in range(10):
        place = f"{api.url}/{api.created(name=f'n{number}')['id']}"
        with ThreadPoolExecutor(2) as threads:
            paused = threads.submit(api.client.post, f"{place}/pause")
            changed = threads.submit(api.client.patch, place, json={"description": "new"})
            assert {paused.result().status_code, changed.result().status_code} == {200}
        found = api.client.get(place).json()
        assert (found["paused"], found["description"], found["version"]) == (True, "new", 3)


def test_of_fifty_that_create_one_name_one_wins_and_the_others_are_told(api: Api) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: api.create(name="contested"), range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    texts = {answer.json()["message"] for answer in answers if answer.status_code == 400}
    assert texts == {f"Run schedule 'contested' already exists for agent '{api.agent_id}'"}
    assert api.client.get(api.url).json()["total"] == 1
