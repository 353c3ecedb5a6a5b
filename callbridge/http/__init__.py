"""The REST API: `app` puts it together, `auth` says who asks, `query` what for, `calls` and `switches` answer."""
