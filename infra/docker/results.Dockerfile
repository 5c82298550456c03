# The results service's image: its locked dependencies, two wheels of our own, and nothing to build with. From the repository's root:
#   docker build -f infra/docker/results.Dockerfile -t coreo-results --build-arg REVISION="$(git rev-parse HEAD)" .
FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/results.txt requirements/
# Wheels alone, so that no downloaded package runs code while the image is built.
RUN python -m venv --without-pip tools \
 && python -m venv --without-pip /opt/coreo \
 && pip --python tools/bin/python install --only-binary :all: --require-hashes -r requirements/build.txt \
 && pip --python /opt/coreo/bin/python install --only-binary :all: --require-hashes -r requirements/results.txt
COPY shared/pyproject.toml shared/
COPY shared/src shared/src
COPY services/results services/results
RUN pip --python tools/bin/python wheel --no-index --no-deps --no-build-isolation -w wheels ./shared ./services/results \
 && pip --python /opt/coreo/bin/python install --no-index --no-deps wheels/*.whl

FROM python:3.13.14-slim-trixie
ARG REVISION=unknown
LABEL org.opencontainers.image.title="coreo-results" \
      org.opencontainers.image.description="Coreo's results: run ledger, encrypted findings, worker registry" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/coreo /opt/coreo
# Where installations without KMS and S3 mount the volumes of their root key file, their vault and their backups.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/coreo /var/lib/coreo-vault /var/lib/coreo-backups /var/lib/coreo-ledger
ENV PATH=/opt/coreo/bin:$PATH \
    COREO_HOST=0.0.0.0 \
    COREO_PORT=8081
# The root file system is read-only; Fargate gives a volume to a user who is not root only where the image declares it.
VOLUME ["/tmp"]
USER 10001:10001
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-I", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['COREO_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["coreo-results"]
CMD ["serve"]
