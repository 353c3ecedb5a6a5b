"""What a hangup cause means for who asked."""

from typing import get_args

import pytest

from callbridge.commands.outcome import _CODE_OF, Code, refused_by
from callbridge.http.commands import STATUS

CAUSES = [
    ("USER_NOT_REGISTERED", "USER_NOT_REGISTERED", "no phone of 101 is registered"),
    ("SUBSCRIBER_ABSENT", "USER_NOT_REGISTERED", "no phone of 101 is registered"),
    ("USER_BUSY", "USER_BUSY", "101 is busy"),
    ("NO_ANSWER", "NO_ANSWER", "101 did not answer"),
    ("NO_USER_RESPONSE", "NO_ANSWER", "101 did not answer"),
    ("ALLOTTED_TIMEOUT", "NO_ANSWER", "101 did not answer"),
    ("RECOVERY_ON_TIMER_EXPIRE", "NO_ANSWER", "101 did not answer"),
    ("PROGRESS_TIMEOUT", "NO_ANSWER", "101 did not answer"),
    ("CALL_REJECTED", "CALL_REJECTED", "101 rejected the call"),
    ("UNALLOCATED_NUMBER", "INVALID_DESTINATION", "the switch knows no way to 101 (UNALLOCATED_NUMBER)"),
    ("NO_ROUTE_DESTINATION", "INVALID_DESTINATION", "the switch knows no way to 101 (NO_ROUTE_DESTINATION)"),
    ("INVALID_NUMBER_FORMAT", "INVALID_DESTINATION", "the switch knows no way to 101 (INVALID_NUMBER_FORMAT)"),
    ("NORMAL_TEMPORARY_FAILURE", "SWITCH_REFUSED", "the switch could not reach 101: NORMAL_TEMPORARY_FAILURE"),
    ("", "SWITCH_REFUSED", "the switch could not reach 101: it gave no cause"),
]


@pytest.mark.parametrize(("cause", "code", "message"), CAUSES)
def test_the_code_and_the_words_of_each_cause(cause: str, code: str, message: str) -> None:
    refusal = refused_by(cause, "101")
    assert (refusal.code, f"{refusal}") == (code, message)
    assert f"{refused_by(cause, '101', '; the call has ended')}" == f"{message}; the call has ended"


def test_every_cause_that_is_known_stands_here() -> None:
    assert set(_CODE_OF) <= {cause for cause, _, _ in CAUSES}


def test_every_code_has_the_status_of_the_contract() -> None:
    assert set(STATUS) == set(get_args(Code))
    assert {status: {code for code in STATUS if STATUS[code] == status} for status in set(STATUS.values())} == {
        400: {"INVALID_PARAMETER"},
        403: {"FORBIDDEN"},
        404: {"CALL_NOT_FOUND", "MONITOR_NOT_FOUND"},
        409: {
            "USER_NOT_REGISTERED",
            "USER_BUSY",
            "NO_ANSWER",
            "CALL_REJECTED",
            "NOT_BRIDGED",
            "NOT_ANSWERED",
            "ALREADY_PARKED",
            "CALL_ENDED",
            "INVALID_DESTINATION",
        },
        429: {"TOO_MANY_REQUESTS"},
        502: {"SWITCH_REFUSED"},
        503: {"SWITCH_UNAVAILABLE"},
        504: {"OUTCOME_UNKNOWN"},
    }
