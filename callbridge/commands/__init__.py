"""What consumers do to calls: `desk` takes a request, `orders` are what the switch is told, `console` is the way to it.

A command checks first, acts on the uuid of a leg, and is over when what became of it is known. It watches the records
that readers see (`watch`), so a success is in the list before it is told.
"""
