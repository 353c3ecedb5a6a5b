"""How a command ends when it is no success: the codes of the contract."""

from typing import Literal

from callbridge.errors import CallbridgeError

Code = Literal[
    "ALREADY_PARKED",
    "CALL_ENDED",
    "CALL_NOT_FOUND",
    "CALL_REJECTED",
    "FORBIDDEN",
    "INVALID_DESTINATION",
    "INVALID_PARAMETER",
    "MONITOR_NOT_FOUND",
    "NOT_ANSWERED",
    "NOT_BRIDGED",
    "NO_ANSWER",
    "OUTCOME_UNKNOWN",
    "SWITCH_REFUSED",
    "SWITCH_UNAVAILABLE",
    "TOO_MANY_REQUESTS",
    "USER_BUSY",
    "USER_NOT_REGISTERED",
]


class Refused(CallbridgeError):
    """A command was not carried out, or what became of it is not known. The message says what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code


_CODE_OF: dict[str, Code] = {
    "USER_NOT_REGISTERED": "USER_NOT_REGISTERED",
    "SUBSCRIBER_ABSENT": "USER_NOT_REGISTERED",
    "USER_BUSY": "USER_BUSY",
    "NO_ANSWER": "NO_ANSWER",
    "NO_USER_RESPONSE": "NO_ANSWER",
    "ALLOTTED_TIMEOUT": "NO_ANSWER",
    "RECOVERY_ON_TIMER_EXPIRE": "NO_ANSWER",
    "PROGRESS_TIMEOUT": "NO_ANSWER",
    "CALL_REJECTED": "CALL_REJECTED",
    "UNALLOCATED_NUMBER": "INVALID_DESTINATION",
    "NO_ROUTE_DESTINATION": "INVALID_DESTINATION",
    "INVALID_NUMBER_FORMAT": "INVALID_DESTINATION",
}


def refused_by(cause: str, whom: str, then: str = "") -> Refused:
    """The refusal that a hangup cause of the switch means (switch_types.h, `switch_call_cause_t`). `whom` was called;
    `then` says what became of the call."""
    code = _CODE_OF.get(cause, "SWITCH_REFUSED")
    words = {
        "USER_NOT_REGISTERED": f"no phone of {whom} is registered",
        "USER_BUSY": f"{whom} is busy",
        "NO_ANSWER": f"{whom} did not answer",
        "CALL_REJECTED": f"{whom} rejected the call",
        "INVALID_DESTINATION": f"the switch knows no way to {whom} ({cause})",
    }.get(code, f"the switch could not reach {whom}: {cause or 'it gave no cause'}")
    return Refused(code, f"{words}{then}")
