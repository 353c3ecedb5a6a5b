"""What goes wrong, done on purpose, against real daemons and a real Redis (chaos/README.md)."""
