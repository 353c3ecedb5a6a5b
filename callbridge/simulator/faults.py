"""What can go wrong with a switch, on demand."""

import msgspec


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """The faults that are on. All off at first: as a switch is without them.

    Set at the start (`--fault late_rows=2`), or later through the event socket: `api simulator fault late_rows 2`.
    """

    late_rows: float = 0.0
    """Seconds by which rows of `show channels` appear later than they do anyway."""
    stale_rows: float = 0.0
    """Share of rows (0 to 1) that stay for ever when their channel goes."""
    lost_events: float = 0.0
    """Share of events (0 to 1) that are lost silently."""
    sql_error: bool = False
    """`show channels` gives an error; as JSON it is followed by a list that looks valid and is empty."""
    max_queue: int = 100_000
    """Events that wait for a slow reader; further ones are dropped (mod_event_socket.c, MAX_QUEUE_LEN)."""
    cut: bool = False
    """The next event is cut off in its middle and the connection closed; then this is off again."""

    def set(self, name: str, value: str) -> None:
        """Set one by its name. Raises ValueError with what is wrong."""
        try:
            changed = msgspec.convert({name: value}, Faults, strict=False)
        except msgspec.ValidationError as error:
            known = ", ".join(field.name for field in msgspec.structs.fields(Faults))
            raise ValueError(f"{name}={value}: {error}; there are {known}") from None
        setattr(self, name, getattr(changed, name))
