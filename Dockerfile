# rave-serve in a container: two stages; the result has no compiler and no root.
#
#   docker build -t rave-serve .
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -p 127.0.0.1:8000:8000 -e RAVE_SERVE_TOKEN rave-serve
#
# The token comes from your environment: export RAVE_SERVE_TOKEN=$(openssl rand -hex 16). The page asks for it.
#
# Extras for more kinds of files: docker build --build-arg EXTRAS=serve,heif,raw -t rave-serve .
#
# Nothing here depends on the processor: docker buildx build --platform linux/amd64,linux/arm64 works as it is.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
ARG EXTRAS=serve
WORKDIR /source
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY runtime ./runtime
COPY train ./train
COPY export ./export
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir ".[${EXTRAS}]" \
 && /venv/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    RAVE_CACHE_DIR=
USER 65532:65532
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["rave-serve", "--host", "0.0.0.0"]
