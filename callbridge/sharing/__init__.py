"""Several daemons on one Redis: of each switch one is the owner and writes, the others follow.

`ledger` is what stands in Redis and how it is written, `share` owns a switch or follows its owner.
"""
