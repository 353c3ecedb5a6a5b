"""The event socket of FreeSWITCH (`mod_event_socket`), inbound mode: our own implementation.

`frames` cuts bytes into frames, `events` reads an event out of a frame, `protocol` is the dialogue (both sans-I/O),
`connection` is the only module here that knows asyncio.
"""
