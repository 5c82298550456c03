# What the cloud provides, for docker-compose.yml: the simulated AWS and the services' credentials. Never for production.
FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/build.txt requirements/embedded.txt requirements/simulator.txt requirements/
# The simulator pins its own SDK, so it has an environment of its own.
RUN python -m venv --without-pip tools \
 && python -m venv --without-pip /opt/coreo \
 && python -m venv --without-pip /opt/simulator \
 && pip --python tools/bin/python install --only-binary :all: --require-hashes -r requirements/build.txt \
 && pip --python /opt/coreo/bin/python install --only-binary :all: --require-hashes -r requirements/embedded.txt \
 && pip --python /opt/simulator/bin/python install --only-binary :all: --require-hashes -r requirements/simulator.txt
COPY shared/pyproject.toml shared/
COPY shared/src shared/src
RUN pip --python tools/bin/python wheel --no-index --no-deps --no-build-isolation -w wheels ./shared \
 && pip --python /opt/coreo/bin/python install --no-index --no-deps wheels/*.whl

FROM python:3.13.14-slim-trixie
LABEL org.opencontainers.image.title="coreo-platform" \
      org.opencontainers.image.description="Simulated AWS with Coreo's queues and roles, for development" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/coreo /opt/coreo
COPY --from=build /opt/simulator /opt/simulator
# As in the repository, so that it finds the templates beside it.
COPY infra /srv/coreo/infra
RUN install -d -o 10001 -g 10001 -m 0700 /run/coreo/api /run/coreo/worker-audit /run/coreo/worker-deploy /run/coreo/worker-onboard
ENV PATH=/opt/coreo/bin:$PATH \
    PYTHONPATH=/srv/coreo/infra/embedded/src \
    COREO_SIMULATOR_PYTHON=/opt/simulator/bin/python
VOLUME ["/tmp"]
USER 10001:10001
EXPOSE 4566
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s \
  CMD ["python", "-m", "coreo_embedded.main", "platform-health", "--credentials", "/run/coreo"]
ENTRYPOINT ["python", "-m", "coreo_embedded.main"]
CMD ["platform", "--host", "0.0.0.0", "--port", "4566", "--name", "platform", "--credentials", "/run/coreo", "--mount", "/run/coreo"]
