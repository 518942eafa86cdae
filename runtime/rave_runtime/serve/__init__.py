"""The runtime as a service: HTTP in, HTTP out, and a page for people. Needs the extra `serve`."""
