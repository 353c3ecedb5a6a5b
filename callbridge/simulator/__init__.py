"""A switch that speaks the event socket and behaves as recorded: for the demo, for tests and benchmarks, and for
whoever develops against callbridge without a FreeSWITCH.

`server` is the event socket; `switch` is behind it, with its channels, its own table of them (`rows`) and its answers;
`channel` and `variables` make events with the headers, order and sizes of a real one.

What happens on the channels is threads, as in a switch: `timeline` runs them, `machine` is what each goes through, on
`legs` and `bridging`, by the `dialplan` and what the `phones` do. `scenarios` are the calls that come in, `traffic`
places them, `commands` are what changes them. `replay` plays a recording instead, `faults` is what can go wrong.
"""
