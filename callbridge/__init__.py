"""callbridge: the live calls of FreeSWITCH servers, as a list that is right and a REST API that is fast."""

__version__ = "0.1.0"
