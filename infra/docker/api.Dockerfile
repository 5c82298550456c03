# The api's image: its locked dependencies, our own wheels, and nothing to build with; what looks at templates has an
# environment of its own, with the AWS SDK in it, which the api has not. From the repository's root:
#   docker build -f infra/docker/api.Dockerfile -t coreo-api --build-arg REVISION="$(git rev-parse HEAD)" .
FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/api.txt requirements/lint.txt requirements/
# Wheels alone, so that no downloaded package runs code while the image is built.
RUN python -m venv --without-pip tools \
 && python -m venv --without-pip /opt/coreo \
 && python -m venv --without-pip /opt/lint \
 && pip --python tools/bin/python install --only-binary :all: --require-hashes -r requirements/build.txt \
 && pip --python /opt/lint/bin/python install --only-binary :all: --require-hashes -r requirements/lint.txt \
 && pip --python /opt/coreo/bin/python install --only-binary :all: --require-hashes -r requirements/api.txt
COPY shared/pyproject.toml shared/
COPY shared/src shared/src
COPY services/api services/api
RUN pip --python tools/bin/python wheel --no-index --no-deps --no-build-isolation -w wheels ./shared ./services/api \
 && pip --python tools/bin/python wheel --no-index --no-deps --no-build-isolation -w lint ./services/api/lint \
 && pip --python /opt/coreo/bin/python install --no-index --no-deps wheels/*.whl \
 && pip --python /opt/lint/bin/python install --no-index --no-deps lint/*.whl

FROM python:3.13.14-slim-trixie
ARG REVISION=unknown
LABEL org.opencontainers.image.title="coreo-api" \
      org.opencontainers.image.description="Coreo's public API: can send jobs and nothing else in AWS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/coreo /opt/coreo
COPY --from=build /opt/lint /opt/lint
ENV PATH=/opt/coreo/bin:$PATH \
    COREO_HOST=0.0.0.0 \
    COREO_PORT=8080 \
    COREO_LINT_PYTHON=/opt/lint/bin/python
# The root file system is read-only; Fargate gives a volume to a user who is not root only where the image declares it.
VOLUME ["/tmp"]
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-I", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['COREO_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["coreo-api"]
CMD ["serve"]
