"""A web page that enhances photographs inside the browser: nothing is uploaded, and no network is needed."""
