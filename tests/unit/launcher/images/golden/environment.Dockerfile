# What an OpenEnv environment's Dockerfile looks like, and a little more.
ARG BASE_IMAGE=registry/openenv-base:latest
FROM ${BASE_IMAGE} AS builder
WORKDIR /app
RUN apt-get update && \
    # git, for requirements from repositories
    apt-get install -y git
ARG BUILD_MODE=in-repo
ARG UNSET
COPY . /app/env
WORKDIR env
RUN --mount=type=cache,target=/root/.cache/uv \
    if [ -f uv.lock ]; then uv sync --frozen; else uv sync; fi
RUN ["mv", "/app/env/.venv", "/app/my venv"]

FROM unused AS unused
RUN false

FROM ${BASE_IMAGE}
LABEL maintainer="nobody"
WORKDIR /app
COPY --from=tools/uv:1.0 /uv /uvx /bin/
COPY --from=builder --chown=app:app ["/app/my venv", "/app/.venv"]
COPY --chmod=755 docker/*.sh pyproject.toml /app/scripts/
ARG PORT=8000
ENV PATH="/app/.venv/bin:$PATH" GREETING='it costs $5' PORT=$PORT
ENV LEGACY two words
ENV PYTHONPATH=/app/env
EXPOSE 8000
USER app
HEALTHCHECK --interval=30s \
    CMD curl -f http://localhost:8000/health || exit 1
CMD ["sh", "-c", "cd /app/env && uvicorn --workers 2 server.app:app --port 8000"]
