"""callbridge measured side by side with its peers and with what a machine can do at best (README.md)."""
