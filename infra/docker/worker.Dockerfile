# A worker's image: its locked dependencies, two wheels of our own, and nothing to build with or listen with. From the repository's root:
#   docker build -f infra/docker/worker.Dockerfile -t coreo-worker --build-arg REVISION="$(git rev-parse HEAD)" .
FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/worker.txt requirements/
# Wheels alone, so that no downloaded package runs code while the image is built.
RUN python -m venv --without-pip tools \
 && python -m venv --without-pip /opt/coreo \
 && pip --python tools/bin/python install --only-binary :all: --require-hashes -r requirements/build.txt \
 && pip --python /opt/coreo/bin/python install --only-binary :all: --require-hashes -r requirements/worker.txt
COPY shared/pyproject.toml shared/
COPY shared/src shared/src
COPY services/worker services/worker
RUN pip --python tools/bin/python wheel --no-index --no-deps --no-build-isolation -w wheels ./shared ./services/worker \
 && pip --python /opt/coreo/bin/python install --no-index --no-deps wheels/*.whl

FROM python:3.13.14-slim-trixie
ARG REVISION=unknown
LABEL org.opencontainers.image.title="coreo-worker" \
      org.opencontainers.image.description="Coreo's worker: audits target accounts through their roles; listens nowhere" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/coreo /opt/coreo
ENV PATH=/opt/coreo/bin:$PATH \
    COREO_HEARTBEAT_FILE=/tmp/heartbeat
# The root file system is read-only; Fargate gives a volume to a user who is not root only where the image declares it.
VOLUME ["/tmp"]
USER 10001:10001
# There is no port to ask: a worker is alive while it touches its heartbeat file.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["coreo-worker", "health"]
ENTRYPOINT ["coreo-worker"]
CMD ["serve"]
