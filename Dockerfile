# The bridge, with nothing in it that it does not run: wheels of requirements.lock, by hash, and the package.
# Any Python from 3.11 on glibc 2.28 or newer will do, on amd64 and arm64. docs/image.md says how to build it.
#
# python:3.13.14-slim-bookworm
ARG BASE_IMAGE=docker.io/library/python@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8
# Where BASE_IMAGE has no shell, as distroless: an image of the same Python that has one, and GNU's env.
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS build
USER 0:0
ARG PIP_INDEX_URL
ENV PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
# pip and the build tool live in a folder of their own; what they install is taken along without them.
RUN python3 -m venv /build/tools && python3 -m venv --without-pip /opt/partner-bridge
COPY requirements.lock requirements-build.lock /build/
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \
    if [ -e /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi \
    && cd /build && pip="/build/tools/bin/python -m pip" && locked="--no-compile --only-binary :all: --require-hashes" \
    && $pip --python /opt/partner-bridge/bin/python install $locked --requirement requirements.lock \
    && $pip install $locked --requirement requirements-build.lock
COPY pyproject.toml README.md LICENSE /build/source/
COPY connector /build/source/connector
RUN cd /build && pip="/build/tools/bin/python -m pip" \
    && $pip wheel --no-deps --no-index --no-build-isolation --wheel-dir wheels ./source \
    && $pip --python /opt/partner-bridge/bin/python install --no-deps --no-index --no-compile --find-links wheels \
        kafka-partner-bridge
COPY image /build/image
RUN mkdir /build/bin && cp -L /usr/bin/env /build/image/partner-bridge /build/bin/

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE
# Named, so that no layer with the times of another build is taken from the cache.
ARG SOURCE_DATE_EPOCH
USER 0:0
COPY --from=build /opt/partner-bridge/lib /opt/partner-bridge/lib
COPY --from=build /build/bin /opt/partner-bridge/bin
RUN --mount=type=bind,from=build,source=/build/image,target=/build/image \
    ["python3", "-B", "/build/image/finish.py"]
LABEL org.opencontainers.image.title="kafka-partner-bridge" \
      org.opencontainers.image.description="Delivers Avro events from Kafka topics to Amazon EventBridge partner event sources." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
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
