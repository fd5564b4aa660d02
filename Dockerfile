# The bridge, with nothing in it that it does not run: wheels of requirements.lock, by hash, and the package.
# Any Python from 3.11 on glibc will do as BASE_IMAGE; pin it by digest where you build for production.
ARG BASE_IMAGE=docker.io/library/python:3.13.9-slim-bookworm

FROM ${BASE_IMAGE} AS build
# pip lives in a folder of its own, and installs into another one that is taken along without it.
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/partner-bridge
COPY requirements.lock /build/
RUN /build/pip/bin/python -m pip --disable-pip-version-check --python /opt/partner-bridge/bin/python install \
        --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement /build/requirements.lock
COPY connector /build/connector
# Process 1 hears no signal before it has a handler for it, and Python takes a moment to have one: until then `env`
# keeps signals back, which the program takes up.
# Copied, not built: a wheel of our own would only take a build tool that has no hash here. Compiled now, because
# the file system is read-only later; by hash, so that the time of the copy does not matter.
RUN cp -r /build/connector "$(/opt/partner-bridge/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
    && printf '#!/usr/bin/env -S --block-signal=TERM,INT /opt/partner-bridge/bin/python\nfrom connector.__main__ import main\n\nmain()\n' \
        > /opt/partner-bridge/bin/partner-bridge \
    && chmod 755 /opt/partner-bridge/bin/partner-bridge \
    && /opt/partner-bridge/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/partner-bridge \
    && /opt/partner-bridge/bin/partner-bridge --version

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kafka-partner-bridge" \
      org.opencontainers.image.description="Delivers Avro events from Kafka topics to Amazon EventBridge partner event sources." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The base brings a pip of its own.
RUN rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip
COPY --from=build /opt/partner-bridge /opt/partner-bridge
ENV PATH=/opt/partner-bridge/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["partner-bridge"]
CMD ["run"]
