"""Our endpoints, a file per part; `web.router` makes routes of their lists."""
