"""What runs in a process of its own, to be measured or to measure. Each says `ready`, does its work, says `done`."""
